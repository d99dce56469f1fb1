"""Which payments of a list are wanted: every condition must hold."""

from collections.abc import Iterable
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, select

from gateway.merchants.principals import MerchantPrincipal
from gateway.payments.states import IntentStatus
from gateway.payments.tables import intents, provider_references
from gateway.providers.base import Method


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions on payments; None = any.

    Attributes:
        amount_minor: asked for, exactly.
        created_from, created_before: the half-open span in which it was made.
        provider_reference: a provider's own id or our key there, as it stands on a statement.
        metadata: (key, value) that it has.
    """

    status: IntentStatus | None = None
    method: Method | None = None
    merchant_reference: str | None = None
    amount_minor: int | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    provider_reference: str | None = None
    metadata: tuple[str, str] | None = None
    customer_id: str | None = None


def conditions(principal: MerchantPrincipal, wanted: Wanted | None) -> Iterable[ColumnElement[bool]]:
    """The same for the database, beside the account's own."""
    if wanted is None:
        return
    c = intents.c
    for column, value in (
        (c.status, wanted.status),
        (c.method, wanted.method),
        (c.merchant_reference, wanted.merchant_reference),
        (c.amount_minor, wanted.amount_minor),
        (c.customer_id, wanted.customer_id),
    ):
        if value is not None:
            yield column == value
    if wanted.created_from is not None:
        yield c.created_at >= wanted.created_from
    if wanted.created_before is not None:
        yield c.created_at < wanted.created_before
    if wanted.provider_reference is not None:
        r = provider_references.c
        yield c.intent_id.in_(
            select(r.intent_id).where(r.book_id == principal.book_id, r.reference == wanted.provider_reference)
        )
    if wanted.metadata is not None:
        key, value = wanted.metadata
        yield c.metadata.contains({key: value})
