"""Which provider carries a payment: what the adapters say they can, the first in rank of those that fit."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from gateway.foundation.clock import BANGKOK, business_date_of
from gateway.payments.errors import InvalidRequest, Refused
from gateway.payments.requests import ConfirmIntent
from gateway.providers.base import Capabilities, Method, Provider, RefundRule


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A provider, and what it can do for a method and currency."""

    provider: str
    capabilities: Capabilities


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be paid; `currency` in upper case."""

    amount_minor: int
    currency: str
    capture_later: bool


def routes(providers: Mapping[str, Provider], due: Sum, how: ConfirmIntent) -> list[Route]:
    """Every provider that can carry the payment, first choice first; at least one.

    Raises:
        InvalidRequest: nobody can. It says what the best placed of them objects to.
    """
    choices = routes_of(providers, how.payment_method)
    named = [choice for choice in choices if how.provider in {None, choice.provider}]
    if not named:
        raise InvalidRequest("parameter_invalid", f"no such provider for {how.payment_method}", param="provider")
    objections = [(choice, _objection(choice.capabilities, due, how)) for choice in named]
    able = [choice for choice, objection in objections if objection is None]
    if able:
        return able
    found = [objection for _, objection in objections if objection is not None]
    furthest = max(stage for stage, _ in found)
    raise next(refusal for stage, refusal in found if stage == furthest)


def routes_of(providers: Mapping[str, Provider], method: Method) -> list[Route]:
    """Every provider of a method, first choice first."""
    found = [
        Route(provider=name, capabilities=capability)
        for name, adapter in providers.items()
        for capability in adapter.capabilities
        if capability.method is method
    ]
    return sorted(found, key=lambda choice: (choice.capabilities.rank, choice.provider))


def capabilities_of(
    providers: Mapping[str, Provider], provider: str, method: Method, currency: str
) -> Capabilities | None:
    """What a provider can do for a method and currency; None: nothing (any more)."""
    return next(
        (
            choice.capabilities
            for choice in routes_of(providers, method)
            if choice.provider == provider and choice.capabilities.currency == currency
        ),
        None,
    )


def check_refund(
    capabilities: Capabilities | None, *, captured_at: datetime, whole: bool, now: datetime, provider: str
) -> None:
    """Refuse a refund that the provider does not make.

    Args:
        capabilities: the provider's, for the method of the payment.
        captured_at: when the money came.
        whole: whether all that was captured is asked back.
        now: business time.
        provider: for the message.

    Raises:
        Refused: `refund_not_supported`, or `refund_window_closed`.
    """
    if capabilities is None or not capabilities.refundable:
        method = "" if capabilities is None else capabilities.method
        raise Refused("refund_not_supported", f"{provider} gives no {method} money back", param="payment_intent")
    if capabilities.refunds is not RefundRule.PARTIAL and not whole:
        raise Refused("refund_not_supported", f"{provider} gives back all of a payment or nothing", param="amount")
    if capabilities.refunds is RefundRule.VOID_SAME_DAY:
        local = now.astimezone(BANGKOK)
        is_late = capabilities.void_until is not None and local.time() >= capabilities.void_until
        if business_date_of(captured_at) != local.date() or is_late:
            raise Refused("refund_window_closed", f"{provider} gives money back on the same day only")
    days = capabilities.refund_days_max
    if days is not None and now > captured_at + timedelta(days=days):
        raise Refused("refund_window_closed", f"{provider} gives money back for {days} days")


def _objection(able: Capabilities, due: Sum, how: ConfirmIntent) -> tuple[int, InvalidRequest] | None:
    """What speaks against it, with its place in the order of precedence."""
    found = (
        _currency(able, due),
        _amount(able, due),
        _capture(able, due),
        _bank(able, how),
        _token(able, how),
        _life(able, how),
        _return(able, how),
    )
    return next(((stage, refusal) for stage, refusal in enumerate(found) if refusal is not None), None)


def _currency(able: Capabilities, due: Sum) -> InvalidRequest | None:
    if able.currency == due.currency:
        return None
    return InvalidRequest("currency_invalid", f"{able.method} is not paid in this currency", param="currency")


def _amount(able: Capabilities, due: Sum) -> InvalidRequest | None:
    if able.amount_minor_min <= due.amount_minor <= able.amount_minor_max:
        return None
    limits = f"from {able.amount_minor_min} to {able.amount_minor_max}"
    return InvalidRequest("amount_invalid", f"amount must be {limits} for {able.method}", param="amount")


def _capture(able: Capabilities, due: Sum) -> InvalidRequest | None:
    if able.capture_later or not due.capture_later:
        return None
    return InvalidRequest("parameter_invalid", f"{able.method} is captured at once", param="capture_method")


def _bank(able: Capabilities, how: ConfirmIntent) -> InvalidRequest | None:
    if how.bank is None:
        return InvalidRequest("parameter_missing", "whose app?", param="bank") if able.banks else None
    if how.bank in able.banks:
        return None
    banks = f"one of {', '.join(able.banks)}" if able.banks else f"not said for {able.method}"
    return InvalidRequest("parameter_invalid", f"bank is {banks}", param="bank")


def _token(able: Capabilities, how: ConfirmIntent) -> InvalidRequest | None:
    if how.card_token is None:
        missing = f"{able.method} is charged by a token"
        return InvalidRequest("parameter_missing", missing, param="card_token") if able.needs else None
    if able.needs or able.token_optional:
        return None
    return InvalidRequest("parameter_invalid", f"{able.method} has no token", param="card_token")


def _life(able: Capabilities, how: ConfirmIntent) -> InvalidRequest | None:
    if how.expires_in_seconds is None:
        return None
    if able.expiry_seconds is None:
        return InvalidRequest("parameter_invalid", f"{able.method} is charged at once", param="expires_in_seconds")
    longest = able.expiry_seconds_max
    if longest is not None and how.expires_in_seconds > longest:
        return InvalidRequest("parameter_invalid", f"at most {longest} seconds", param="expires_in_seconds")
    return None


def _return(able: Capabilities, how: ConfirmIntent) -> InvalidRequest | None:
    if how.return_url is not None or not able.return_url:
        return None
    return InvalidRequest("parameter_missing", "the payer must come back somewhere", param="return_url")
