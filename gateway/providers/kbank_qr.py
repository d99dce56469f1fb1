"""KBank's QR product: issue, ask, cancel while unpaid, void on the day of the payment."""

from datetime import datetime, timedelta
from typing import Final

from gateway.foundation.clock import BANGKOK, business_date_of
from gateway.providers import kbank_wire
from gateway.providers.base import (
    Accepted,
    ChargeRequest,
    Declined,
    Fact,
    FactKind,
    FactSource,
    Inquiry,
    NextAction,
    NotAttempted,
    Outcome,
    ProviderAccount,
    RefundRequest,
    Unknown,
)
from gateway.providers.emvco import QrMalformed
from gateway.providers.kbank_client import KbankClient
from gateway.providers.kbank_wire import ERROR, SUCCESS, Misunderstood, QrReply, uid_of
from gateway.providers.promptpay import read_qr
from ledger.money import to_text

REQUEST: Final = "/v1/qrpayment/request"
INQUIRY: Final = "/v1/qrpayment/v4/inquiry"
CANCEL: Final = "/v1/qrpayment/cancel"
VOID: Final = "/v1/qrpayment/void"
EXPIRY_SECONDS: Final = 10 * 60
"""The bank's own; no other can be asked for."""

PAID: Final = "PAID"
VOIDED: Final = "VOIDED"
DUPLICATE: Final = "duplicate_request"
NO_SUCH_ORIGINAL: Final = "invalid_origPartnerTxnUid"
CANCELED_ALREADY: Final = "qr_cancelled"
VOIDED_ALREADY: Final = "qr_void"
NOT_LET_IN: Final = {"authentication_error", "invalid_merchant", "merchant_closed", "invalid_account", "account_error"}
"""The partner, the merchant or its account is not served: whatever was asked was not done, and others may do it."""
CHARGE_REFUSALS: Final = {
    "bad_request": "invalid_request",
    "invalid_currency_code": "invalid_request",
    "invalid_txn_amount": "invalid_request",
    "invalid_qr_type": "invalid_request",
    "invalid_reference1": "invalid_request",
    "payment_exceed_limit": "amount_too_large",
}
CANCEL_REFUSALS: Final = {
    "bad_request": "not_cancelable",
    "qr_paid": "not_cancelable",
    "qr_expired": "not_cancelable",
    VOIDED_ALREADY: "not_cancelable",
}
VOID_REFUSALS: Final = {
    "bad_request": "refund_refused",
    "qr_cancelled": "refund_refused",
    "qr_expired": "refund_refused",
    "settlement_error": "refund_window_over",
}


class QrPayments:
    """Operations on QRs; the adapter chooses between these and those of cards."""

    def __init__(self, client: KbankClient) -> None:
        self._client = client

    async def charge(self, account: ProviderAccount, request: ChargeRequest) -> Outcome:
        """Have a Thai QR issued. One that was issued before is asked about: the bank does not show its text again."""
        uid = uid_of(request.provider_key)
        fields = {
            "txnAmount": to_text(request.amount_minor, "THB"),
            "txnCurrencyCode": request.currency,
            "reference1": request.provider_key,
        }
        reply = await self._client.qr(account, "charge", REQUEST, fields, uid=uid)
        if isinstance(reply, NotAttempted | Unknown):
            return reply
        if reply.status_code == SUCCESS:
            return _issued(request, uid, reply)
        if _error(reply) == DUPLICATE:
            return await self._issued_before(account, request)
        return _refusal(reply, CHARGE_REFUSALS)

    async def inquire(self, account: ProviderAccount, reference: str, asked_about: datetime) -> Inquiry | Unknown:
        """What became of a QR, by our provider key or by its uid."""
        reply = await self._ask(account, _uid(reference))
        if isinstance(reply, Unknown):
            return reply
        if reply is None:
            return Inquiry(found=False)
        try:
            facts = kbank_wire.qr_facts(reply, reference, asked_about, FactSource.INQUIRY)
        except Misunderstood as error:
            return Unknown(reason=str(error))
        return Inquiry(found=True, facts=facts)

    async def cancel(self, account: ProviderAccount, reference: str) -> Outcome:
        """Cancel an unpaid QR; the answer has no amount, so the caller makes the fact of it."""
        reply = await self._client.qr(account, "cancel", CANCEL, {"origPartnerTxnUid": _uid(reference)})
        if isinstance(reply, NotAttempted | Unknown):
            return reply
        if reply.status_code == SUCCESS or _error(reply) == CANCELED_ALREADY:
            return Accepted(provider_references=(reference,))
        if _error(reply) == NO_SUCH_ORIGINAL:
            return NotAttempted(reason="the bank knows no such QR", provider_code=NO_SUCH_ORIGINAL)
        return _refusal(reply, CANCEL_REFUSALS)

    async def refund(self, account: ProviderAccount, request: RefundRequest) -> Outcome:
        """Void a payment, whole and on its own day; what is settled can only be given back by a transfer."""
        original = _uid(request.charge_key or request.provider_reference)
        refusal = _out_of_question(request)
        if refusal is not None:
            return refusal
        found = await self._ask(account, original)
        if not isinstance(found, QrReply):
            return NotAttempted(reason=found.reason if found else "the bank knows no such QR")
        try:
            if kbank_wire.satang(found.txn_amount) != request.amount_minor:
                return _declined("partial_refund_not_supported", "a QR is voided whole")
        except Misunderstood as error:
            return NotAttempted(reason=str(error))
        if found.txn_status == VOIDED:
            return _voided(request)
        return await self._void(account, request, original, found.txn_no)

    async def inquire_refund(self, account: ProviderAccount, request: RefundRequest) -> Inquiry | Unknown:
        """Whether the payment is voided; the bank does not say by which request, and lets only ours."""
        reply = await self._ask(account, _uid(request.charge_key or request.provider_reference))
        if isinstance(reply, Unknown):
            return reply
        if reply is None or reply.txn_status == PAID:
            return Inquiry(found=False)
        if reply.txn_status != VOIDED:
            return Unknown(reason=f"txnStatus {reply.txn_status!r}")
        try:
            if kbank_wire.satang(reply.txn_amount) != request.amount_minor:
                return Unknown(reason="another amount was voided")
        except Misunderstood as error:
            return Unknown(reason=str(error))
        return Inquiry(found=True, facts=(_void_fact(request, FactSource.INQUIRY),))

    async def _void(
        self, account: ProviderAccount, request: RefundRequest, original: str, txn_no: str | None
    ) -> Outcome:
        fields = {"origPartnerTxnUid": original, **({"txnNo": txn_no} if txn_no else {})}
        reply = await self._client.qr(account, "refund", VOID, fields, uid=uid_of(request.provider_key))
        if isinstance(reply, NotAttempted | Unknown):
            return reply
        if reply.status_code == SUCCESS:
            return _voided(request)
        if _error(reply) in {DUPLICATE, VOIDED_ALREADY}:
            # Perhaps by this very request, in a call whose answer was lost. A payment is voided once at most.
            inquiry = await self.inquire_refund(account, request)
            return _voided(request) if isinstance(inquiry, Inquiry) and inquiry.found else Unknown(reason=DUPLICATE)
        return _refusal(reply, VOID_REFUSALS)

    async def _ask(self, account: ProviderAccount, uid: str) -> QrReply | Unknown | None:
        """The bank's answer about a QR; None where it knows none."""
        reply = await self._client.qr(account, "inquiry", INQUIRY, {"origPartnerTxnUid": uid})
        if isinstance(reply, NotAttempted):
            return Unknown(reason=reply.reason)
        if isinstance(reply, Unknown):
            return reply
        if reply.status_code == SUCCESS:
            return None if reply.txn_status == kbank_wire.QR_NOT_FOUND else reply
        if _error(reply) == NO_SUCH_ORIGINAL:
            return None
        return Unknown(reason=f"statusCode {reply.status_code} {reply.error_code}")

    async def _issued_before(self, account: ProviderAccount, request: ChargeRequest) -> Outcome:
        inquiry = await self.inquire(account, request.provider_key, request.created_at)
        if isinstance(inquiry, Unknown):
            return inquiry
        if not inquiry.facts or inquiry.facts[0].kind is FactKind.PENDING:
            # Its text is lost, so nobody can pay it, but that is not proof that nobody ever saw it.
            return Unknown(reason=DUPLICATE)
        return Accepted(provider_references=_references(request), facts=inquiry.facts)


def can_be_voided(captured_at: datetime, asked_at: datetime) -> bool:
    """Whether it is still the day of the payment, before the night run."""
    return (
        business_date_of(captured_at) == business_date_of(asked_at)
        and asked_at.astimezone(BANGKOK).time() < kbank_wire.SETTLES_AT
    )


def is_uid(reference: str) -> bool:
    """Whether it is the uid of a request; our provider keys are longer."""
    return len(reference) == kbank_wire.UID_LENGTH


def _uid(reference: str) -> str:
    return reference if is_uid(reference) else uid_of(reference)


def _references(request: ChargeRequest) -> tuple[str, str]:
    return request.provider_key, uid_of(request.provider_key)


def _error(reply: QrReply) -> str | None:
    return reply.error_code if reply.status_code == ERROR else None


def _refusal(reply: QrReply, refusals: dict[str, str]) -> Outcome:
    code = _error(reply)
    if code in NOT_LET_IN:
        return NotAttempted(reason=reply.error_desc or code, provider_code=code)
    if code is None or code not in refusals:
        return Unknown(reason=f"statusCode {reply.status_code} {reply.error_code}")
    return Declined(failure_code=refusals[code], provider_code=code, message=reply.error_desc or "")


def _declined(failure_code: str, message: str) -> Declined:
    return Declined(failure_code=failure_code, provider_code="", message=message)


def _out_of_question(request: RefundRequest) -> Declined | None:
    """A refusal that follows from the request alone, so that it is the same on every retry."""
    if request.captured_minor is not None and request.amount_minor != request.captured_minor:
        return _declined("partial_refund_not_supported", "a QR is voided whole")
    if request.captured_at is not None and not can_be_voided(request.captured_at, request.created_at):
        return _declined("refund_window_over", "a QR is voided before the night run of its day")
    return None


def _issued(request: ChargeRequest, uid: str, reply: QrReply) -> Outcome:
    try:
        text = reply.qr_code or ""
        amount_minor = read_qr(text).amount_minor
    except QrMalformed as error:
        return Unknown(reason=f"QR not understood: {error}")
    if amount_minor != request.amount_minor or reply.partner_txn_uid != uid:
        return Unknown(reason="the QR is not of this request and amount")
    pending = Fact(
        provider=kbank_wire.NAME,
        kind=FactKind.PENDING,
        provider_reference=request.provider_key,
        provider_transaction_id=request.provider_key,
        amount_minor=request.amount_minor,
        currency=request.currency,
        occurred_at=request.created_at,
        source=FactSource.RESPONSE,
    )
    ends_at = request.created_at + timedelta(seconds=EXPIRY_SECONDS)
    expires_at = ends_at if request.expires_at is None else min(ends_at, request.expires_at)
    return Accepted(
        provider_references=_references(request),
        facts=(pending,),
        next_action=NextAction(type="display_qr_code", qr_data=text, expires_at=expires_at),
    )


def _voided(request: RefundRequest) -> Accepted:
    return Accepted(
        provider_references=(request.provider_key, uid_of(request.provider_key)),
        facts=(_void_fact(request, FactSource.RESPONSE),),
    )


def _void_fact(request: RefundRequest, source: FactSource) -> Fact:
    """ASSUMED: the void's id is the uid of its request, which the bank's report names; no answer has another."""
    return Fact(
        provider=kbank_wire.NAME,
        kind=FactKind.REFUND_SUCCEEDED,
        provider_reference=request.provider_key,
        provider_transaction_id=uid_of(request.provider_key),
        amount_minor=request.amount_minor,
        currency=request.currency,
        occurred_at=request.created_at,
        source=source,
    )
