"""SCB Open API: PromptPay QR (tag 30) collected on our biller id.

Credentials: `application_key`, `application_secret`, `biller_id` (15 digits), `ref3_prefix` (registered with SCB; it
chooses the callback address). A charge has no id of SCB's: it is (biller, reference 1), and reference 1 is our
provider key. Callbacks carry no signature, so nothing in them is believed: the bank is asked by reference 1.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final

import msgspec

from gateway.foundation.clock import BANGKOK, business_date_of
from gateway.providers import scb_wire
from gateway.providers.base import (
    NOT_JSON,
    Accepted,
    Callback,
    CallbackRejected,
    CallbackReply,
    Capabilities,
    CaptureRequest,
    ChargeRequest,
    Declined,
    Fact,
    FactKind,
    FactSource,
    Inquiry,
    Method,
    NextAction,
    NotAttempted,
    Outcome,
    ParsedCallback,
    ProviderAccount,
    RefundRequest,
    RefundRule,
    StatementFile,
    StatementUnavailable,
    Unknown,
)
from gateway.providers.emvco import QrMalformed
from gateway.providers.http import ProviderHttp
from gateway.providers.invented import DIGITS, LOWER, UPPER, invented
from gateway.providers.promptpay import Bill, read_qr
from gateway.providers.scb_client import ScbClient
from gateway.providers.scb_wire import MalformedRow
from ledger.money import to_text

QR_CREATE_V1: Final = "/v1/payment/qrcode/create"
QR_CREATE_V2: Final = "/v2/payment/qrcode/create"
"""The version that takes an expiry."""
INQUIRY: Final = "/v1/payment/billpayment/inquiry"
QR30_EVENT: Final = "00300100"
STATEMENT: Final = "/v1/payment/billpayment/statements"
"""ASSUMED: the 256-character bill payment file is documented, but not how it is fetched; banks agree SFTP or portal
with each biller. Here: GET with billerId and transactionDate, the file as the body, 404 until it is there."""
QR_USES: Final = 1
"""`numberOfTimes` of version 2: the bank takes one payment. ASSUMED to be kept by the payer's bank, not relied on."""
EXPIRY_SECONDS: Final = 15 * 60
LATE_SECONDS: Final = 10 * 60
"""How long after a charge's life its day is still asked about: clocks differ, transfers take their time."""
AMOUNT_MINOR_MAX: Final = 700_000_00
"""ASSUMED: the contract with the bank decides; Xendit publishes 700,000 baht for the same rail."""

REFUSED_FOR_CERTAIN: Final = {1101, 1102, 1103, 1104, 1105, 4101}
"""Business codes that say the request was not acted on because of what it holds."""
NOT_LET_IN: Final = {9100, 9300, 9500, 9503}
"""Business codes that say the request was not looked at: credentials, token, rights."""
SUCCESS: Final = 1000
NOT_FOUND: Final = 1104
REVERSED: Final = "Y"


class Scb:
    """The adapter. One instance serves all accounts."""

    name = "scb"
    capabilities: Sequence[Capabilities] = (
        Capabilities(
            method=Method.PROMPTPAY,
            currency="THB",
            amount_minor_min=1,
            amount_minor_max=AMOUNT_MINOR_MAX,
            refunds=RefundRule.NONE,
            expiry_seconds=EXPIRY_SECONDS,
            rank=10,
        ),
    )
    callback_headers: Sequence[str] = ()

    @staticmethod
    def invented_credentials() -> dict[str, str]:
        """Fresh credentials for a test account."""
        return {
            "application_key": "l7" + invented(LOWER, 32),
            "application_secret": invented(LOWER, 32),
            "biller_id": "099" + invented(DIGITS, 12),
            "ref3_prefix": "QK" + invented(UPPER, 3),
        }

    def __init__(self, http: ProviderHttp) -> None:
        self._client = ScbClient(http)

    async def charge(self, account: ProviderAccount, request: ChargeRequest) -> Outcome:
        """Have a QR issued for (biller, provider key). A QR that does not say what we asked for is not shown."""
        if request.method is not Method.PROMPTPAY or request.currency != "THB":
            return Declined(failure_code="method_not_supported", provider_code="", message="PromptPay in THB only")
        body: dict[str, str | int] = {
            "qrType": "PP",
            "ppType": "BILLERID",
            "ppId": account.credentials["biller_id"],
            "amount": to_text(request.amount_minor, "THB"),
            "ref1": request.provider_key,
            "ref3": account.credentials["ref3_prefix"],
        }
        path = QR_CREATE_V1
        if request.expires_at is not None:
            path = QR_CREATE_V2
            body["numberOfTimes"] = QR_USES
            body["expiryDate"] = request.expires_at.astimezone(BANGKOK).strftime("%Y-%m-%d %H:%M:%S")
        reply = await self._client.call(account, "charge", "POST", path, body=msgspec.json.encode(body))
        if isinstance(reply, NotAttempted | Unknown):
            return reply
        if reply.code != SUCCESS:
            return _refusal(reply)
        return _issued(account, request, reply)

    async def inquire(
        self, account: ProviderAccount, reference: str, created_at: datetime, expires_at: datetime | None = None
    ) -> Inquiry | Unknown:
        """The payments of a reference 1 on the days of the charge's life; several rows = paid several times.

        A reference without rows is "not found": SCB knows no unpaid charges.
        """
        facts: list[Fact] = []
        for day in _days(created_at, expires_at):
            parameters = {
                "eventCode": QR30_EVENT,
                "transactionDate": day.isoformat(),
                "billerId": account.credentials["biller_id"],
                "reference1": reference,
            }
            reply = await self._client.call(account, "inquiry", "GET", INQUIRY, parameters=parameters)
            if isinstance(reply, Unknown):
                return reply
            if isinstance(reply, NotAttempted):
                return Unknown(reason=reply.reason)
            if reply.code == NOT_FOUND:
                continue
            if reply.code != SUCCESS:
                return Unknown(reason=f"code {reply.code}")
            try:
                facts += _facts(account, reference, reply)
            except MalformedRow as error:
                return Unknown(reason=f"row not understood: {error}")
        return Inquiry(found=bool(facts), facts=tuple(facts))

    async def cancel(self, account: ProviderAccount, reference: str) -> Outcome:  # noqa: ARG002 - the rail has none
        """Not on this rail: a QR lives until it expires."""
        return Declined(failure_code="not_cancelable", provider_code="", message="an SCB QR lives until it expires")

    async def capture(self, account: ProviderAccount, request: CaptureRequest) -> Outcome:  # noqa: ARG002 - the rail has none
        """Not on this rail: a QR is paid, never authorised."""
        return Declined(failure_code="capture_not_supported", provider_code="", message="a QR is paid at once")

    async def refund(self, account: ProviderAccount, request: RefundRequest) -> Outcome:  # noqa: ARG002 - nothing to ask
        """Not on this rail: money goes back by a transfer of its own."""
        return Declined(failure_code="refund_not_supported", provider_code="", message="SCB has no refund of a QR")

    async def inquire_refund(self, account: ProviderAccount, request: RefundRequest) -> Inquiry | Unknown:  # noqa: ARG002 - nothing to ask
        """Never found: there are none."""
        return Inquiry(found=False)

    def parse_callback(self, account: ProviderAccount, callback: Callback) -> ParsedCallback:
        """What a payment confirmation asks us to ask about; it carries no signature and proves nothing.

        Raises:
            CallbackRejected: unreadable, or of another biller.
        """
        try:
            said = msgspec.json.decode(callback.body, type=scb_wire.Confirmation)
            paid_at = scb_wire.moment(said.transaction_date_and_time)
        except (*NOT_JSON, MalformedRow) as error:
            raise CallbackRejected("malformed", str(error)) from None
        if said.payee_proxy_id != account.credentials["biller_id"]:
            raise CallbackRejected("malformed", "the confirmation is of another biller")
        return ParsedCallback(event_id=said.transaction_id, inquire=(said.bill_payment_ref1,), inquire_about=paid_at)

    def callback_reply(self, account: ProviderAccount, callback: Callback, confirm_id: str) -> CallbackReply:  # noqa: ARG002 - the shape of all
        """SCB sends again, up to three times, what is not answered with resCode 00."""
        try:
            transaction_id = msgspec.json.decode(callback.body, type=scb_wire.Confirmation).transaction_id
        except NOT_JSON:
            transaction_id = ""
        reply = {
            "resCode": "00",
            "resDesc": "success",
            "transactionId": transaction_id,
            "confirmId": confirm_id,
        }
        return CallbackReply(body=msgspec.json.encode(reply))

    async def statements(self, account: ProviderAccount, on: date) -> Sequence[StatementFile]:
        """The biller's 256-character file of a day.

        Raises:
            StatementUnavailable: not there yet, or no answer.
        """
        biller_id = account.credentials["biller_id"]
        content = await self._client.file(
            account, "statement", STATEMENT, parameters={"billerId": biller_id, "transactionDate": on.isoformat()}
        )
        if isinstance(content, NotAttempted | Unknown):
            raise StatementUnavailable(f"scb bill payment file of {on.isoformat()}: {content.reason}")
        return (StatementFile(source="thai_bill_payment", name=f"scb-{biller_id}-{on:%Y%m%d}.txt", content=content),)


def _refusal(reply: scb_wire.Reply) -> Outcome:
    if reply.code in REFUSED_FOR_CERTAIN:
        return Declined(failure_code="invalid_request", provider_code=str(reply.code), message=reply.description)
    if reply.code in NOT_LET_IN:
        return NotAttempted(reason=reply.description, provider_code=str(reply.code))
    # 1111 too: a QR under our key was issued before, so money may come, and we do not have its text.
    return Unknown(reason=f"code {reply.code}")


def _issued(account: ProviderAccount, request: ChargeRequest, reply: scb_wire.Reply) -> Outcome:
    expected = Bill(
        biller_id=account.credentials["biller_id"],
        reference1=request.provider_key,
        reference3=account.credentials["ref3_prefix"],
    )
    try:
        text = reply.data_as(scb_wire.IssuedQr).qr_raw_data
        qr = read_qr(text)
    except (MalformedRow, QrMalformed) as error:
        return Unknown(reason=f"QR not understood: {error}")
    if (qr.bill, qr.amount_minor) != (expected, request.amount_minor):
        return Unknown(reason="the QR is not of this bill and amount")
    pending = Fact(
        provider=Scb.name,
        kind=FactKind.PENDING,
        provider_reference=request.provider_key,
        provider_transaction_id=request.provider_key,
        amount_minor=request.amount_minor,
        currency=request.currency,
        occurred_at=request.created_at,
        source=FactSource.RESPONSE,
    )
    return Accepted(
        provider_references=(request.provider_key,),
        facts=(pending,),
        next_action=NextAction(type="display_qr_code", qr_data=text, expires_at=request.expires_at),
    )


def _days(created_at: datetime, expires_at: datetime | None) -> list[date]:
    """The business dates on which the charge can have been paid: more than one around midnight."""
    end = expires_at or created_at + timedelta(seconds=EXPIRY_SECONDS)
    first = business_date_of(created_at - timedelta(seconds=LATE_SECONDS))
    last = business_date_of(end + timedelta(seconds=LATE_SECONDS))
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _facts(account: ProviderAccount, reference: str, reply: scb_wire.Reply) -> list[Fact]:
    facts = []
    for row in reply.data_as(list[scb_wire.PaymentRow]):
        if row.bill_payment_ref1 != reference or row.payee_proxy_id not in {"", account.credentials["biller_id"]}:
            raise MalformedRow("it is not of the bill that was asked about")
        if row.reverse_flag == REVERSED:
            # The bank took the payment back. What that means for the books is a person's decision.
            raise MalformedRow(f"transaction {row.transaction_id} is reversed")
        facts.append(
            Fact(
                provider=Scb.name,
                kind=FactKind.CAPTURED,
                provider_reference=reference,
                provider_transaction_id=row.transaction_id,
                amount_minor=scb_wire.satang(row.amount),
                currency=scb_wire.currency(row.currency_code),
                occurred_at=scb_wire.moment(row.transaction_date_and_time),
                source=FactSource.INQUIRY,
            )
        )
    return facts
