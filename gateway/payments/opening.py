"""A new payment and a new try at paying it: their rows as they begin; nothing is written here."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from gateway.foundation.database import Source
from gateway.foundation.reads import Query, Reads
from gateway.merchants.fee_plans import FeePlan
from gateway.merchants.principals import MerchantPrincipal
from gateway.payments.errors import InvalidRequest
from gateway.payments.records import AttemptRow, IntentRow
from gateway.payments.requests import ConfirmIntent, CreateIntent, check_metadata, provider_key_of
from gateway.payments.routing import Route
from gateway.payments.schedule import Schedule
from gateway.payments.states import AttemptStatus, IntentStatus
from gateway.payments.tables import intents

Reference = tuple[int, str, str]
"""Book, account and merchant reference: at most one payment has it."""


def new_intent(principal: MerchantPrincipal, request: CreateIntent, *, intent_id: str) -> IntentRow:
    """The row of a payment that nobody has tried to pay yet.

    Raises:
        InvalidRequest: `parameter_invalid`, `currency_invalid`.
    """
    check_metadata(request.metadata)
    if request.currency != request.currency.lower():
        raise InvalidRequest("currency_invalid", "currency is written in lower case", param="currency")
    return IntentRow(
        book_id=principal.book_id,
        intent_id=intent_id,
        account_id=principal.account_id,
        livemode=principal.livemode,
        amount_minor=request.amount,
        currency=request.currency.upper(),
        method=request.payment_method,
        status=IntentStatus.REQUIRES_PAYMENT_METHOD,
        qualifiers=frozenset(),
        version=1,
        captured_minor=0,
        held_minor=0,
        refunded_minor=0,
        refund_pending_minor=0,
        capture_key=None,
        available_on=None,
        merchant_reference=request.merchant_reference,
        description=request.description,
        metadata=request.metadata,
        latest_attempt_id=None,
        capture_later=request.capture_method == "manual",
        capture_requested_minor=None,
        capture_requested_at=None,
        cancel_requested_at=None,
        created_at=principal.clock.now(),
        expires_at=None,
        customer_id=request.customer,
        refused_code=None,
        refused_reason=None,
    )


def reference_used(error: IntegrityError) -> InvalidRequest | None:
    """The refusal, where the error says that another payment of the account has this merchant reference."""
    return reference_refused() if "payment_intents_merchant_reference" in str(error.orig) else None


def reference_refused() -> InvalidRequest:
    """The refusal of a merchant reference that another payment of the account has."""
    return InvalidRequest("merchant_reference_used", "another payment has this reference", param="merchant_reference")


def in_order(rows: Iterable[IntentRow]) -> list[IntentRow]:
    """New payments as they are to be inserted: in the order of their references, on which other writers may wait.

    Two writers with the same references in opposite orders would each wait for the other.
    """
    return sorted(rows, key=lambda row: (row.book_id, row.account_id, row.merchant_reference or "", row.intent_id))


class UsedReference(msgspec.Struct, frozen=True):
    """A merchant reference that a payment has."""

    book_id: int
    account_id: str
    merchant_reference: str
    intent_id: str

    @property
    def name(self) -> Reference:
        """What no other payment may have."""
        return self.book_id, self.account_id, self.merchant_reference


USED_REFERENCES: Final = Query(
    text("""
        SELECT intent.book_id, intent.account_id, intent.merchant_reference, intent.intent_id
        FROM unnest(CAST((SELECT CAST(:books_asked AS bigint[])) AS bigint[]), CAST(:accounts_asked AS text[]),
                    CAST(:references_asked AS text[]))
             AS asked (book_id, account_id, merchant_reference)
        JOIN gateway.payment_intents AS intent
          ON intent.book_id = asked.book_id AND intent.account_id = asked.account_id
         AND intent.merchant_reference = asked.merchant_reference
    """).columns(*(intents.c[name] for name in UsedReference.__struct_fields__)),
    UsedReference,
)
"""Which references of new payments are used, see `references_asked`. The planner does not see how many are asked
for, see `reads.any_of`."""
_USED_REFERENCES: Final = Reads(used=USED_REFERENCES)


def references_asked(rows: Iterable[IntentRow]) -> dict[str, Any]:
    """The parameters of `USED_REFERENCES`."""
    names = sorted({name for row in rows if (name := reference_of(row)) is not None})
    return {
        "books_asked": [book_id for book_id, _, _ in names],
        "accounts_asked": [account_id for _, account_id, _ in names],
        "references_asked": [reference for _, _, reference in names],
    }


def reference_of(intent: IntentRow) -> Reference | None:
    """What of the payment no other may have, if it has a reference."""
    if intent.merchant_reference is None:
        return None
    return intent.book_id, intent.account_id, intent.merchant_reference


async def used_references(source: Source, rows: Sequence[IntentRow]) -> dict[Reference, str]:
    """The references of new payments that are used, with the ids of the payments that have them."""
    asked = references_asked(rows)
    if not asked["references_asked"]:
        return {}
    [found] = await _USED_REFERENCES.ask(source, asked)
    return {each.name: each.intent_id for each in found}


def new_attempt(
    intent: IntentRow,
    how: ConfirmIntent,
    *,
    attempt_id: str,
    chosen: Route,
    plan: FeePlan,
    schedule: Schedule,
    now: datetime,
) -> AttemptRow:
    """The row of a try that is about to be sent to its provider; `now` is business time.

    The merchant's terms are kept with it, so a later plan does not reprice it.
    """
    life_seconds = how.expires_in_seconds or chosen.capabilities.expiry_seconds
    return AttemptRow(
        book_id=intent.book_id,
        attempt_id=attempt_id,
        intent_id=intent.intent_id,
        provider=chosen.provider,
        method=how.payment_method,
        amount_minor=intent.amount_minor,
        currency=intent.currency,
        provider_key=provider_key_of(attempt_id),
        provider_reference=None,
        status=AttemptStatus.SUBMITTED,
        outcome=AttemptStatus.SUBMITTED,
        version=1,
        next_action=None,
        failure_code=None,
        provider_code=None,
        fee_rate_ppm=plan.rate_ppm,
        fee_fixed_minor=plan.fixed_minor,
        settlement_days=plan.settlement_days,
        late_grace_seconds=plan.late_grace_seconds,
        created_at=now,
        expires_at=None if life_seconds is None else now + timedelta(seconds=life_seconds),
        asks=0,
        due_at=schedule.first_due_at(now),
        leased_until=schedule.lease_end(),
        counted=True,
        capture_days_max=chosen.capabilities.capture_days_max if intent.capture_later else None,
    )


def confirmed(intent: IntentRow, attempt: AttemptRow) -> IntentRow:
    """The payment while that attempt is its latest and the provider has not answered."""
    return msgspec.structs.replace(
        intent,
        status=IntentStatus.REQUIRES_CONFIRMATION,
        method=attempt.method,
        latest_attempt_id=attempt.attempt_id,
        expires_at=attempt.expires_at,
        refused_code=None,
        refused_reason=None,
    )
