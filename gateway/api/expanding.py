"""`expand[]`: related objects written out in place of their ids, in answers to reading one object or a list.

What can be written out is a closed list, at most two steps deep; each kind is read in one query, however many rows
the list has, and only by a key that may read it by itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec
from litestar.params import QueryParameter
from msgspec import UNSET, UnsetType

from gateway.api.pagination import ListReply
from gateway.api.problems import Problem
from gateway.api.services import ApiRequest, services_of
from gateway.merchants import customers
from gateway.merchants.customers import Customer
from gateway.merchants.principals import MerchantPrincipal, Scope
from gateway.payments import related
from gateway.payments.listing import Page
from gateway.payments.views import Dispute, Intent, Refund

EXPAND: Final = "expand[]"
PATHS_MAX: Final = 10
OF_INTENT: Final[Mapping[str, Scope]] = {
    "customer": Scope.CUSTOMERS_READ,
    "refunds": Scope.REFUNDS_READ,
    "disputes": Scope.DISPUTES_READ,
}
OF_ITS_PAYMENT: Final[Mapping[str, Scope]] = {
    "payment_intent": Scope.PAYMENTS_READ,
    "payment_intent.customer": Scope.CUSTOMERS_READ,
}
"""Of refunds and disputes; the second step writes out the first one too."""
_LIST: Final = "data."

Given = tuple[str, ...]
Item = TypeVar("Item")


class ExpandedIntent(Intent, frozen=True, kw_only=True):
    """A payment; `customer` is the customer, and `refunds` and `disputes` are there, where `expand[]` names them.

    Attributes:
        refunds, disputes: the ten newest.
    """

    customer: str | Customer | None  # type: ignore[assignment] # wider than what it is in events
    refunds: ListReply[Refund] | UnsetType = UNSET
    disputes: ListReply[Dispute] | UnsetType = UNSET


class ExpandedRefund(Refund, frozen=True, kw_only=True):
    """A refund; `payment_intent` is the payment, where `expand[]` names it."""

    payment_intent: str | ExpandedIntent  # type: ignore[assignment] # wider than what it is in events


class ExpandedDispute(Dispute, frozen=True, kw_only=True):
    """A dispute; `payment_intent` is the payment, where `expand[]` names it."""

    payment_intent: str | ExpandedIntent  # type: ignore[assignment] # wider than what it is in events


async def provide_expand(
    paths: Annotated[
        list[str] | None,
        QueryParameter(name=EXPAND, description="Related objects to write out, each by its path; of a list `data.…`."),
    ] = None,
) -> Given:
    """The paths as they were given."""
    return tuple(paths or ())


def wanted_of(
    merchant: MerchantPrincipal, given: Given, possible: Mapping[str, Scope], *, in_list: bool = False
) -> frozenset[str]:
    """What is to be written out.

    Raises:
        Problem: `parameter_invalid` (more than ten), `expand_unknown`, `scope_missing`; in this order.
    """
    if len(given) > PATHS_MAX:
        raise Problem("parameter_invalid", f"At most {PATHS_MAX} objects can be written out.", param=EXPAND)
    prefix = _LIST if in_list else ""
    known = {prefix + path: path for path in possible}
    unknown = [path for path in given if path not in known]
    if unknown:
        raise Problem("expand_unknown", f"{unknown[0]!r} is none of: {', '.join(known)}.", param=EXPAND)
    wanted = frozenset(step for path in given for step in _steps(known[path]))
    for path in sorted(wanted):
        if possible[path] not in merchant.scopes:
            raise Problem("scope_missing", f"{path} needs a key with the scope {possible[path].value}.", param=EXPAND)
    return wanted


async def expanded_intents(
    request: ApiRequest, merchant: MerchantPrincipal, found: Sequence[Intent], wanted: frozenset[str]
) -> list[ExpandedIntent]:
    """The payments with what is wanted of them."""
    if not wanted:
        return [_with(ExpandedIntent, intent) for intent in found]
    ids, services = [intent.id for intent in found], services_of(request)
    people: dict[str, Customer] = {}
    refunds: dict[str, Page[Refund]] = {}
    disputes: dict[str, Page[Dispute]] = {}
    async with services.database.snapshot() as connection:
        if "customer" in wanted:
            named = [intent.customer for intent in found if intent.customer is not None]
            people = await customers.find_all(connection, services.vault, merchant, named)
        if "refunds" in wanted:
            refunds = await related.refunds_of(connection, merchant, ids)
        if "disputes" in wanted:
            disputes = await related.disputes_of(connection, merchant, ids)
    return [
        _with(
            ExpandedIntent,
            intent,
            customer=people.get(intent.customer or "", intent.customer),
            refunds=_listed(refunds.get(intent.id), "refunds", intent),
            disputes=_listed(disputes.get(intent.id), "disputes", intent),
        )
        for intent in found
    ]


async def payments_of(
    request: ApiRequest, merchant: MerchantPrincipal, intent_ids: Iterable[str], wanted: frozenset[str]
) -> dict[str, ExpandedIntent]:
    """The payments to be written out in refunds or disputes; none where they are not wanted."""
    if "payment_intent" not in wanted:
        return {}
    async with services_of(request).database.snapshot() as connection:
        found = await related.intents_of(connection, merchant, intent_ids)
    of_payment = frozenset({"customer"}) if "payment_intent.customer" in wanted else frozenset[str]()
    payments = await expanded_intents(request, merchant, list(found.values()), of_payment)
    return {payment.id: payment for payment in payments}


def with_payments(kind: type[Item], found: Iterable[Any], payments: Mapping[str, ExpandedIntent]) -> list[Item]:
    """Refunds or disputes with their payments, as far as those are wanted."""
    return [_with(kind, each, payment_intent=payments.get(each.payment_intent, each.payment_intent)) for each in found]


def _steps(path: str) -> tuple[str, ...]:
    """A path and what it stands in."""
    first, dot, _ = path.partition(".")
    return (first, path) if dot else (path,)


def _with(kind: type[Item], view: msgspec.Struct, **changes: Any) -> Item:
    return kind(**{**{name: getattr(view, name) for name in view.__struct_fields__}, **changes})


def _listed(page: Page[Item] | None, name: str, intent: Intent) -> ListReply[Item] | UnsetType:
    if page is None:
        return UNSET
    return ListReply(data=page.data, has_more=page.has_more, url=f"/v1/{name}?payment_intent={intent.id}")
