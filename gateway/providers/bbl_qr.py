"""Bangkok Bank's QR product: PromptPay tag 30 on our biller id, inquiry by day, a void on the day of the payment.

A charge is (biller, reference 1), and reference 1 is our provider key. Its payments bear the bank's transaction id.
"""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from gateway.foundation.clock import BANGKOK, business_date_of
from gateway.providers import bbl_wire
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
from gateway.providers.bbl_client import BblClient
from gateway.providers.bbl_wire import MalformedAnswer, PaymentRow, Reply
from gateway.providers.emvco import QrMalformed
from gateway.providers.promptpay import Bill, bill_payment_qr, read_qr
from ledger.money import to_text

NAME: Final = "bbl"
QR_GENERATE: Final = "/biller/v1/qr-generate"
INQUIRY: Final = "/biller/v1/payment-inquiry"
"""ASSUMED to answer without `amount`, which clients send: it is not known when asking, and with one the bank would hide
a payment of another amount, which is the one that must be seen."""
REVERSAL: Final = "/biller/v1/refund/reversal"
VOID_UNTIL: Final = time(23, 0)
EXPIRY_SECONDS: Final = 15 * 60
LATE_SECONDS: Final = 10 * 60
"""How long after a charge's life its day is still asked about: clocks differ, transfers take their time."""
LOOK_UP: Final = {"212", "411", "412"}
"""The reference was used, has expired or is paid: it may be by this very request, so the payments are looked at."""
ISSUED_BEFORE: Final = {"212"}
"""The earlier QR is alive. The bank does not say its text again, and need not: a biller may write it himself."""

REFUSED_REVERSALS: Final = {bbl_wire.NOT_YET: "refund_refused", "411": "refund_window_closed"}
"""Certain refusals of a reversal: no such payment, and (ASSUMED: the word after the cut-off) expired."""


class BblQr:
    """Asks the Open API."""

    def __init__(self, client: BblClient) -> None:
        self._client = client

    async def charge(self, account: ProviderAccount, request: ChargeRequest) -> Outcome:
        """Have a QR issued. One that does not say what we asked for is not shown."""
        local = request.created_at.astimezone(BANGKOK)
        body = {
            "requestDate": f"{local:%Y-%m-%d}",
            "requestTime": f"{local:%H:%M:%S}",
            "merchantCountry": "TH",
            "merchantName": account.credentials["merchant_name"],
            "amount": to_text(request.amount_minor, "THB"),
            "qrPromptpayInfo": {
                "billerId": account.credentials["biller_id"],
                "reference1": request.provider_key,
                "reference2": "",
            },
            "extra1": "",
            "extra2": "",
        }
        reply = await self._client.call(account, "charge", QR_GENERATE, body)
        if isinstance(reply, NotAttempted | Unknown):
            return reply
        if reply.code == bbl_wire.SUCCESS:
            return _issued(account, request, reply)
        if reply.code in LOOK_UP:
            paid = await self.inquire(account, request.provider_key, request.created_at, request.expires_at)
            if isinstance(paid, Inquiry) and paid.found:
                return Accepted(provider_references=(request.provider_key,), facts=paid.facts)
            if isinstance(paid, Unknown) or reply.code not in ISSUED_BEFORE:
                return Unknown(reason=f"code {reply.code}, and no payment is known")
            return _shown(request, _text_of(account, request))
        return bbl_wire.refusal(reply, "invalid_request")

    async def inquire(
        self, account: ProviderAccount, reference: str, created_at: datetime, expires_at: datetime | None
    ) -> Inquiry | Unknown:
        """The payments on the days of the charge's life; "not found" where there is none, for the bank knows no QR."""
        facts: list[Fact] = []
        for day in _days(created_at, expires_at):
            found = await self._payments(account, reference, day)
            if isinstance(found, NotAttempted | Unknown):
                return Unknown(reason=found.reason)
            facts += [_captured(reference, row) for row in found]
        return Inquiry(found=bool(facts), facts=tuple(facts))

    async def refund(self, account: ProviderAccount, request: RefundRequest) -> Outcome:
        """Void the payment, all of it, on its day."""
        if request.captured_minor not in {None, request.amount_minor}:
            return _declined("partial_refund_not_supported", "the bank gives back the whole payment only")
        if not is_voidable(request):
            return _declined("refund_window_closed", "the bank gives back until 23:00 of the day of the payment")
        row = await self._payment_of(account, request)
        if isinstance(row, NotAttempted | Unknown):
            return NotAttempted(reason=row.reason)
        return await self._void(account, request, row)

    async def inquire_refund(self, account: ProviderAccount, request: RefundRequest) -> Inquiry | Unknown:
        """Whether the payment was cancelled: the void carries no name of ours, and there is only one."""
        row = await self._payment_of(account, request)
        if isinstance(row, NotAttempted | Unknown):
            return Unknown(reason=row.reason)
        if row.txn_type != bbl_wire.REVERSED:
            return Inquiry(found=False)
        return Inquiry(found=True, facts=(_returned(request, row, FactSource.INQUIRY),))

    async def _void(self, account: ProviderAccount, request: RefundRequest, row: PaymentRow) -> Outcome:
        fact = _returned(request, row, FactSource.RESPONSE)
        done = Accepted(provider_references=(request.provider_key,), facts=(fact,))
        if row.txn_type == bbl_wire.REVERSED:
            # By this very request, in a call whose answer was lost: there is only one way to give back the whole.
            return done
        reply = await self._client.call(account, "refund", REVERSAL, _reversal(account, request, row))
        if isinstance(reply, NotAttempted | Unknown):
            return reply
        if reply.code == bbl_wire.SUCCESS:
            return done
        if reply.code in REFUSED_REVERSALS:
            return _declined(REFUSED_REVERSALS[reply.code], reply.message, reply.code)
        return bbl_wire.refusal(reply, "refund_refused")

    async def _payment_of(
        self, account: ProviderAccount, request: RefundRequest
    ) -> PaymentRow | NotAttempted | Unknown:
        """The payment that is to be given back; of several of the same amount the one of the very second."""
        reference = request.charge_key or request.provider_reference
        rows = await self._payments(account, reference, business_date_of(request.captured_at or request.created_at))
        if isinstance(rows, NotAttempted | Unknown):
            return rows
        rows = tuple(row for row in rows if row.amount_minor == request.amount_minor)
        if len(rows) > 1 and request.captured_at is not None:
            second = request.captured_at.replace(microsecond=0)
            rows = tuple(row for row in rows if row.paid_at == second)
        if len(rows) != 1:
            return NotAttempted(reason=f"{len(rows)} payments of that amount under {reference}")
        return rows[0]

    async def _payments(
        self, account: ProviderAccount, reference: str, day: date
    ) -> tuple[PaymentRow, ...] | NotAttempted | Unknown:
        body = {
            "billerId": account.credentials["biller_id"],
            "transDate": day.isoformat(),
            "reference1": reference,
            "reference2": "",
        }
        reply = await self._client.call(account, "inquiry", INQUIRY, body)
        if isinstance(reply, NotAttempted | Unknown):
            return reply
        if reply.code == bbl_wire.NOT_YET:
            return ()
        if reply.code != bbl_wire.SUCCESS:
            return Unknown(reason=f"code {reply.code}")
        try:
            rows = bbl_wire.rows(reply)
            for row in rows:
                _check(account, reference, row)
        except MalformedAnswer as error:
            return Unknown(reason=f"row not understood: {error}")
        return rows


def is_voidable(request: RefundRequest) -> bool:
    """Whether a refund comes on the day of its payment, before the cut-off; yes where the day is not told."""
    if request.captured_at is None:
        return True
    asked_at = request.created_at.astimezone(BANGKOK)
    return business_date_of(request.captured_at) == asked_at.date() and asked_at.time() < VOID_UNTIL


def _issued(account: ProviderAccount, request: ChargeRequest, reply: Reply) -> Outcome:
    expected = (account.credentials["biller_id"], request.provider_key, request.amount_minor)
    try:
        text = reply.data_as(bbl_wire.IssuedQr).qr_data
        qr = read_qr(text)
    except (MalformedAnswer, QrMalformed) as error:
        return Unknown(reason=f"QR not understood: {error}")
    bill = qr.bill or Bill(biller_id="", reference1="")
    if (bill.biller_id, bill.reference1, qr.amount_minor) != expected:
        return Unknown(reason="the QR is not of this bill and amount")
    return _shown(request, text)


def _text_of(account: ProviderAccount, request: ChargeRequest) -> str:
    """The text of the QR for this bill and amount: it follows from them, by the standard."""
    bill = Bill(biller_id=account.credentials["biller_id"], reference1=request.provider_key)
    return bill_payment_qr(bill, request.amount_minor)


def _shown(request: ChargeRequest, text: str) -> Accepted:
    pending = Fact(
        provider=NAME,
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


def _check(account: ProviderAccount, reference: str, row: PaymentRow) -> None:
    if (row.reference1 or row.prompt_pay_ref1) != reference:
        raise MalformedAnswer("it is not of the bill that was asked about")
    if row.biller_id not in {"", account.credentials["biller_id"]}:
        raise MalformedAnswer("it is of another biller")
    if row.status_code not in bbl_wire.PAID_STATUSES:
        raise MalformedAnswer(f"statusCode {row.status_code!r} is not known")
    if row.txn_type not in bbl_wire.TRANSACTION_TYPES:
        raise MalformedAnswer(f"txnType {row.txn_type!r} is not known")
    if not (row.transaction_id and row.amount_minor and row.paid_at):
        raise MalformedAnswer("transactionId is empty")


def _captured(reference: str, row: PaymentRow) -> Fact:
    """The payment, also where it was given back since: the money did come."""
    return Fact(
        provider=NAME,
        kind=FactKind.CAPTURED,
        provider_reference=reference,
        provider_transaction_id=row.transaction_id,
        amount_minor=row.amount_minor,
        currency="THB",
        occurred_at=row.paid_at,
        source=FactSource.INQUIRY,
    )


def _returned(request: RefundRequest, row: PaymentRow, source: FactSource) -> Fact:
    """The void of a payment; the bank gives it no id of its own, so it bears the payment's."""
    return Fact(
        provider=NAME,
        kind=FactKind.REFUND_SUCCEEDED,
        provider_reference=request.provider_key,
        provider_transaction_id=row.transaction_id,
        amount_minor=request.amount_minor,
        currency=request.currency,
        occurred_at=request.created_at,
        source=source,
    )


def _reversal(account: ProviderAccount, request: RefundRequest, row: PaymentRow) -> Mapping[str, Any]:
    return {
        "billerId": account.credentials["biller_id"],
        "reference1": row.reference1 or row.prompt_pay_ref1,
        "reference2": row.reference2,
        "transDate": row.trans_date,
        "transTime": row.trans_time,
        "amount": to_text(request.amount_minor, "THB"),
        "approvalCode": row.approval_code,
    }


def _declined(failure_code: str, message: str, provider_code: str = "") -> Declined:
    return Declined(failure_code=failure_code, provider_code=provider_code, message=message)


def _days(created_at: datetime, expires_at: datetime | None) -> list[date]:
    """The business dates on which the charge can have been paid: more than one around midnight."""
    end = expires_at or created_at + timedelta(seconds=EXPIRY_SECONDS)
    first = business_date_of(created_at - timedelta(seconds=LATE_SECONDS))
    last = business_date_of(end + timedelta(seconds=LATE_SECONDS))
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
