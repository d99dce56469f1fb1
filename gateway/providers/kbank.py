"""KBank: PromptPay by the QR product of its open API, cards by KGP v2. Two products, one account.

Credentials: `consumer_id`, `consumer_secret` (token), `partner_id`, `partner_secret`, `merchant_id`, `terminal_id`
(QR); `kgp_secret_key`, `kgp_public_key` (cards; the public one is the browser's); `kgp_base_url`, where KGP lives on
a host of its own. A QR is known by the uid that is derived from our provider key, a card's charge by our key as its
order. QR notifications carry no signature and KGP's a plain hash that does not cover the order, so in both cases the
bank is asked before anything is believed.

Live calls of the QR product need mutual TLS with the partner's certificate: that is the egress proxy's work.
"""

import hashlib
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final

import msgspec

from gateway.providers import kbank_qr, kbank_wire
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
from gateway.providers.http import ProviderHttp
from gateway.providers.invented import DIGITS, LOWER, UPPER, invented
from gateway.providers.kbank_cards import CardPayments, is_charge_id
from gateway.providers.kbank_client import KbankClient, invented_key
from gateway.providers.kbank_qr import QrPayments
from gateway.providers.kbank_wire import Misunderstood

QR_AMOUNT_MINOR_MAX: Final = 700_000_00
"""ASSUMED: the contract with the bank decides; Xendit publishes 700,000 baht for the same rail."""
CARD_AMOUNT_MINOR_MAX: Final = 9_999_999_999_99
"""`decimal(12,2)`; the contract and the card's own limit decide."""
STATEMENT: Final = "/v1/qrpayment/settlement/report"
"""ASSUMED: that both products are settled by the day is documented, not how the report is fetched. Here: GET with
merchantId and date (yyyy-MM-dd), the file as the body, 404 until the day is over. Its columns: the format's own doc."""


class Kbank:
    """The adapter. One instance serves all accounts."""

    name = kbank_wire.NAME
    capabilities: Sequence[Capabilities] = (
        Capabilities(
            method=Method.PROMPTPAY,
            currency="THB",
            amount_minor_min=1,
            amount_minor_max=QR_AMOUNT_MINOR_MAX,
            refunds=RefundRule.VOID_SAME_DAY,
            void_until=kbank_wire.SETTLES_AT,
            expiry_seconds=kbank_qr.EXPIRY_SECONDS,
            expiry_seconds_max=kbank_qr.EXPIRY_SECONDS,
            rank=20,
            cancelable=True,
        ),
        Capabilities(
            method=Method.CARD,
            currency="THB",
            amount_minor_min=1,
            amount_minor_max=CARD_AMOUNT_MINOR_MAX,
            refunds=RefundRule.PARTIAL,
            void_until=kbank_wire.SETTLES_AT,
            expiry_seconds=None,
            rank=20,
            needs="card_token",
        ),
    )
    callback_headers: Sequence[str] = ()

    @staticmethod
    def invented_credentials() -> dict[str, str]:
        """Fresh credentials for a test account."""
        return {
            "consumer_id": invented(LOWER, 32),
            "consumer_secret": invented(LOWER, 16),
            "partner_id": "PTR" + invented(UPPER, 7),
            "partner_secret": invented(LOWER, 32),
            "merchant_id": "KB" + invented(DIGITS, 12),
            "terminal_id": invented(DIGITS, 8),
            "kgp_public_key": invented_key("pkey_test_"),
            "kgp_secret_key": invented_key("skey_test_"),
        }

    def __init__(self, http: ProviderHttp) -> None:
        self._client = KbankClient(http)
        self._qrs = QrPayments(self._client)
        self._cards = CardPayments(self._client)

    async def charge(self, account: ProviderAccount, request: ChargeRequest) -> Outcome:
        """Have a QR issued, or charge a card's token at once."""
        if request.method not in {Method.PROMPTPAY, Method.CARD} or request.currency != "THB":
            return _declined("method_not_supported", "PromptPay and cards, in THB only")
        if request.capture_later:
            return _declined("capture_not_supported", "KGP documents no capture of its own")
        if request.method is Method.PROMPTPAY:
            return await self._qrs.charge(account, request)
        return await self._cards.charge(account, request)

    async def inquire(
        self,
        account: ProviderAccount,
        reference: str,
        created_at: datetime,
        expires_at: datetime | None = None,  # noqa: ARG002 - a charge is asked about by name, not by day
    ) -> Inquiry | Unknown:
        """A charge by KGP's id, by the uid of a QR, or by our provider key, under which both products are asked."""
        if is_charge_id(reference):
            return await self._cards.inquire(account, reference)
        of_qr = await self._qrs.inquire(account, reference, created_at)
        if kbank_qr.is_uid(reference) or (isinstance(of_qr, Inquiry) and of_qr.found):
            return of_qr
        of_card = await self._cards.inquire(account, reference)
        if isinstance(of_qr, Unknown) and isinstance(of_card, Inquiry) and not of_card.found:
            return of_qr
        return of_card

    async def cancel(self, account: ProviderAccount, reference: str) -> Outcome:
        """Make an unpaid QR unpayable; a card's charge cannot be."""
        if is_charge_id(reference):
            return _declined("not_cancelable", "KGP cancels no charge that waits")
        return await self._qrs.cancel(account, reference)

    async def capture(self, account: ProviderAccount, request: CaptureRequest) -> Outcome:  # noqa: ARG002 - there is none
        """Not documented for either product."""
        return _declined("capture_not_supported", "KBank takes the money at once")

    async def refund(self, account: ProviderAccount, request: RefundRequest) -> Outcome:
        """Void a QR on its day; void or refund a card."""
        if _is_of_card(request):
            return await self._cards.refund(account, request)
        return await self._qrs.refund(account, request)

    async def inquire_refund(self, account: ProviderAccount, request: RefundRequest) -> Inquiry | Unknown:
        """Ask whether the charge shows our refund."""
        if _is_of_card(request):
            return await self._cards.inquire_refund(account, request)
        return await self._qrs.inquire_refund(account, request)

    def parse_callback(self, account: ProviderAccount, callback: Callback) -> ParsedCallback:
        """Which charge is to be asked about. A body with a checksum is KGP's, any other a QR notification.

        Raises:
            CallbackRejected: `signature_invalid`, or `malformed`: unreadable, or of another partner or merchant.
        """
        try:
            fields = msgspec.json.decode(callback.body, type=dict[str, msgspec.Raw])
            if _is_kgp(fields):
                return _card_callback(account, callback)
            said = msgspec.json.decode(callback.body, type=kbank_wire.QrNotice)
        except (*NOT_JSON, Misunderstood) as error:
            raise CallbackRejected("malformed", str(error)) from None
        ours = (account.credentials["partner_id"], account.credentials["merchant_id"])
        if (said.partner_id, said.merchant_id) != ours:
            raise CallbackRejected("malformed", "the notification is of another partner or merchant")
        if not kbank_qr.is_uid(said.partner_txn_uid):
            raise CallbackRejected("malformed", "partnerTxnUid is not of a request of ours")
        return ParsedCallback(event_id=f"{said.partner_txn_uid}-{said.txn_no or ''}", inquire=(said.partner_txn_uid,))

    def callback_reply(self, account: ProviderAccount, callback: Callback, confirm_id: str) -> CallbackReply:  # noqa: ARG002 - the shape of all
        """The QR product wants its status words; KGP reads only the status of HTTP."""
        return CallbackReply(body=b'{"statusCode":"00","errorCode":null,"errorDesc":null}')

    async def statements(self, account: ProviderAccount, on: date) -> Sequence[StatementFile]:
        """The settlement report of a day, of both products.

        Raises:
            StatementUnavailable: not there yet, or no answer.
        """
        merchant_id = account.credentials["merchant_id"]
        parameters = {"merchantId": merchant_id, "date": on.isoformat()}
        content = await self._client.file(account, "statement", STATEMENT, parameters=parameters)
        if isinstance(content, NotAttempted | Unknown):
            raise StatementUnavailable(f"kbank settlement report of {on.isoformat()}: {content.reason}")
        name = f"kbank-settlement-{merchant_id}-{on:%Y%m%d}.csv"
        return (StatementFile(source="kbank_settlement", name=name, content=content),)


def _is_kgp(fields: dict[str, Any]) -> bool:
    return "checksum" in fields


def _is_of_card(request: RefundRequest) -> bool:
    if request.method is None:
        return is_charge_id(request.provider_reference)
    return request.method is Method.CARD


def _card_callback(account: ProviderAccount, callback: Callback) -> ParsedCallback:
    notice = msgspec.json.decode(callback.body, type=kbank_wire.CardNotice)
    if not kbank_wire.is_signed(notice, account.credentials["kgp_secret_key"]):
        raise CallbackRejected("signature_invalid", "the checksum does not fit the charge")
    if not is_charge_id(notice.id):
        raise CallbackRejected("malformed", "the id is not that of a charge")
    # The checksum knows neither order nor time, so two notices may share it: the body tells them apart.
    return ParsedCallback(event_id=hashlib.sha256(callback.body).hexdigest(), inquire=(notice.id,))


def _declined(failure_code: str, message: str) -> Declined:
    return Declined(failure_code=failure_code, provider_code="", message=message)
