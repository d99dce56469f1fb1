"""2C2P (PGW v4.3): Thai QR, cards with 3-D Secure, TrueMoney, ShopeePay, LINE Pay; voids and refunds.

Credentials: `merchant_id`, `secret_key` (its text is the key, it is not decoded), `merchant_private_key` and
`provider_public_key` (PEM; voids and refunds are sealed with them). Our provider key is the invoice number and the
idempotency id, so the same request sent again is given the same payment token; every field of it follows from the
request. Notifications are signed and believed. The payment token is kept as a reference: only it cancels.
"""

from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any, Final

from gateway.providers import twoc2p_callbacks as callbacks
from gateway.providers import twoc2p_charges as charges
from gateway.providers import twoc2p_wire as wire
from gateway.providers.base import (
    Accepted,
    Callback,
    CallbackReply,
    Capabilities,
    CaptureRequest,
    ChargeRequest,
    Declined,
    FactKind,
    FactSource,
    Inquiry,
    Method,
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
from gateway.providers.http import ProviderHttp
from gateway.providers.invented import DIGITS, UPPER, invented, invented_rsa_key
from gateway.providers.twoc2p_client import TwoC2pClient
from gateway.providers.twoc2p_refunds import TwoC2pRefunds, Voidable
from gateway.providers.twoc2p_wire import Done, IssuedToken, Misunderstood, Plain, Transaction

TOKEN: Final = "/payment/4.3/paymentToken"  # noqa: S105 - a path
PAYMENT: Final = "/payment/4.3/payment"
"""ASSUMED: one payment token makes one payment at most; Do Payment sent again under it tells of the first one."""
INQUIRY: Final = "/payment/4.3/paymentInquiry"
CANCEL: Final = "/payment/4.3/cancelTransaction"
STATEMENT: Final = "/output/reconcile"
"""ASSUMED: the reconcile file is documented for SFTP `/output`. Here: GET with merchantID and date, the file as the
body, 404 until it is there; asked for by a bearer token, those two fields signed as every request is."""
EXPIRY_SECONDS: Final = 20 * 60
"""The shorter end of what 2C2P publishes (20 to 30 minutes); we always say when."""
AMOUNT_MINOR_MIN: Final = 1_00
AMOUNT_MINOR_MAX: Final = 700_000_00
"""ASSUMED, both: the contract decides; the upper one is what Xendit publishes for Thai QR."""
VOID_UNTIL: Final = time(21)
"""Published for EMV, Thai QR and KBank, the earliest of all; ASSUMED for ShopeePay and LINE Pay."""
TRUEMONEY_VOID_UNTIL: Final = time(23, 59)
KEY_BITS: Final = 2048
PUBLIC_EXPONENT: Final = 65537
SANDBOX_PUBLIC_KEY: Final = """-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEArrjjkFlDmmtGHVPA33GW
YXYOwDwqXLP1mPTLosSYUCLZoPgVP1lYxWYuPYzO1S9zJu7eVIGezaaDbs7CFNBP
/4TUUWCdxSolD8xx//08/zs1AJO+YrfhaZ6tKXzYxMoOO6ImUOVPE7n3TeBnEaQm
c8HEY4GWN9mLnZBeoZ4AlGJa2DnJExuBbUNsuqm061fHCPZMVLEdkrlmiTtky19j
IQZlrQ1RCwU8m6YKGY8QRKzwD9z8RpsYoHyRcObDRKFzoe39tLP4R183GBxGu+05
5o6YDNm8VrbfyCwRRAhVWHsfEYzbu6fBITtRYLeY5XeNWR5HnB28nyl6sm5ETtEY
6wIDAQAB
-----END PUBLIC KEY-----
"""
"""Public half of the invented key of our sandbox; test accounts hold it in 2C2P's place."""


def _capabilities(method: Method, rank: int, *, void_until: time = VOID_UNTIL, **more: Any) -> Capabilities:
    return Capabilities(
        method=method,
        currency=wire.CURRENCY,
        amount_minor_min=AMOUNT_MINOR_MIN,
        amount_minor_max=AMOUNT_MINOR_MAX,
        refunds=RefundRule.PARTIAL,
        expiry_seconds=EXPIRY_SECONDS,
        rank=rank,
        void_until=void_until,
        cancelable=True,
        **more,
    )


class TwoC2p:
    """The adapter. One instance serves all accounts."""

    name = wire.NAME
    capabilities: Sequence[Capabilities] = (
        _capabilities(Method.PROMPTPAY, 25),
        _capabilities(Method.CARD, 15, needs="card_token", return_url=True),
        _capabilities(Method.TRUEMONEY, 20, void_until=TRUEMONEY_VOID_UNTIL, return_url=True),
        _capabilities(Method.SHOPEEPAY, 20),
        _capabilities(Method.RABBIT_LINEPAY, 20, return_url=True),
    )
    callback_headers: Sequence[str] = ()

    @staticmethod
    def invented_credentials() -> dict[str, str]:
        """Fresh credentials for a test account."""
        return {
            "merchant_id": "QK" + invented(DIGITS, 13),
            "secret_key": invented(UPPER, 64),
            "merchant_private_key": invented_rsa_key(),
            "provider_public_key": SANDBOX_PUBLIC_KEY,
        }

    def __init__(self, http: ProviderHttp) -> None:
        self._client = TwoC2pClient(http)
        self._refunds = TwoC2pRefunds(self._client)

    async def charge(self, account: ProviderAccount, request: ChargeRequest) -> Outcome:
        """Get the payment token of the invoice, then start the payment under it."""
        if (refused := charges.not_for_us(request)) is not None:
            return refused
        issued = await self._client.signed(account, "token", TOKEN, charges.token_fields(account, request), IssuedToken)
        if isinstance(issued, IssuedToken) and issued.resp_code == wire.SUCCESS and issued.payment_token:
            return await self._pay(account, request, issued.payment_token)
        if isinstance(issued, NotAttempted | Unknown):
            return issued
        if issued.resp_code in charges.KNOWN_INVOICE:
            return await self._earlier(account, request, (request.provider_key,))
        if issued.resp_code in charges.REQUEST_REFUSALS:
            return charges.refused(issued.resp_code, issued.resp_desc)
        return Unknown(reason=f"token: respCode {issued.resp_code}")

    async def inquire(
        self,
        account: ProviderAccount,
        reference: str,
        created_at: datetime,
        expires_at: datetime | None = None,  # noqa: ARG002 - 2C2P does not keep its charges by day
    ) -> Inquiry | Unknown:
        """A charge by its invoice number or payment token. Voided and refunded ones still tell of their payment."""
        found = await self._transaction(account, reference)
        if isinstance(found, NotAttempted | Unknown):
            return Unknown(reason=found.reason)
        if found.resp_code == wire.NOT_FOUND:
            return Inquiry(found=False)
        pending = found.resp_code in wire.PENDING
        if isinstance(found, Plain) or (pending and found.amount is None):
            # Whoever signs nothing may say that a charge waits, and nothing more.
            return Inquiry(found=True) if pending else Unknown(reason=f"respCode {found.resp_code}")
        try:
            return Inquiry(found=True, facts=(wire.charge_fact(found, FactSource.INQUIRY, created_at),))
        except Misunderstood as error:
            return Unknown(reason=str(error))

    async def cancel(self, account: ProviderAccount, reference: str) -> Outcome:
        """Cancel an unpaid charge by its payment token; what 2C2P refuses to cancel is asked about."""
        if wire.KEY.fullmatch(reference):
            return NotAttempted(reason="only the payment token cancels, and its answer was lost")
        answer = await self._client.plain(account, "cancel", CANCEL, {"paymentToken": reference}, Plain)
        if isinstance(answer, NotAttempted | Unknown):
            return answer
        if answer.resp_code == wire.SUCCESS:
            return Accepted(provider_references=(reference,))
        found = await self._transaction(account, reference)
        if not isinstance(found, Transaction) or wire.kind_of(found.resp_code) is None:
            return Unknown(reason=f"respCode {answer.resp_code}")
        if found.resp_code == wire.CANCELED:
            return Accepted(provider_references=(reference,))
        return Declined(
            failure_code="not_cancelable",
            provider_code=answer.resp_code,
            message=answer.resp_desc,
            provider_references=(reference,),
        )

    async def capture(self, account: ProviderAccount, request: CaptureRequest) -> Outcome:  # noqa: ARG002 - never asked
        """Not here: whether payments settle by hand is a setting of the merchant at 2C2P, not of a request."""
        return Declined(failure_code="capture_not_supported", provider_code="", message="2C2P settles by itself")

    async def refund(self, account: ProviderAccount, request: RefundRequest) -> Outcome:
        """Void all of a payment while it is not settled, refund it or a part of it afterwards."""
        payment = await self._payment_of(account, request)
        if not isinstance(payment, Voidable):
            return NotAttempted(reason=payment.reason)
        return await self._refunds.give_back(account, request, payment)

    async def inquire_refund(self, account: ProviderAccount, request: RefundRequest) -> Inquiry | Unknown:
        """A refund by its amount and time, for 2C2P's list of refunds bears no key of ours."""
        payment = await self._payment_of(account, request)
        if not isinstance(payment, Voidable):
            return payment
        return await self._refunds.inquire(account, request, payment.invoice_no)

    def parse_callback(self, account: ProviderAccount, callback: Callback) -> ParsedCallback:
        """Check and read a payment's notification or the end of a refund.

        Raises:
            CallbackRejected: forged, unreadable, of another merchant, or with a word that is not known.
        """
        return callbacks.parse(account, callback)

    def callback_reply(self, account: ProviderAccount, callback: Callback, confirm_id: str) -> CallbackReply:  # noqa: ARG002 - any 200 will do
        """2C2P reads only the status."""
        return CallbackReply()

    async def statements(self, account: ProviderAccount, on: date) -> Sequence[StatementFile]:
        """The reconcile file of a day.

        Raises:
            StatementUnavailable: not there yet, or no answer.
        """
        merchant_id = account.credentials["merchant_id"]
        content = await self._client.file(account, STATEMENT, {"merchantID": merchant_id, "date": on.isoformat()})
        if isinstance(content, NotAttempted | Unknown):
            raise StatementUnavailable(f"2c2p reconcile file of {on.isoformat()}: {content.reason}")
        return (StatementFile(source="2c2p_settlement", name=f"2c2p-{merchant_id}-{on:%Y%m%d}.csv", content=content),)

    async def _pay(self, account: ProviderAccount, request: ChargeRequest, token: str) -> Outcome:
        """Start the payment under its token; what has ended already is asked about."""
        references = (request.provider_key, token)
        done = await self._client.plain(account, "charge", PAYMENT, charges.payment_fields(request, token), Done)
        if isinstance(done, NotAttempted | Unknown):
            return done
        if done.invoice_no not in {None, request.provider_key}:
            return Unknown(reason="the answer is of another invoice")
        if done.resp_code in charges.REQUEST_REFUSALS:
            return charges.refused(done.resp_code, done.resp_desc or "", references)
        if done.resp_code in charges.ENDED | charges.TOKEN_ERRORS | charges.KNOWN_INVOICE:
            return await self._earlier(account, request, references)
        return charges.started(request, done, references)

    async def _transaction(
        self, account: ProviderAccount, reference: str
    ) -> Transaction | Plain | NotAttempted | Unknown:
        """What 2C2P says of a charge; of this very one, or it is unknown."""
        by_key = wire.KEY.fullmatch(reference) is not None
        merchant_id = account.credentials["merchant_id"]
        fields = {
            "merchantID": merchant_id,
            "invoiceNo" if by_key else "paymentToken": reference,
            "locale": charges.LOCALE,
        }
        found = await self._client.signed(account, "inquiry", INQUIRY, fields, Transaction)
        if not isinstance(found, Transaction) or found.resp_code == wire.NOT_FOUND:
            return found
        if found.merchant_id != merchant_id or not wire.KEY.fullmatch(found.invoice_no):
            return Unknown(reason="the answer is of another merchant or invoice")
        if by_key and found.invoice_no != reference:
            return Unknown(reason="the answer is of another invoice")
        return found

    async def _earlier(self, account: ProviderAccount, request: ChargeRequest, references: tuple[str, ...]) -> Outcome:
        """What became of an invoice that 2C2P knows already; while it waits, its QR or address is lost to us."""
        known = await self.inquire(account, request.provider_key, request.created_at)
        if isinstance(known, Unknown):
            return known
        if not known.facts or known.facts[0].kind is FactKind.PENDING:
            return Unknown(reason="the invoice is known and waits")
        (fact,) = known.facts
        if fact.kind is not FactKind.DECLINED:
            return Accepted(provider_references=references, facts=known.facts)
        return Declined(
            failure_code=fact.failure_code or wire.OTHER_FAILURE,
            provider_code=fact.provider_code or "",
            message="",
            provider_references=references,
            facts=known.facts,
        )

    async def _payment_of(self, account: ProviderAccount, request: RefundRequest) -> Voidable | Unknown:
        """Which payment is given back; 2C2P is asked where the request does not say all of it."""
        invoice_no = request.charge_key or request.provider_reference
        if wire.KEY.fullmatch(invoice_no) and request.captured_minor is not None and request.captured_at is not None:
            return _voidable(invoice_no, request.captured_minor, request.captured_at, request.method)
        found = await self._transaction(account, invoice_no)
        if not isinstance(found, Transaction):
            return Unknown(reason=found.resp_desc if isinstance(found, Plain) else found.reason)
        try:
            fact = wire.charge_fact(found, FactSource.INQUIRY, request.created_at)
        except Misunderstood as error:
            return Unknown(reason=str(error))
        if fact.kind is not FactKind.CAPTURED:
            return Unknown(reason=f"not paid: respCode {found.resp_code}")
        return _voidable(found.invoice_no, fact.amount_minor, fact.occurred_at, request.method)


def _voidable(invoice_no: str, captured_minor: int, captured_at: datetime, method: Method | None) -> Voidable:
    until = TRUEMONEY_VOID_UNTIL if method is Method.TRUEMONEY else VOID_UNTIL
    return Voidable(invoice_no=invoice_no, captured_minor=captured_minor, captured_at=captured_at, void_until=until)
