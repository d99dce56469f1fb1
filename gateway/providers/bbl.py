"""Bangkok Bank: PromptPay QR by its Open API, cards on the hosted page of Bualuang iPay.

Credentials of the QR product: `consumer_key`, `consumer_secret`, `private_key` (RSA, PEM; it signs our requests),
`biller_id` (15 digits), `merchant_name`, and `origin` where the bank wants a certain one. Of iPay: `merchant_id`,
`login_id`, `password`, `secure_hash_secret`, `secure_hash_algorithm` (sha512, sha1), `ipay_base_url` where iPay does
not live below the account's address. An account may have one product only.

A reference does not tell its product, so an inquiry asks both and believes the one that knows it. Notifications of the
QR product carry no signature and prove nothing; datafeeds of iPay are signed, and tell no time, so both are inquired.
"""

import asyncio
from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

import msgspec

from gateway.providers import bbl_ipay_wire, bbl_wire
from gateway.providers.base import (
    NOT_JSON,
    Callback,
    CallbackRejected,
    CallbackReply,
    Capabilities,
    CaptureRequest,
    ChargeRequest,
    Declined,
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
from gateway.providers.bbl_client import BblClient
from gateway.providers.bbl_ipay import PAGE_SECONDS, BblIpay
from gateway.providers.bbl_qr import EXPIRY_SECONDS, VOID_UNTIL, BblQr
from gateway.providers.http import ProviderHttp
from gateway.providers.invented import DIGITS, LOWER, UPPER, invented, invented_rsa_key

AUTHORIZATION_DAYS: Final = 7
"""ASSUMED: how long the bank keeps a card's money set aside, as other acquirers do."""
AMOUNT_MINOR_MAX: Final = 700_000_00
"""ASSUMED: the contract with the bank decides; Xendit publishes 700,000 baht for the same rail."""
ECHOED_HEADERS: Final = {"request-ref": "Request-Ref", "transmit-date-time": "Transmit-Date-Time"}
RSA_BITS: Final = 2048
NO_QR: Final = "the account has no QR product"
NO_CARDS: Final = "the account has no iPay"


class Bbl:
    """The adapter. One instance serves all accounts."""

    name = "bbl"
    capabilities: Sequence[Capabilities] = (
        Capabilities(
            method=Method.PROMPTPAY,
            currency="THB",
            amount_minor_min=1,
            amount_minor_max=AMOUNT_MINOR_MAX,
            refunds=RefundRule.VOID_SAME_DAY,
            void_until=VOID_UNTIL,
            expiry_seconds=EXPIRY_SECONDS,
            rank=15,
        ),
        Capabilities(
            method=Method.CARD,
            currency="THB",
            amount_minor_min=1,
            amount_minor_max=AMOUNT_MINOR_MAX,
            refunds=RefundRule.FULL,
            expiry_seconds=PAGE_SECONDS,
            expiry_seconds_max=PAGE_SECONDS,
            rank=40,
            capture_later=True,
            capture_days_max=AUTHORIZATION_DAYS,
            cancelable=True,
            return_url=True,
        ),
    )
    callback_headers: Sequence[str] = tuple(ECHOED_HEADERS)

    @staticmethod
    def invented_credentials() -> dict[str, str]:
        """Fresh credentials for a test account; only the key is shared by those of one process."""
        return {
            "consumer_key": invented(LOWER, 32),
            "consumer_secret": invented(LOWER, 16),
            "private_key": invented_rsa_key(),
            "biller_id": "099" + invented(DIGITS, 12),
            "merchant_name": "QUICKKUB",
            "merchant_id": invented(DIGITS, 8),
            "login_id": "qk" + invented(LOWER, 8),
            "password": invented(LOWER, 16),
            "secure_hash_secret": invented(UPPER, 32),
            "secure_hash_algorithm": bbl_ipay_wire.HASH_ALGORITHM,
        }

    def __init__(self, http: ProviderHttp) -> None:
        self._client = BblClient(http)
        self._qr = BblQr(self._client)
        self._ipay = BblIpay(self._client)

    async def charge(self, account: ProviderAccount, request: ChargeRequest) -> Outcome:
        """Have a QR issued, or send the payer to the hosted page."""
        if request.currency != "THB" or request.method not in {Method.PROMPTPAY, Method.CARD}:
            return Declined(
                failure_code="method_not_supported", provider_code="", message="PromptPay and cards in THB only"
            )
        if request.method is Method.CARD:
            return self._ipay.charge(account, request) if _has_ipay(account) else NotAttempted(reason=NO_CARDS)
        return await self._qr.charge(account, request) if _has_qr(account) else NotAttempted(reason=NO_QR)

    async def inquire(
        self, account: ProviderAccount, reference: str, created_at: datetime, expires_at: datetime | None = None
    ) -> Inquiry | Unknown:
        """Ask both products; what one of them knows is true, whatever the other does."""
        asked = []
        if _has_ipay(account):
            asked.append(self._ipay.inquire(account, reference))
        if _has_qr(account):
            asked.append(self._qr.inquire(account, reference, created_at, expires_at))
        answers = await asyncio.gather(*asked)
        found = [answer for answer in answers if isinstance(answer, Inquiry) and answer.found]
        unknown = [answer for answer in answers if isinstance(answer, Unknown)]
        return (found or unknown or [Inquiry(found=False)])[0]

    async def cancel(self, account: ProviderAccount, reference: str) -> Outcome:
        """Give up a card's authorisation; a QR or an open page lives until it expires."""
        if not _has_ipay(account):
            return Declined(failure_code="not_cancelable", provider_code="", message="a QR lives until it expires")
        return await self._ipay.cancel(account, reference)

    async def capture(self, account: ProviderAccount, request: CaptureRequest) -> Outcome:
        """Take an authorised card payment, once."""
        if request.method is not Method.CARD:
            return Declined(failure_code="capture_not_supported", provider_code="", message="a QR is paid at once")
        return await self._ipay.capture(account, request) if _has_ipay(account) else NotAttempted(reason=NO_CARDS)

    async def refund(self, account: ProviderAccount, request: RefundRequest) -> Outcome:
        """Give back a whole payment: a QR on its day, a card at any time."""
        product = await self._product_of(account, request)
        return product if isinstance(product, NotAttempted) else await product.refund(account, request)

    async def inquire_refund(self, account: ProviderAccount, request: RefundRequest) -> Inquiry | Unknown:
        """What became of the refund."""
        product = await self._product_of(account, request)
        if isinstance(product, NotAttempted):
            return Unknown(reason=product.reason)
        return await product.inquire_refund(account, request)

    def parse_callback(self, account: ProviderAccount, callback: Callback) -> ParsedCallback:
        """What a notification or a datafeed asks us to ask about.

        Raises:
            CallbackRejected: unreadable, of another biller, a wrong hash, or an unknown word.
        """
        if _is_json(callback.body):
            return _notified(account, callback.body)
        if not _has_ipay(account):
            raise CallbackRejected("malformed", NO_CARDS)
        feed = bbl_ipay_wire.read_feed(account.credentials, callback.body)
        return ParsedCallback(event_id=f"{feed.pay_ref}-{feed.success_code}", inquire=(feed.order_ref,))

    def callback_reply(self, account: ProviderAccount, callback: Callback, confirm_id: str) -> CallbackReply:  # noqa: ARG002 - the shape of all
        """A datafeed is sent again until the answer begins with OK, a notification until it says 000."""
        if not _is_json(callback.body):
            return CallbackReply(content_type="text/plain", body=b"OK")
        given = {name.lower(): value for name, value in callback.headers.items()}
        headers = {shown: given[name] for name, shown in ECHOED_HEADERS.items() if name in given}
        body = msgspec.json.encode({"responseCode": bbl_wire.SUCCESS, "responseMesg": "Success"})
        return CallbackReply(body=body, headers=headers)

    async def statements(self, account: ProviderAccount, on: date) -> Sequence[StatementFile]:
        """The merchant report of a day.

        Raises:
            StatementUnavailable: not there yet, or no answer.
        """
        if not _has_ipay(account):
            raise StatementUnavailable(f"bbl merchant report: {NO_CARDS}")
        content = await self._client.report(account, on.isoformat())
        if isinstance(content, NotAttempted | Unknown):
            raise StatementUnavailable(f"bbl merchant report of {on.isoformat()}: {content.reason}")
        name = f"bbl-{account.credentials['merchant_id']}-{on:%Y%m%d}.csv"
        return (StatementFile(source="bbl_settlement", name=name, content=content),)

    async def _product_of(self, account: ProviderAccount, request: RefundRequest) -> BblIpay | BblQr | NotAttempted:
        """Who took the payment: by the method, and where that is not told, by whether iPay knows the order."""
        method = request.method
        if method is None and _has_ipay(account):
            found = await self._ipay.records(account, request.charge_key or request.provider_reference)
            if isinstance(found, NotAttempted | Unknown):
                return NotAttempted(reason=found.reason)
            method = Method.CARD if found else None
        if method is Method.CARD:
            return self._ipay if _has_ipay(account) else NotAttempted(reason=NO_CARDS)
        return self._qr if _has_qr(account) else NotAttempted(reason=NO_QR)


def _notified(account: ProviderAccount, body: bytes) -> ParsedCallback:
    try:
        said = msgspec.json.decode(body, type=bbl_wire.Notification)
        paid_at = bbl_wire.moment(said.trans_date, said.trans_time)
        bbl_wire.satang(said.amount)
    except (*NOT_JSON, ValueError) as error:
        raise CallbackRejected("malformed", str(error)) from None
    if said.biller_id != account.credentials.get("biller_id"):
        raise CallbackRejected("malformed", "the notification is of another biller")
    if said.txn_type not in bbl_wire.TRANSACTION_TYPES:
        raise CallbackRejected("unknown_status", f"txnType {said.txn_type!r}")
    movement = said.approval_code or said.bank_ref
    if not movement:
        raise CallbackRejected("malformed", "neither approvalCode nor bankRef")
    return ParsedCallback(
        event_id=f"{said.trans_date}-{said.reference1}-{movement}-{said.txn_type}",
        inquire=(said.reference1,),
        inquire_about=paid_at,
    )


def _is_json(body: bytes) -> bool:
    return body.lstrip().startswith(b"{")


def _has_qr(account: ProviderAccount) -> bool:
    return "consumer_key" in account.credentials


def _has_ipay(account: ProviderAccount) -> bool:
    return "merchant_id" in account.credentials
