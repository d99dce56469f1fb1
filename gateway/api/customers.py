"""`/v1/customers`: whom you take payments from; `GET /v1/payment_intents?customer=…` lists what they paid."""

from typing import Annotated

import msgspec
from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from gateway.api.authentication import known_id, requires
from gateway.api.bodies import StrictBody
from gateway.api.pagination import ListReply, PageRequest, check_cursors, list_reply
from gateway.api.problems import BODY_RESPONSES, PROBLEM_RESPONSES, Problem
from gateway.api.services import ApiRequest, services_of
from gateway.merchants import customers
from gateway.merchants.customers import Customer, Details
from gateway.merchants.principals import MerchantPrincipal, Scope
from gateway.payments.requests import check_metadata
from gateway.webhooks import events
from gateway.webhooks.events import NewEvent

_EMAIL = r"^[^@\s]+@[^@\s]+$(?!\n)"
EmailText = Annotated[str, msgspec.Meta(max_length=254, pattern=_EMAIL)]
ChangedEmail = Annotated[str, msgspec.Meta(max_length=254, pattern=r"^(?:[^@\s]+@[^@\s]+)?$(?!\n)")]
NameText = Annotated[str, msgspec.Meta(max_length=255)]
PhoneText = Annotated[str, msgspec.Meta(max_length=32, pattern=r"^[0-9+() -]*$(?!\n)")]


class CreateCustomer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keep a customer; what names it is encrypted at rest."""

    name: NameText | None = None
    email: EmailText | None = None
    phone: PhoneText | None = None
    metadata: dict[str, str] = {}

    def __repr__(self) -> str:
        """No name or address reaches a log."""
        return "CreateCustomer(…)"


class UpdateCustomer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change what is given; an empty text takes it away, `metadata` is replaced whole."""

    name: NameText | None = None
    email: ChangedEmail | None = None
    phone: PhoneText | None = None
    metadata: dict[str, str] | None = None

    def __repr__(self) -> str:
        """No name or address reaches a log."""
        return "UpdateCustomer(…)"


class CustomerNews(msgspec.Struct, frozen=True, kw_only=True):
    """What an event says of a customer: nothing that names it, because events are kept as they were sent."""

    object: str = "customer"
    id: str
    version: int
    deleted: bool


@post(
    "/",
    guards=[requires(Scope.CUSTOMERS_WRITE)],
    dto=StrictBody[CreateCustomer],
    return_dto=None,
    summary="Keep a customer",
    responses=BODY_RESPONSES,
)
async def create_customer(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], data: JSONBody[CreateCustomer]
) -> Customer:
    """Name its id as `customer` of a payment."""
    check_metadata(data.metadata)
    services = services_of(request)
    details = Details(name=data.name or None, email=data.email, phone=data.phone or None)
    async with services.database.transaction() as connection:
        made = await customers.create(connection, services.vault, merchant, details=details, metadata=data.metadata)
        await events.record(connection, [_news(merchant, made, "customer.created")])
    return made


@get("/", guards=[requires(Scope.CUSTOMERS_READ)], summary="Your customers", responses=PROBLEM_RESPONSES)
async def list_customers(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    page: NamedDependency[PageRequest],
    email: Annotated[
        str | None, QueryParameter(max_length=254, pattern=_EMAIL, description="Only those with this address.")
    ] = None,
) -> ListReply[Customer]:
    """Newest first, without those that were deleted."""
    check_cursors(page, "cus")
    services = services_of(request)
    async with services.database.read() as connection:
        for param, cursor in (("starting_after", page.starting_after), ("ending_before", page.ending_before)):
            if cursor is not None and not await customers.exists(connection, merchant, cursor):
                raise Problem("cursor_invalid", param=param)
        found, has_more = await customers.page(connection, services.vault, merchant, email=email, **page.cursor())
    return list_reply(request, found, has_more=has_more)


@get(
    "/{customer_id:str}",
    guards=[requires(Scope.CUSTOMERS_READ), known_id],
    summary="One customer",
    responses=PROBLEM_RESPONSES,
)
async def get_customer(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], customer_id: FromPath[str]
) -> Customer:
    """The customer; of a deleted one only its id is left."""
    services = services_of(request)
    async with services.database.read() as connection:
        return _known(await customers.find(connection, services.vault, merchant, customer_id))


@post(
    "/{customer_id:str}",
    guards=[requires(Scope.CUSTOMERS_WRITE), known_id],
    dto=StrictBody[UpdateCustomer],
    return_dto=None,
    status_code=200,
    summary="Change a customer",
    responses=BODY_RESPONSES,
)
async def update_customer(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    customer_id: FromPath[str],
    data: JSONBody[UpdateCustomer],
) -> Customer:
    """The customer as changed."""
    check_metadata(data.metadata or {})
    services = services_of(request)
    given = {name: getattr(data, name) for name in Details.__struct_fields__ if getattr(data, name) is not None}
    async with services.database.transaction() as connection:
        changed = _known(
            await customers.change(
                connection, services.vault, merchant, customer_id, details=given, metadata=data.metadata
            )
        )
        await events.record(connection, [_news(merchant, changed, "customer.updated")])
    return changed


@delete(
    "/{customer_id:str}",
    guards=[requires(Scope.CUSTOMERS_WRITE), known_id],
    status_code=200,
    summary="Delete a customer",
    responses=PROBLEM_RESPONSES,
)
async def delete_customer(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], customer_id: FromPath[str]
) -> Customer:
    """What names it is erased; its payments keep its id. A second time changes nothing."""
    services = services_of(request)
    async with services.database.transaction() as connection:
        is_new = await customers.exists(connection, merchant, customer_id)
        deleted = _known(await customers.remove(connection, services.vault, merchant, customer_id))
        if is_new:
            await events.record(connection, [_news(merchant, deleted, "customer.deleted")])
    return deleted


def _known(customer: Customer | None) -> Customer:
    if customer is None:
        raise Problem("not_found")
    return customer


def _news(merchant: MerchantPrincipal, customer: Customer, kind: str) -> NewEvent:
    news = CustomerNews(id=customer.id, version=customer.version, deleted=customer.deleted)
    return NewEvent(
        book_id=merchant.book_id,
        account_id=merchant.account_id,
        livemode=merchant.livemode,
        type=kind,
        object=msgspec.json.encode(news),
        created_at=customer.updated_at,
    )


CUSTOMERS = Router(
    "/customers",
    route_handlers=[create_customer, list_customers, get_customer, update_customer, delete_customer],
    tags=["customers"],
)
