"""KBank's card product (KGP v2): charge a token, ask, void before settlement, refund after it."""

from decimal import Decimal
from typing import Any, Final

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
from gateway.providers.kbank_client import KbankClient
from gateway.providers.kbank_qr import can_be_voided
from gateway.providers.kbank_wire import CARD_FAIL, CARD_SETTLED, CARD_UNDONE, Charge, Misunderstood
from ledger.money import to_text

CHARGES: Final = "/card/v2/charge"
CHARGE_ID_PREFIX: Final = "chrg_"
ALREADY_SETTLED: Final = "already_settled"
NOT_SETTLED: Final = "not_settled"
VOIDED_ALREADY: Final = "already_voided"
REFUNDED: Final = frozenset(kbank_wire.REFUND_KINDS)
"""States of a charge that say that there was a refund."""
USED: Final = {"used_token", "duplicate_reference_order"}
"""Perhaps used by this very attempt, in a call whose answer was lost. All words here are of `CARD_REFUSALS`."""
CHARGE_NOT_FOUND: Final = "not_found"
KEY_IN_REASON: Final = "reason"
"""ASSUMED: the reason of a refund comes back in `refund_info`, so our key in it finds the refund again. KGP documents
no idempotency key: without this a refund whose answer was lost could not be told from one that never was."""


class CardPayments:
    """Operations on cards; the adapter chooses between these and those of QRs."""

    def __init__(self, client: KbankClient) -> None:
        self._client = client

    async def charge(self, account: ProviderAccount, request: ChargeRequest) -> Outcome:
        """Charge a single-use token; our key is the order, which KGP takes once."""
        body = {
            "amount": _baht(request.amount_minor),
            "currency": request.currency,
            "description": request.description or request.provider_key,
            "source_type": "card",
            "mode": "token",
            "token": request.card_token or "",
            "reference_order": request.provider_key,
        }
        charge = await self._client.card(account, "charge", "POST", CHARGES, body)
        if isinstance(charge, Declined) and charge.provider_code in USED:
            return await self._charged_before(account, request, charge)
        if not isinstance(charge, Charge):
            # A charge that is not found cannot be the answer to one that is to be made.
            is_odd = isinstance(charge, Declined) and charge.provider_code == CHARGE_NOT_FOUND
            return Unknown(reason=CHARGE_NOT_FOUND) if is_odd else charge
        if charge.reference_order not in {None, request.provider_key}:
            return Unknown(reason="the charge is of another order")
        return _outcome(charge, request.provider_key)

    async def inquire(self, account: ProviderAccount, reference: str) -> Inquiry | Unknown:
        """What became of a charge, by its id or by our provider key."""
        charge = await self._find(account, reference)
        if isinstance(charge, Unknown):
            return charge
        if charge is None:
            return Inquiry(found=False)
        try:
            facts = kbank_wire.card_facts(charge, reference, FactSource.INQUIRY)
        except Misunderstood as error:
            return Unknown(reason=str(error))
        return Inquiry(found=True, facts=facts, next_action=_next_action(charge, facts[0].kind))

    async def refund(self, account: ProviderAccount, request: RefundRequest) -> Outcome:
        """Void what is not settled and refund what is; where we chose wrongly, KGP says so and the other follows."""
        charge = await self._find(account, request.provider_reference)
        if not isinstance(charge, Charge):
            return NotAttempted(reason=charge.reason if charge else "KGP knows no such charge")
        try:
            earlier = _refund_facts(charge, request, FactSource.RESPONSE)
            is_whole = kbank_wire.satang(charge.amount) == request.amount_minor
        except Misunderstood as error:
            return Unknown(reason=str(error))
        if earlier:
            return Accepted(provider_references=(request.provider_key,), facts=earlier)
        answer = await self._void_or_refund(account, charge, request, is_whole=is_whole)
        if isinstance(answer, Declined) and answer.provider_code in {NOT_SETTLED, ALREADY_SETTLED}:
            # A part of what is not settled yet: nothing was done, and after the night run it can be.
            return NotAttempted(reason=answer.message, provider_code=answer.provider_code)
        if isinstance(answer, Declined) and answer.provider_code == VOIDED_ALREADY:
            return await self._voided_before(account, request)
        return _refunded(answer, request) if isinstance(answer, Charge) else answer

    async def inquire_refund(self, account: ProviderAccount, request: RefundRequest) -> Inquiry | Unknown:
        """The refund with our provider key, or the void of the whole charge."""
        charge = await self._find(account, request.provider_reference)
        if isinstance(charge, Unknown):
            return charge
        if charge is None:
            return Inquiry(found=False)
        try:
            facts = _refund_facts(charge, request, FactSource.INQUIRY)
        except Misunderstood as error:
            return Unknown(reason=str(error))
        return Inquiry(found=bool(facts), facts=facts)

    async def _find(self, account: ProviderAccount, reference: str) -> Charge | Unknown | None:
        """The charge, by its id or by our order; None where KGP knows none."""
        if not is_charge_id(reference) and not reference.isalnum():
            return Unknown(reason="the reference is no id and no order")
        charge = await self._client.card(account, "inquiry", "GET", f"{CHARGES}/{reference}")
        if isinstance(charge, Declined):
            return None if charge.provider_code == CHARGE_NOT_FOUND else Unknown(reason=charge.provider_code)
        if isinstance(charge, NotAttempted):
            return Unknown(reason=charge.reason)
        if isinstance(charge, Charge) and reference not in {charge.id, charge.reference_order or reference}:
            return Unknown(reason="the answer is about another charge")
        return charge

    async def _void_or_refund(
        self, account: ProviderAccount, charge: Charge, request: RefundRequest, *, is_whole: bool
    ) -> Charge | Declined | NotAttempted | Unknown:
        void_first = is_whole and _is_unsettled(charge, request)
        answer = await self._give_back(account, charge, request, void=void_first)
        code = answer.provider_code if isinstance(answer, Declined) else None
        if void_first and code == ALREADY_SETTLED:
            return await self._give_back(account, charge, request, void=False)
        if not void_first and is_whole and code == NOT_SETTLED:
            return await self._give_back(account, charge, request, void=True)
        return answer

    async def _give_back(
        self, account: ProviderAccount, charge: Charge, request: RefundRequest, *, void: bool
    ) -> Charge | Declined | NotAttempted | Unknown:
        # The path is KGP's answer, so it is looked at again before it becomes part of one.
        if not is_charge_id(charge.id):
            return Unknown(reason="KGP's id of the charge is none")
        body: dict[str, Any] = {KEY_IN_REASON: request.provider_key}
        if void:
            return await self._client.card(account, "refund", "POST", f"{CHARGES}/{charge.id}/Void", body)
        body = {"amount": _baht(request.amount_minor), **body}
        return await self._client.card(account, "refund", "POST", f"{CHARGES}/{charge.id}/refund", body)

    async def _charged_before(self, account: ProviderAccount, request: ChargeRequest, refusal: Declined) -> Outcome:
        charge = await self._find(account, request.provider_key)
        if isinstance(charge, Unknown):
            return charge
        if charge is not None:
            return _outcome(charge, request.provider_key)
        if refusal.provider_code == "used_token":
            return refusal
        return Unknown(reason=refusal.provider_code)

    async def _voided_before(self, account: ProviderAccount, request: RefundRequest) -> Outcome:
        inquiry = await self.inquire_refund(account, request)
        if isinstance(inquiry, Inquiry) and inquiry.found:
            return Accepted(provider_references=(request.provider_key,), facts=inquiry.facts)
        return Unknown(reason=VOIDED_ALREADY)


def is_charge_id(reference: str) -> bool:
    """Whether it is KGP's id of a charge, and safe in a path."""
    return reference.startswith(CHARGE_ID_PREFIX) and reference.isascii() and reference.replace("_", "").isalnum()


def _baht(amount_minor: int) -> Decimal:
    return Decimal(to_text(amount_minor, "THB"))


def _is_unsettled(charge: Charge, request: RefundRequest) -> bool:
    if request.captured_at is None:
        return charge.transaction_state != CARD_SETTLED
    return can_be_voided(request.captured_at, request.created_at)


def _refund_facts(charge: Charge, request: RefundRequest, source: FactSource) -> tuple[Fact, ...]:
    """What a charge object says of our refund.

    Raises:
        Misunderstood: a word is not known, the void was of another amount, or a refund does not say whose it is.
    """
    refunds = kbank_wire.refunds_of(charge)
    facts = tuple(kbank_wire.refund_fact(refund, source) for refund in refunds if refund.reason == request.provider_key)
    if facts:
        return facts
    if any(not refund.reason for refund in refunds) or (not refunds and charge.transaction_state in REFUNDED):
        # It may be ours: said to be none, it would be sent once more and the payer be paid twice.
        raise Misunderstood("a refund does not say whose it is")
    if charge.transaction_state not in CARD_UNDONE:
        return ()
    if kbank_wire.satang(charge.amount) != request.amount_minor:
        raise Misunderstood("another amount was voided")
    void = Fact(
        provider=kbank_wire.NAME,
        kind=FactKind.REFUND_SUCCEEDED,
        provider_reference=request.provider_key,
        provider_transaction_id=f"{charge.id}{kbank_wire.VOID_SUFFIX}",
        amount_minor=request.amount_minor,
        currency=request.currency,
        occurred_at=request.created_at,
        source=source,
    )
    return (void,)


def _refunded(charge: Charge, request: RefundRequest) -> Outcome:
    if charge.status == CARD_FAIL:
        return Declined(
            failure_code="refund_refused",
            provider_code=charge.failure_code or "",
            message=charge.failure_message or "",
        )
    try:
        facts = _refund_facts(charge, request, FactSource.RESPONSE)
    except Misunderstood as error:
        return Unknown(reason=str(error))
    if not facts:
        return Unknown(reason="the answer does not show the refund")
    return Accepted(provider_references=(request.provider_key,), facts=facts)


def _outcome(charge: Charge, reference: str) -> Outcome:
    """What a charge object in a response means; a declined card comes with HTTP 200."""
    try:
        facts = kbank_wire.card_facts(charge, reference, FactSource.RESPONSE)
    except Misunderstood as error:
        return Unknown(reason=str(error))
    references = (reference, charge.id)
    if facts[0].kind is FactKind.DECLINED:
        return Declined(
            failure_code=kbank_wire.our_failure_code(charge.failure_code),
            provider_code=charge.failure_code or "",
            message=charge.failure_message or "",
            provider_references=references,
            facts=facts,
        )
    return Accepted(provider_references=references, facts=facts, next_action=_next_action(charge, facts[0].kind))


def _next_action(charge: Charge, kind: FactKind) -> NextAction | None:
    if kind is not FactKind.PENDING or not charge.redirect_url:
        return None
    return NextAction(type="redirect", redirect_url=charge.redirect_url)
