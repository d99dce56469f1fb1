"""`/v1/webhook_endpoints`: where you want to be told, and the secret that proves it is us."""

from typing import Annotated, Literal

import msgspec
from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from gateway.api.authentication import known_id, requires
from gateway.api.bodies import StrictBody
from gateway.api.pagination import ListReply, PageRequest, check_cursors, list_reply
from gateway.api.problems import BODY_RESPONSES, PROBLEM_RESPONSES, Problem
from gateway.api.services import ApiRequest, services_of
from gateway.api.webhook_deliveries import list_deliveries, replay_events, resend_event, send_sample
from gateway.merchants.principals import MerchantPrincipal, Scope
from gateway.webhooks import endpoints
from gateway.webhooks.addresses import URL_LENGTH_MAX
from gateway.webhooks.endpoints import Endpoint
from gateway.webhooks.events import EVERY_TYPE

Url = Annotated[str, msgspec.Meta(max_length=URL_LENGTH_MAX)]
Types = Annotated[list[Annotated[str, msgspec.Meta(max_length=100)]], msgspec.Meta(max_length=100)]
Description = Annotated[str, msgspec.Meta(max_length=255)]


class CreateEndpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tell this URL of these events: types, families (`refund.*`) or everything (`*`)."""

    url: Url
    event_types: Types = msgspec.field(default_factory=lambda: [EVERY_TYPE])
    description: Description = ""


class UpdateEndpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change what is given. `enabled`: switch it on or off."""

    url: Url | None = None
    event_types: Types | None = None
    description: Description | None = None
    enabled: bool | None = None


class EndpointWithSecret(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint and its signing secret, which is shown this once."""

    object: Literal["webhook_endpoint_secret"] = "webhook_endpoint_secret"
    endpoint: Endpoint
    secret: str


@post(
    "/",
    guards=[requires(Scope.WEBHOOKS_WRITE)],
    dto=StrictBody[CreateEndpoint],
    return_dto=None,
    summary="Be told of events",
    responses=BODY_RESPONSES,
)
async def create_endpoint(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], data: JSONBody[CreateEndpoint]
) -> EndpointWithSecret:
    """The secret is in this answer and in no other: verify each delivery with it (Standard Webhooks)."""
    services = services_of(request)
    async with services.database.transaction() as connection:
        endpoint, secret = await endpoints.create(
            connection,
            services.vault,
            account_id=merchant.account_id,
            book_id=merchant.book_id,
            livemode=merchant.livemode,
            url=data.url,
            event_types=data.event_types,
            description=data.description,
            created_at=merchant.clock.now(),
            allow_loopback=services.settings.allow_loopback_webhooks,
        )
    return EndpointWithSecret(endpoint=endpoint, secret=secret)


@get("/", guards=[requires(Scope.WEBHOOKS_READ)], summary="Your endpoints", responses=PROBLEM_RESPONSES)
async def list_endpoints(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], page: NamedDependency[PageRequest]
) -> ListReply[Endpoint]:
    """Newest first."""
    check_cursors(page, "whe")
    book_id, account_id = merchant.book_id, merchant.account_id
    async with services_of(request).database.read() as connection:
        for param, cursor in (("starting_after", page.starting_after), ("ending_before", page.ending_before)):
            if cursor is not None and not await endpoints.find(
                connection, book_id=book_id, account_id=account_id, endpoint_id=cursor
            ):
                raise Problem("cursor_invalid", param=param)
        found, has_more = await endpoints.page(connection, book_id=book_id, account_id=account_id, **page.cursor())
    return list_reply(request, found, has_more=has_more)


@get(
    "/{endpoint_id:str}",
    guards=[requires(Scope.WEBHOOKS_READ), known_id],
    summary="One endpoint",
    responses=PROBLEM_RESPONSES,
)
async def get_endpoint(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], endpoint_id: FromPath[str]
) -> Endpoint:
    """The endpoint, without its secret."""
    async with services_of(request).database.read() as connection:
        found = await endpoints.find(
            connection, book_id=merchant.book_id, account_id=merchant.account_id, endpoint_id=endpoint_id
        )
    return _known(found)


@post(
    "/{endpoint_id:str}",
    guards=[requires(Scope.WEBHOOKS_WRITE), known_id],
    dto=StrictBody[UpdateEndpoint],
    return_dto=None,
    status_code=200,
    summary="Change an endpoint",
    responses=BODY_RESPONSES,
)
async def update_endpoint(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    endpoint_id: FromPath[str],
    data: JSONBody[UpdateEndpoint],
) -> Endpoint:
    """The endpoint as changed; switched on again, it gets what waited for it."""
    return await _changed(request, merchant, endpoint_id, data)


@delete(
    "/{endpoint_id:str}",
    guards=[requires(Scope.WEBHOOKS_WRITE), known_id],
    status_code=200,
    summary="Switch an endpoint off",
    responses=PROBLEM_RESPONSES,
)
async def delete_endpoint(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], endpoint_id: FromPath[str]
) -> Endpoint:
    """The endpoint, disabled; its deliveries stay to be read, and it can be switched on again."""
    return await _changed(request, merchant, endpoint_id, UpdateEndpoint(enabled=False))


@post(
    "/{endpoint_id:str}/rotate",
    guards=[requires(Scope.WEBHOOKS_WRITE), known_id],
    status_code=200,
    summary="Get a new secret",
    responses=PROBLEM_RESPONSES,
)
async def rotate_secret(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], endpoint_id: FromPath[str]
) -> EndpointWithSecret:
    """For a day both secrets sign, so that you can change yours without losing a delivery."""
    services = services_of(request)
    mine = {"account_id": merchant.account_id, "endpoint_id": endpoint_id}
    async with services.database.transaction() as connection:
        secret = await endpoints.rotate_secret(connection, services.vault, book_id=merchant.book_id, **mine)
        found = await endpoints.find(connection, book_id=merchant.book_id, **mine)
    if found is None or secret is None:
        raise Problem("not_found")
    return EndpointWithSecret(endpoint=found, secret=secret)


async def _changed(
    request: ApiRequest, merchant: MerchantPrincipal, endpoint_id: str, changes: UpdateEndpoint
) -> Endpoint:
    services = services_of(request)
    async with services.database.transaction() as connection:
        found = await endpoints.change(
            connection,
            book_id=merchant.book_id,
            account_id=merchant.account_id,
            endpoint_id=endpoint_id,
            allow_loopback=services.settings.allow_loopback_webhooks,
            **msgspec.structs.asdict(changes),
        )
    return _known(found)


def _known(endpoint: Endpoint | None) -> Endpoint:
    if endpoint is None:
        raise Problem("not_found")
    return endpoint


WEBHOOK_ENDPOINTS = Router(
    "/webhook_endpoints",
    route_handlers=[
        create_endpoint,
        list_endpoints,
        get_endpoint,
        update_endpoint,
        delete_endpoint,
        rotate_secret,
        list_deliveries,
        resend_event,
        replay_events,
        send_sample,
    ],
    tags=["webhooks"],
)
