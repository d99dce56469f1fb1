"""`/v1/webhook_endpoints/{id}/…`: what was sent and what came back; one event again, a span of them, a sample."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from gateway.api.authentication import is_id, known_id, requires
from gateway.api.bodies import StrictBody
from gateway.api.moments import check_moment
from gateway.api.pagination import ListReply, PageRequest, check_cursors, list_reply
from gateway.api.problems import BODY_RESPONSES, PROBLEM_RESPONSES, Problem
from gateway.api.services import ApiRequest, services_of
from gateway.merchants.principals import MerchantPrincipal, Scope
from gateway.webhooks import deliveries, endpoints, replays
from gateway.webhooks.replays import DeliveryView

Status = Literal["pending", "delivered", "failed"]


class Resend(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Send this event (again), now."""

    event: str


class Replay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Send the events of a span again: made from `created_from` on and before `created_before`; of all types, or these.

    Both moments name their time zone.
    """

    created_from: datetime
    created_before: datetime
    event_types: Annotated[list[str], msgspec.Meta(min_length=1, max_length=100)] | None = None


class Resent(msgspec.Struct, frozen=True, kw_only=True):
    """How many events are on their way."""

    object: Literal["webhook_replay"] = "webhook_replay"
    endpoint: str
    events: int


@get(
    "/{endpoint_id:str}/deliveries",
    guards=[requires(Scope.WEBHOOKS_READ), known_id],
    summary="What was sent to an endpoint",
    responses=PROBLEM_RESPONSES,
)
async def list_deliveries(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    page: NamedDependency[PageRequest],
    endpoint_id: FromPath[str],
    status: FromQuery[Status | None] = None,
) -> ListReply[DeliveryView]:
    """Newest first, each with its attempts and what your endpoint answered."""
    check_cursors(page, "whd")
    services = services_of(request)
    mine = {"account_id": merchant.account_id, "endpoint_id": endpoint_id}
    async with services.database.snapshot() as connection:
        if await endpoints.find(connection, book_id=merchant.book_id, **mine) is None:
            raise Problem("not_found")
        found, has_more = await replays.page(
            connection, services.vault, book_id=merchant.book_id, **mine, state=status, **page.cursor()
        )
    return list_reply(request, found, has_more=has_more)


@post(
    "/{endpoint_id:str}/resend",
    guards=[requires(Scope.WEBHOOKS_WRITE), known_id],
    dto=StrictBody[Resend],
    return_dto=None,
    status_code=200,
    summary="Send an event again",
    responses=BODY_RESPONSES,
)
async def resend_event(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    endpoint_id: FromPath[str],
    data: JSONBody[Resend],
) -> Resent:
    """Under the event's own `webhook-id`, as often as you like."""
    if not is_id(data.event, "evt"):
        raise Problem("parameter_invalid", "event is not the id of an event.", param="event")
    async with services_of(request).database.transaction() as connection:
        sent = await deliveries.resend(
            connection,
            book_id=merchant.book_id,
            account_id=merchant.account_id,
            endpoint_id=endpoint_id,
            event_id=data.event,
        )
    if not sent:
        raise Problem("not_found")
    return Resent(endpoint=endpoint_id, events=1)


@post(
    "/{endpoint_id:str}/replay",
    guards=[requires(Scope.WEBHOOKS_WRITE), known_id],
    dto=StrictBody[Replay],
    return_dto=None,
    status_code=200,
    summary="Send a span of events again",
    responses=BODY_RESPONSES,
)
async def replay_events(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    endpoint_id: FromPath[str],
    data: JSONBody[Replay],
) -> Resent:
    """At most 10,000 a call, the oldest of the span; each under its own `webhook-id`, so you see what you have."""
    check_moment(data.created_from, "created_from")
    check_moment(data.created_before, "created_before")
    async with services_of(request).database.transaction() as connection:
        count = await replays.replay(
            connection,
            book_id=merchant.book_id,
            account_id=merchant.account_id,
            endpoint_id=endpoint_id,
            created_from=data.created_from,
            created_before=data.created_before,
            types=data.event_types,
        )
    if count is None:
        raise Problem("not_found")
    return Resent(endpoint=endpoint_id, events=count)


@post(
    "/{endpoint_id:str}/sample",
    guards=[requires(Scope.WEBHOOKS_WRITE), known_id],
    status_code=200,
    summary="Send a sample",
    responses=PROBLEM_RESPONSES,
)
async def send_sample(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], endpoint_id: FromPath[str]
) -> Resent:
    """One signed event of type `webhook_endpoint.sample` that means nothing, to this endpoint alone."""
    async with services_of(request).database.transaction() as connection:
        event_id = await replays.send_sample(
            connection,
            book_id=merchant.book_id,
            account_id=merchant.account_id,
            endpoint_id=endpoint_id,
            created_at=merchant.clock.now(),
        )
    if event_id is None:
        raise Problem("not_found")
    return Resent(endpoint=endpoint_id, events=1)
