"""A provider whose every answer a test decides, speaking the Provider protocol. It keeps what it believes happened."""

from collections import deque
from datetime import timedelta

import msgspec

from gateway.providers.base import (
    Accepted,
    Capabilities,
    Declined,
    Fact,
    FactKind,
    FactSource,
    Inquiry,
    Method,
    NextAction,
    NotAttempted,
    RefundRule,
    Unknown,
)
from gateway.providers.circuits import CIRCUIT_OPEN

CARD = Capabilities(
    method=Method.CARD,
    currency="THB",
    amount_minor_min=20_00,
    amount_minor_max=150_000_00,
    refunds=RefundRule.PARTIAL,
    expiry_seconds=None,
    rank=20,
    needs="card_token",
    capture_later=True,
    capture_days_max=7,
    cancelable=True,
)
QR = msgspec.structs.replace(
    CARD, method=Method.PROMPTPAY, refunds=RefundRule.NONE, expiry_seconds=900, rank=10, needs=None
)


class ScriptedProvider:
    """`charge_script` and `refund_script` hold words for the next calls:

    `ok`, `declined`, `not_attempted`, `lost_before` (unknown, never acted), `lost_after` (unknown, did act),
    `raises` (breaks after it acted), `pending` (refunds: taken, not done). Empty = `ok`. `capture_script` likewise.
    `inquiry_script`: `unknown` (silence) or `circuit_open` (nobody was asked).
    """

    def __init__(self, name, capabilities):
        self.name = name
        self.capabilities = capabilities
        self.charge_script = deque()
        self.refund_script = deque()
        self.capture_script = deque()
        self.inquiry_script = deque()
        self.cancel_answer = "voided"
        self.charges = {}
        self.refunds = {}
        self.calls = []
        self.lives_asked_about = []

    async def charge(self, account, request):
        self.calls.append(("charge", request.provider_key))
        word = self.charge_script.popleft() if self.charge_script else "ok"
        if word == "not_attempted":
            return NotAttempted(reason="connection refused")
        if word == "lost_before":
            return Unknown(reason="timeout")
        facts = self._acted(request, declined=word == "declined")
        if word == "lost_after":
            return Unknown(reason="timeout")
        if word == "raises":
            raise RuntimeError("adapter broke")
        references = (request.provider_key, f"chrg_{request.provider_key}")
        if word == "declined":
            return Declined(
                failure_code="insufficient_funds",
                provider_code="insufficient_fund",
                message="no",
                provider_references=references,
                facts=facts,
            )
        action = None
        if request.method is Method.PROMPTPAY:
            action = NextAction(type="display_qr_code", qr_data="000201", expires_at=request.expires_at)
        return Accepted(provider_references=references, facts=facts, next_action=action)

    def _acted(self, request, *, declined):
        key = request.provider_key
        kind = FactKind.PENDING
        if request.method is Method.CARD:
            kind = FactKind.AUTHORIZED if request.capture_later else FactKind.CAPTURED
        if declined:
            kind = FactKind.DECLINED
        known = self.charges.setdefault(key, [])
        if not known:
            known.append(self.fact(request, kind, request.created_at + timedelta(seconds=1)))
        return tuple(known)

    def fact(self, request, kind, occurred_at, *, transaction=None, amount=None, source=FactSource.RESPONSE):
        return Fact(
            provider=self.name,
            kind=kind,
            provider_reference=request.provider_key,
            provider_transaction_id=transaction or f"chrg_{request.provider_key}",
            amount_minor=request.amount_minor if amount is None else amount,
            currency="THB",
            occurred_at=occurred_at,
            source=source,
            failure_code="insufficient_funds" if kind is FactKind.DECLINED else None,
            provider_code="insufficient_fund" if kind is FactKind.DECLINED else None,
        )

    async def inquire(self, account, reference, created_at, expires_at=None):
        self.calls.append(("inquire", reference))
        self.lives_asked_about.append((created_at, expires_at))
        if (silence := self._silence()) is not None:
            return silence
        facts = self.charges.get(reference.removeprefix("chrg_"), [])
        return Inquiry(found=bool(facts), facts=tuple(facts))

    async def cancel(self, account, reference):
        self.calls.append(("cancel", reference))
        if self.cancel_answer == "unknown":
            return Unknown(reason="timeout")
        if self.cancel_answer == "declined":
            return Declined(failure_code="not_cancelable", provider_code="x", message="no")
        return Accepted(provider_references=(reference,))

    async def capture(self, account, request):
        self.calls.append(("capture", request.provider_key))
        word = self.capture_script.popleft() if self.capture_script else "ok"
        if word == "not_attempted":
            return NotAttempted(reason="connection refused")
        if word == "declined":
            return Declined(failure_code="capture_refused", provider_code="failed_capture", message="no")
        if word == "lost_before":
            return Unknown(reason="timeout")
        known = self.charges[request.charge_key]
        if len(known) == 1:
            paid_at = request.created_at + timedelta(seconds=1)
            taken = {"kind": FactKind.CAPTURED, "amount_minor": request.amount_minor, "occurred_at": paid_at}
            known.append(msgspec.structs.replace(known[0], **taken))
        if word == "lost_after":
            return Unknown(reason="timeout")
        return Accepted(provider_references=(request.charge_key,), facts=tuple(known))

    async def refund(self, account, request):
        self.calls.append(("refund", request.provider_key))
        word = self.refund_script.popleft() if self.refund_script else "ok"
        if word == "not_attempted":
            return NotAttempted(reason="connection refused")
        if word == "lost_before":
            return Unknown(reason="timeout")
        kind = {"declined": FactKind.REFUND_FAILED, "pending": FactKind.REFUND_PENDING}.get(
            word, FactKind.REFUND_SUCCEEDED
        )
        fact = self.refund_fact(request, kind, request.created_at + timedelta(seconds=1))
        known = self.refunds.setdefault(request.provider_key, [fact])
        if word == "lost_after":
            return Unknown(reason="timeout")
        references = (request.provider_key, f"rfnd_{request.provider_key}")
        if word == "declined":
            return Declined(
                failure_code="refund_refused", provider_code="failed_refund", message="no", facts=tuple(known)
            )
        return Accepted(provider_references=references, facts=tuple(known))

    def refund_fact(self, request, kind, occurred_at, *, transaction=None, amount=None):
        return Fact(
            provider=self.name,
            kind=kind,
            provider_reference=request.provider_key,
            provider_transaction_id=transaction or f"rfnd_{request.provider_key}",
            amount_minor=request.amount_minor if amount is None else amount,
            currency="THB",
            occurred_at=occurred_at,
            source=FactSource.RESPONSE,
            failure_code="refund_refused" if kind is FactKind.REFUND_FAILED else None,
        )

    async def inquire_refund(self, account, request):
        self.calls.append(("inquire_refund", request.provider_key))
        if (silence := self._silence()) is not None:
            return silence
        facts = self.refunds.get(request.provider_key, [])
        return Inquiry(found=bool(facts), facts=tuple(facts))

    def _silence(self):
        word = self.inquiry_script.popleft() if self.inquiry_script else "ok"
        reasons = {"unknown": "timeout", "circuit_open": CIRCUIT_OPEN}
        return Unknown(reason=reasons[word]) if word in reasons else None

    def count(self, operation):
        return sum(call[0] == operation for call in self.calls)
