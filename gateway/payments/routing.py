"""Which provider carries a payment: what the adapters say they can, the first in rank of those that fit."""

from collections.abc import Mapping

import msgspec

from gateway.payments.errors import InvalidRequest
from gateway.providers.base import Capabilities, Method, Provider


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """The provider chosen, and what it can do for this method and currency."""

    provider: str
    capabilities: Capabilities


def route(
    providers: Mapping[str, Provider], *, method: Method, currency: str, amount_minor: int, provider: str | None
) -> Route:
    """Choose the provider.

    Args:
        currency: upper case.
        provider: the merchant's own choice, or None for ours.

    Raises:
        InvalidRequest: `parameter_invalid`, `currency_invalid` or `amount_invalid`, whatever nobody can carry.
    """
    able = [choice for choice in routes_of(providers, method) if provider in {None, choice.provider}]
    if not able:
        raise InvalidRequest("parameter_invalid", f"no such provider for {method}", param="provider")
    able = [choice for choice in able if choice.capabilities.currency == currency]
    if not able:
        raise InvalidRequest("currency_invalid", f"{method} is not paid in this currency", param="currency")
    for choice in able:
        if choice.capabilities.amount_minor_min <= amount_minor <= choice.capabilities.amount_minor_max:
            return choice
    limits = able[0].capabilities
    raise InvalidRequest(
        "amount_invalid",
        f"amount must be from {limits.amount_minor_min} to {limits.amount_minor_max} for {method}",
        param="amount",
    )


def routes_of(providers: Mapping[str, Provider], method: Method) -> list[Route]:
    """Every provider of a method, first choice first."""
    found = [
        Route(provider=name, capabilities=capability)
        for name, adapter in providers.items()
        for capability in adapter.capabilities
        if capability.method is method
    ]
    return sorted(found, key=lambda choice: (choice.capabilities.rank, choice.provider))


def can_refund(providers: Mapping[str, Provider], provider: str, method: Method) -> bool:
    """Whether that provider gives money back for that method."""
    return any(capability.refundable for capability in providers[provider].capabilities if capability.method is method)
