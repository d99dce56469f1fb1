"""`/v1/payment_links`: addresses under which payers pay, made and taken back by their merchant."""

from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from gateway.api.authentication import known_id, requires
from gateway.api.bodies import StrictBody
from gateway.api.pagination import ListReply, PageRequest, check_cursors, list_reply
from gateway.api.problems import BODY_RESPONSES, PROBLEM_RESPONSES
from gateway.api.services import ApiRequest, services_of
from gateway.merchants.principals import MerchantPrincipal, Scope
from gateway.payments.payment_links import CreateLink, PaymentLink


@post(
    "/",
    guards=[requires(Scope.LINKS_WRITE)],
    dto=StrictBody[CreateLink],
    return_dto=None,
    summary="Make a payment link",
    responses=BODY_RESPONSES,
)
async def create_link(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], data: JSONBody[CreateLink]
) -> PaymentLink:
    """Payers pay with `POST /v1/pay/{token}`; a link of which you lost the answer moves nothing until somebody pays."""
    return await services_of(request).payment_links.create(merchant, data)


@get("/", guards=[requires(Scope.LINKS_READ)], summary="Your payment links", responses=PROBLEM_RESPONSES)
async def list_links(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], page: NamedDependency[PageRequest]
) -> ListReply[PaymentLink]:
    """Newest first, with those that were taken back."""
    check_cursors(page, "link")
    found = await services_of(request).payment_links.list(merchant, **page.cursor())
    return list_reply(request, found.data, has_more=found.has_more)


@get(
    "/{link_id:str}",
    guards=[requires(Scope.LINKS_READ), known_id],
    summary="One payment link",
    responses=PROBLEM_RESPONSES,
)
async def get_link(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], link_id: FromPath[str]
) -> PaymentLink:
    """The link as it stands."""
    return await services_of(request).payment_links.get(merchant, link_id)


@post(
    "/{link_id:str}/deactivate",
    guards=[requires(Scope.LINKS_WRITE), known_id],
    status_code=200,
    summary="Take a payment link back",
    responses=PROBLEM_RESPONSES,
)
async def deactivate_link(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], link_id: FromPath[str]
) -> PaymentLink:
    """It takes no further payment, for good; payments that were begun go on."""
    return await services_of(request).payment_links.deactivate(merchant, link_id)


PAYMENT_LINKS = Router(
    "/payment_links", route_handlers=[create_link, list_links, get_link, deactivate_link], tags=["payment links"]
)
