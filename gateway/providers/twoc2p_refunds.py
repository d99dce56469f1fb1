"""Voids and refunds of 2C2P: which of the two, and what its answer means for our refund."""

from datetime import datetime, time, timedelta
from typing import Final

import msgspec

from gateway.foundation.clock import BANGKOK, business_date_of, real_now
from gateway.providers import twoc2p_maintenance as maintenance
from gateway.providers import twoc2p_wire as wire
from gateway.providers.base import (
    Accepted,
    Declined,
    Fact,
    FactKind,
    FactSource,
    Inquiry,
    NotAttempted,
    Outcome,
    ProviderAccount,
    RefundRequest,
    Unknown,
)
from gateway.providers.twoc2p_client import TwoC2pClient
from gateway.providers.twoc2p_maintenance import Order, Reply
from gateway.providers.twoc2p_wire import Misunderstood

CLOCKS_DIFFER: Final = timedelta(minutes=5)
"""How much earlier than our refund a refund of 2C2P's list may be and still be ours."""


class Voidable(msgspec.Struct, frozen=True, kw_only=True):
    """A payment that is to be given back, and until when of its day 2C2P voids it."""

    invoice_no: str
    captured_minor: int
    captured_at: datetime
    void_until: time


class TwoC2pRefunds:
    """Gives back through the maintenance API."""

    def __init__(self, client: TwoC2pClient) -> None:
        self._client = client

    async def give_back(self, account: ProviderAccount, request: RefundRequest, payment: Voidable) -> Outcome:
        """Void or refund, in the order that the request's own time says, so that a retry asks the same again.

        The second is asked only where the first was refused for certain because the payment is settled already, or
        not yet.
        """
        whole = request.amount_minor == payment.captured_minor
        voids, refunds = maintenance.VOID, maintenance.REFUND
        if whole and _before_cut_off(request.created_at, payment):
            first, second, other_way = voids, refunds, maintenance.NOT_VOIDABLE
        else:
            first, second, other_way = refunds, voids, maintenance.NOT_REFUNDABLE_YET
        reply, process = await self._ask(account, request, payment, first), first
        if isinstance(reply, Reply) and reply.code in other_way and whole:
            instead = await self._ask(account, request, payment, second)
            too_late = second == voids and isinstance(instead, Reply) and instead.code in maintenance.NOT_VOIDABLE
            if not too_late:
                reply, process = instead, second
        if isinstance(reply, NotAttempted | Unknown):
            return reply
        if reply.code in maintenance.ALREADY_GIVEN_BACK:
            return await self._already(account, request, payment, reply)
        return _outcome(request, reply, process)

    async def inquire(self, account: ProviderAccount, request: RefundRequest, invoice_no: str) -> Inquiry | Unknown:
        """The void of the payment, or the one refund of this amount that is not older than ours."""
        order = self._order(account, request, invoice_no, maintenance.REFUND_STATUS)
        reply = await self._client.maintain(account, "inquiry", order)
        if isinstance(reply, NotAttempted | Unknown):
            return Unknown(reason=reply.reason)
        if reply.code not in {maintenance.OK, maintenance.NO_SUCH_TRANSACTION}:
            return Unknown(reason=f"respCode {reply.code}")
        try:
            return _found(request, reply)
        except Misunderstood as error:
            return Unknown(reason=str(error))

    async def _ask(
        self, account: ProviderAccount, request: RefundRequest, payment: Voidable, process: str
    ) -> Reply | NotAttempted | Unknown:
        return await self._client.maintain(
            account, "refund", self._order(account, request, payment.invoice_no, process)
        )

    def _order(self, account: ProviderAccount, request: RefundRequest, invoice_no: str, process: str) -> Order:
        # Void and refund are two bodies, so each has an idempotency id of its own.
        gives_back = process != maintenance.REFUND_STATUS
        return Order(
            merchant_id=account.credentials["merchant_id"],
            process_type=process,
            invoice_no=invoice_no,
            idempotency_id=f"{request.provider_key}-{process}",
            stamped_at=real_now(),
            amount_minor=request.amount_minor if gives_back else None,
            notify_url=account.callback_url or None if process == maintenance.REFUND else None,
        )

    async def _already(
        self, account: ProviderAccount, request: RefundRequest, payment: Voidable, reply: Reply
    ) -> Outcome:
        """Given back before: by this very request perhaps, in a call whose answer was lost."""
        found = await self.inquire(account, request, payment.invoice_no)
        if isinstance(found, Unknown):
            return found
        if not found.facts:
            return Unknown(reason=f"respCode {reply.code}, and no refund of ours")
        return Accepted(provider_references=_references(request, found.facts[0]), facts=found.facts)


def _found(request: RefundRequest, reply: Reply) -> Inquiry:
    """Our refund in the answer to a status request.

    Raises:
        Misunderstood: several may be it.
    """
    if reply.status in maintenance.VOID_KINDS:
        if wire.satang(reply.amount) != request.amount_minor:
            return Inquiry(found=False)
        return Inquiry(found=True, facts=(_void_fact(request, reply, FactSource.INQUIRY),))
    ours = [
        refund
        for refund in reply.refunds
        if refund.amount_minor == request.amount_minor and refund.at >= request.created_at - CLOCKS_DIFFER
    ]
    if len(ours) > 1:
        raise Misunderstood(f"{len(ours)} refunds of this amount")
    facts = tuple(
        _fact(request, maintenance.REFUND_KINDS[refund.status], refund.reference, refund.at, FactSource.INQUIRY)
        for refund in ours
    )
    return Inquiry(found=bool(facts), facts=facts)


def _before_cut_off(asked_at: datetime, payment: Voidable) -> bool:
    same_day = business_date_of(asked_at) == business_date_of(payment.captured_at)
    return same_day and asked_at.astimezone(BANGKOK).time() < payment.void_until


def _outcome(request: RefundRequest, reply: Reply, process: str) -> Outcome:
    code = reply.code
    if code == maintenance.STATUS_NOT_VALID:
        return NotAttempted(reason="too late to void, not settled yet", provider_code=code)
    if code in maintenance.REFUSALS:
        return Declined(failure_code=maintenance.REFUSALS[code], provider_code=code, message=reply.description)
    if code not in {maintenance.OK, maintenance.REFUND_PENDING}:
        return Unknown(reason=f"respCode {code}")
    try:
        fact = _answered(request, reply, process)
    except Misunderstood as error:
        return Unknown(reason=str(error))
    references = _references(request, fact)
    if fact.kind is FactKind.REFUND_FAILED:
        return Declined(
            failure_code="refund_failed",
            provider_code=reply.status,
            message=reply.description,
            provider_references=references,
            facts=(fact,),
        )
    return Accepted(provider_references=references, facts=(fact,))


def _answered(request: RefundRequest, reply: Reply, process: str) -> Fact:
    """What a void or refund that was taken says.

    Raises:
        Misunderstood: a word is not known, or it is not about our amount.
    """
    if reply.amount and wire.satang(reply.amount) != request.amount_minor:
        raise Misunderstood(f"the answer is about {reply.amount}")
    if process == maintenance.VOID:
        return _void_fact(request, reply, FactSource.RESPONSE)
    kind = maintenance.REFUND_KINDS.get(reply.status)
    if reply.code == maintenance.REFUND_PENDING and not reply.status:
        kind = FactKind.REFUND_PENDING
    if kind is None or (kind is FactKind.REFUND_SUCCEEDED and not reply.refund_reference):
        raise Misunderstood(f"refund status {reply.status!r}")
    reference = reply.refund_reference or request.provider_key
    return _fact(request, kind, reference, reply.stamped_at, FactSource.RESPONSE)


def _void_fact(request: RefundRequest, reply: Reply, source: FactSource) -> Fact:
    kind = maintenance.VOID_KINDS.get(reply.status)
    if kind is None or not reply.reference:
        raise Misunderstood(f"void status {reply.status!r}")
    return _fact(request, kind, reply.reference + maintenance.VOID_SUFFIX, reply.stamped_at, source)


def _fact(request: RefundRequest, kind: FactKind, reference: str, at: datetime, source: FactSource) -> Fact:
    return Fact(
        provider=wire.NAME,
        kind=kind,
        provider_reference=request.provider_key,
        provider_transaction_id=reference,
        amount_minor=request.amount_minor,
        currency=request.currency,
        occurred_at=at,
        source=source,
        failure_code="refund_failed" if kind is FactKind.REFUND_FAILED else None,
    )


def _references(request: RefundRequest, fact: Fact) -> tuple[str, ...]:
    """Our key, and the reference by which alone a notification speaks of the refund."""
    return tuple(dict.fromkeys((request.provider_key, fact.provider_transaction_id)))
