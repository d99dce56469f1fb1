"""A new payment: who can carry it, and its rows as they begin."""

from collections.abc import Mapping
from datetime import timedelta

from gateway.foundation.ids import new_id
from gateway.merchants.fee_plans import FeePlan
from gateway.merchants.principals import MerchantPrincipal
from gateway.payments.errors import InvalidRequest
from gateway.payments.records import AttemptRow, IntentRow
from gateway.payments.requests import CreateIntent, check_metadata, provider_key_of
from gateway.payments.routing import Route, route
from gateway.payments.schedule import Schedule
from gateway.payments.states import AttemptStatus, IntentStatus
from gateway.providers.base import Method, Provider


def chosen_route(request: CreateIntent, providers: Mapping[str, Provider]) -> Route:
    """The route that can carry the request.

    Raises:
        InvalidRequest: none can, or a field breaks its rule.
    """
    check_metadata(request.metadata)
    if request.currency != request.currency.lower():
        raise InvalidRequest("currency_invalid", "currency is written in lower case", param="currency")
    if request.payment_method is Method.CARD and not request.card_token:
        raise InvalidRequest("parameter_missing", "a card is charged by its token", param="card_token")
    if request.payment_method is not Method.CARD and request.card_token is not None:
        raise InvalidRequest("parameter_invalid", "only cards have a token", param="card_token")
    if request.payment_method is Method.CARD and request.expires_in_seconds is not None:
        raise InvalidRequest("parameter_invalid", "a card is charged at once", param="expires_in_seconds")
    return route(
        providers,
        method=request.payment_method,
        currency=request.currency.upper(),
        amount_minor=request.amount,
        provider=request.provider,
    )


def new_payment(
    principal: MerchantPrincipal,
    request: CreateIntent,
    *,
    intent_id: str,
    chosen: Route,
    plan: FeePlan,
    schedule: Schedule,
) -> tuple[IntentRow, AttemptRow]:
    """The rows of a new payment, which is about to be sent to its provider; nothing is written yet.

    The merchant's terms are kept with the attempt, so a later plan does not reprice it.
    """
    now = principal.clock.now()
    attempt_id = new_id("att", livemode=principal.livemode)
    life_seconds = request.expires_in_seconds or chosen.capabilities.expiry_seconds
    expires_at = None if life_seconds is None else now + timedelta(seconds=life_seconds)
    intent = IntentRow(
        book_id=principal.book_id,
        intent_id=intent_id,
        account_id=principal.account_id,
        livemode=principal.livemode,
        amount_minor=request.amount,
        currency=chosen.capabilities.currency,
        method=request.payment_method,
        status=IntentStatus.REQUIRES_CONFIRMATION,
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
        latest_attempt_id=attempt_id,
        cancel_requested_at=None,
        created_at=now,
        expires_at=expires_at,
    )
    attempt = AttemptRow(
        book_id=principal.book_id,
        attempt_id=attempt_id,
        intent_id=intent_id,
        provider=chosen.provider,
        method=request.payment_method,
        amount_minor=request.amount,
        currency=chosen.capabilities.currency,
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
        created_at=now,
        expires_at=expires_at,
        asks=0,
        due_at=schedule.first_due_at(now),
        leased_until=schedule.lease_end(),
    )
    return intent, attempt
