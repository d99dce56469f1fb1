"""`/v1/events`: what happened, in the very bytes that webhooks deliver."""

from typing import Any, Literal

import msgspec
from litestar import Response, Router, get
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath

from gateway.api.authentication import known_id, requires
from gateway.api.pagination import ListReply, PageRequest, check_cursors, list_reply
from gateway.api.problems import PROBLEM_RESPONSES, Problem
from gateway.api.services import ApiRequest, services_of
from gateway.merchants.principals import MerchantPrincipal, Scope
from gateway.webhooks import events


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    """The object as it was right after the event; cut down to its id where `partial`."""

    object: dict[str, Any]
    partial: bool = False


class EventReply(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened; it never changes. `created` is seconds since 1970."""

    id: str
    object: Literal["event"]
    type: str
    created: int
    livemode: bool
    api_version: str
    data: EventData


@get(
    "/",
    guards=[requires(Scope.EVENTS_READ)],
    summary="What happened",
    responses={200: ResponseSpec(ListReply[EventReply], description="A page of events"), **PROBLEM_RESPONSES},
)
async def list_events(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], page: NamedDependency[PageRequest]
) -> Response[bytes]:
    """Newest first."""
    check_cursors(page, "evt")
    book_id, account_id = merchant.book_id, merchant.account_id
    async with services_of(request).database.read() as connection:
        for param, cursor in (("starting_after", page.starting_after), ("ending_before", page.ending_before)):
            if cursor is not None and not await events.find(
                connection, book_id=book_id, account_id=account_id, event_id=cursor
            ):
                raise Problem("cursor_invalid", param=param)
        found, has_more = await events.page(connection, book_id=book_id, account_id=account_id, **page.cursor())
    reply = list_reply(request, [msgspec.Raw(event.payload) for event in found], has_more=has_more)
    return Response(msgspec.json.encode(reply), media_type="application/json")


@get(
    "/{event_id:str}",
    guards=[requires(Scope.EVENTS_READ), known_id],
    summary="One event",
    responses={200: ResponseSpec(EventReply, description="The event"), **PROBLEM_RESPONSES},
)
async def get_event(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], event_id: FromPath[str]
) -> Response[bytes]:
    """The event as it was delivered."""
    async with services_of(request).database.read() as connection:
        found = await events.find(
            connection, book_id=merchant.book_id, account_id=merchant.account_id, event_id=event_id
        )
    if found is None:
        raise Problem("not_found")
    return Response(found.payload, media_type="application/json")


EVENTS = Router("/events", route_handlers=[list_events, get_event], tags=["events"])
