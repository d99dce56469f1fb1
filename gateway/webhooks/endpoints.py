"""Endpoints: where a merchant wants to be told, what about, and under which secret.

The secret is shown once. It is sealed with the merchant's data key; while it rotates the former one signs as well.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.merchants.data_keys import wrapped_key
from gateway.webhooks import signing
from gateway.webhooks.addresses import check_url
from gateway.webhooks.events import EVERY_TYPE
from gateway.webhooks.tables import webhook_endpoints

ENDPOINTS_MAX: Final = 16
"""How many an account may have switched on; those switched off stay to be read and do not count."""
OVERLAP: Final = timedelta(hours=24)
"""How long the former secret signs beside the new one."""
EVENT_TYPES: Final = frozenset(
    {
        "payment_intent.created",
        "payment_intent.requires_action",
        "payment_intent.processing",
        "payment_intent.unknown",
        "payment_intent.amount_capturable_updated",
        "payment_intent.capture_due",
        "payment_intent.succeeded",
        "payment_intent.partially_paid",
        "payment_intent.overpaid",
        "payment_intent.paid_late",
        "payment_intent.expired",
        "payment_intent.canceled",
        "payment_intent.conflicted",
        "payment_intent.marked_manually",
        "payment_intent.held_accepted",
        "payment_intent.payment_failed",
        "payment_intent.blocked",
        "customer.created",
        "customer.updated",
        "customer.deleted",
        "charge.captured",
        "charge.refunded",
        "charge.disputed",
        "refund.created",
        "refund.requires_action",
        "refund.succeeded",
        "refund.failed",
        "refund.conflicted",
        "refund_claim.created",
        "refund_claim.claimed",
        "refund_claim.approved",
        "refund_claim.in_transit",
        "refund_claim.paid",
        "refund_claim.returned",
        "refund_claim.expired",
        "refund_claim.failed",
        "refund_claim.disputed",
        "payment_link.created",
        "payment_link.deactivated",
        "dispute.created",
        "dispute.updated",
        "dispute.evidence_due",
        "dispute.funds_withdrawn",
        "dispute.funds_reinstated",
        "dispute.closed",
        "payout.created",
        "payout.approved",
        "payout.in_transit",
        "payout.paid",
        "payout.failed",
        "payout.returned",
        "balance.available",
        "balance.negative",
        "settlement.matched",
        "settlement.mismatch",
        "report.ready",
        "webhook_endpoint.disabled",
        "webhook_endpoint.sample",
    }
)
"""What an endpoint may ask for, beside families (`refund.*`) and everything (`*`)."""
FAMILIES: Final = frozenset(event_type.partition(".")[0] + ".*" for event_type in EVENT_TYPES)


class EndpointRefused(Exception):
    """An endpoint cannot be made or changed so; `param` names the field, if it is one."""

    retryable = False

    def __init__(self, code: str, param: str | None, detail: str) -> None:
        """`code`: `webhook_event_type_unknown` or `webhook_endpoints_too_many`."""
        super().__init__(detail)
        self.code = code
        self.param = param


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as its merchant sees it.

    Attributes:
        disabled_reason: `by_merchant`, `gone` (it answered 410), `failing` (nothing but failures for five days).
    """

    object: str = "webhook_endpoint"
    id: str
    livemode: bool
    url: str
    event_types: list[str]
    description: str
    status: str
    disabled_reason: str | None
    created_at: datetime


async def create(
    connection: AsyncConnection,
    vault: Vault,
    *,
    account_id: str,
    book_id: int,
    livemode: bool,
    url: str,
    event_types: Sequence[str] = (EVERY_TYPE,),
    description: str = "",
    created_at: datetime,
    allow_loopback: bool,
) -> tuple[Endpoint, str]:
    """A new endpoint and its secret, which is never shown again.

    Raises:
        AddressRefused: the URL may not be called.
        EndpointRefused: an event type is unknown, or the account has 16 endpoints switched on.
    """
    check_url(url, allow_loopback=allow_loopback)
    _check_types(event_types)
    await _check_room(connection, book_id=book_id, account_id=account_id)
    endpoint_id, secret = new_id("whe", livemode=livemode), signing.new_secret()
    row = {
        "book_id": book_id,
        "endpoint_id": endpoint_id,
        "account_id": account_id,
        "livemode": livemode,
        "url": url,
        "event_types": list(event_types),
        "description": description,
        "status": "enabled",
        "sealed_secret": await _sealed(connection, vault, account_id, endpoint_id, secret),
        "created_at": created_at,
    }
    await connection.execute(insert(webhook_endpoints).values(row))
    endpoint = await find(connection, book_id=book_id, account_id=account_id, endpoint_id=endpoint_id)
    assert endpoint is not None
    return endpoint, secret


async def find(connection: AsyncConnection, *, book_id: int, account_id: str, endpoint_id: str) -> Endpoint | None:
    """One endpoint of the account."""
    c = webhook_endpoints.c
    statement = _select().where(c.book_id == book_id, c.account_id == account_id, c.endpoint_id == endpoint_id)
    row = (await connection.execute(statement)).mappings().one_or_none()
    return None if row is None else _endpoint(row)


async def page(
    connection: AsyncConnection,
    *,
    book_id: int,
    account_id: str,
    limit: int,
    starting_after: str | None = None,
    ending_before: str | None = None,
) -> tuple[list[Endpoint], bool]:
    """Endpoints of the account, newest first, and whether there are more in the direction of the cursor."""
    c = webhook_endpoints.c
    statement = _select().where(c.book_id == book_id, c.account_id == account_id)
    if starting_after is not None:
        statement = statement.where(c.endpoint_id < starting_after)
    if ending_before is not None:
        statement = statement.where(c.endpoint_id > ending_before)
    newest_first = ending_before is None
    statement = statement.order_by(c.endpoint_id.desc() if newest_first else c.endpoint_id).limit(limit + 1)
    found = [_endpoint(row) for row in (await connection.execute(statement)).mappings()]
    return (found[:limit] if newest_first else found[:limit][::-1]), len(found) > limit


async def change(
    connection: AsyncConnection,
    *,
    book_id: int,
    account_id: str,
    endpoint_id: str,
    allow_loopback: bool,
    url: str | None = None,
    event_types: Sequence[str] | None = None,
    description: str | None = None,
    enabled: bool | None = None,
) -> Endpoint | None:
    """Change what is given; None where the account has no such endpoint.

    Switching it on again forgets its failures; what waited for it is sent.

    Raises:
        AddressRefused, EndpointRefused: as `create`.
    """
    values: dict[str, Any] = {}
    if url is not None:
        check_url(url, allow_loopback=allow_loopback)
        values["url"] = url
    if event_types is not None:
        _check_types(event_types)
        values["event_types"] = list(event_types)
    if description is not None:
        values["description"] = description
    if enabled is True:
        await _check_room(connection, book_id=book_id, account_id=account_id, without=endpoint_id)
        values |= {"status": "enabled", "disabled_reason": None, "failing_since": None, "paused_until": None}
    if enabled is False:
        values |= {"status": "disabled", "disabled_reason": "by_merchant"}
    if values:
        c = webhook_endpoints.c
        await connection.execute(
            update(webhook_endpoints)
            .where(c.book_id == book_id, c.account_id == account_id, c.endpoint_id == endpoint_id)
            .values(values)
        )
    return await find(connection, book_id=book_id, account_id=account_id, endpoint_id=endpoint_id)


async def rotate_secret(
    connection: AsyncConnection, vault: Vault, *, book_id: int, account_id: str, endpoint_id: str
) -> str | None:
    """A new secret, shown once; the former one signs beside it for a day. None where there is no such endpoint."""
    c = webhook_endpoints.c
    secret = signing.new_secret()
    result = await connection.execute(
        update(webhook_endpoints)
        .where(c.book_id == book_id, c.account_id == account_id, c.endpoint_id == endpoint_id)
        .values(
            sealed_previous_secret=c.sealed_secret,
            previous_secret_until=real_now() + OVERLAP,
            sealed_secret=await _sealed(connection, vault, account_id, endpoint_id, secret),
        )
    )
    return secret if result.rowcount == 1 else None


def secret_context(endpoint_id: str) -> str:
    """What the sealing of an endpoint's secret is bound to."""
    return f"webhook_secret:{endpoint_id}"


async def _sealed(connection: AsyncConnection, vault: Vault, account_id: str, endpoint_id: str, secret: str) -> bytes:
    key = await wrapped_key(connection, account_id)
    return vault.seal(key, secret.encode(), context=secret_context(endpoint_id))


async def _check_room(connection: AsyncConnection, *, book_id: int, account_id: str, without: str = "") -> None:
    """Refuse one more endpoint than an account may have switched on; `without` is the one that is to be."""
    c = webhook_endpoints.c
    count = (
        select(func.count())
        .select_from(webhook_endpoints)
        .where(c.book_id == book_id, c.account_id == account_id, c.status == "enabled", c.endpoint_id != without)
    )
    if (await connection.execute(count)).scalar_one() >= ENDPOINTS_MAX:
        detail = f"an account has at most {ENDPOINTS_MAX} endpoints switched on"
        raise EndpointRefused("webhook_endpoints_too_many", None, detail)


def _check_types(event_types: Sequence[str]) -> None:
    known = EVENT_TYPES | FAMILIES | {EVERY_TYPE}
    unknown = sorted(set(event_types) - known)
    if unknown or not event_types:
        detail = f"not event types: {', '.join(unknown)}" if unknown else "name at least one event type"
        raise EndpointRefused("webhook_event_type_unknown", "event_types", detail)


def _select() -> Any:
    c = webhook_endpoints.c
    return select(
        c.endpoint_id.label("id"),
        c.livemode,
        c.url,
        c.event_types,
        c.description,
        c.status,
        c.disabled_reason,
        c.created_at,
    )


def _endpoint(row: Any) -> Endpoint:
    return Endpoint(**row)
