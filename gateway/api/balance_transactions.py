"""`/v1/balance_transactions`: every entry that changed what the merchant has, read from the ledger itself.

An id is made of the entry's key, not of its sequence: the live book is shared, and a sequence would tell each
merchant how much business all the others do.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, Final, Literal

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from gateway.api.authentication import is_id, known_id, requires
from gateway.api.pagination import ListReply, PageRequest, check_cursors, list_reply
from gateway.api.problems import PROBLEM_RESPONSES, Problem
from gateway.api.services import ApiRequest, services_of
from gateway.foundation.ids import uuid_of, uuid_to_text
from gateway.merchants.principals import MerchantPrincipal, Scope
from ledger.chart_of_accounts import AccountKind
from ledger.feed import RecordedEntry, RecordedPosting, account_postings, entries_at, entry_by_key
from ledger.journal import AccountRef, EntryKind
from ledger.money import CURRENCY_EXPONENTS
from ledger.posting import Connection

_OWN_KINDS: Final = (
    AccountKind.MERCHANT_PENDING,
    AccountKind.MERCHANT_AVAILABLE,
    AccountKind.MERCHANT_RESERVE,
    AccountKind.DISPUTE_HOLD,
    AccountKind.MERCHANT_RECEIVABLE,
)
"""The merchant's money; entries that only move it between these change nothing and are not shown."""

_FEE_KINDS: Final = frozenset({AccountKind.FEE_INCOME, AccountKind.OUTPUT_VAT})
_TYPES: Final[dict[EntryKind, str]] = {
    EntryKind.PAYMENT_CAPTURED: "payment",
    EntryKind.PAYER_MONEY_ACCEPTED: "payment",
    EntryKind.PAYMENT_MARKED: "payment",
    EntryKind.RECEIPT_IDENTIFIED: "payment",
    EntryKind.REFUND_RESERVED: "refund",
    EntryKind.REFUND_FAILED: "refund_failure",
    EntryKind.DISPUTE_FUNDS_WITHDRAWN: "dispute",
    EntryKind.DISPUTE_FUNDS_REINSTATED: "dispute_reversal",
    EntryKind.DISPUTE_FEE_CHARGED: "dispute_fee",
    EntryKind.PAYOUT_REQUESTED: "payout",
    EntryKind.PAYOUT_REJECTED: "payout_failure",
    EntryKind.PAYOUT_RETURNED: "payout_return",
    EntryKind.OPERATOR_ENTRY: "adjustment",
}
_SOURCES: Final = ("refund", "dispute", "payout", "payment_intent")
_POSTINGS_AT_ONCE: Final = 400
"""Whatever is wanted: many postings in a row may only move money, and a page of one must not ask for each of them."""


class BalanceTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the merchant's money.

    Attributes:
        amount: before fees, signed; fee: what we took from it, VAT included; net: amount − fee, the change itself.
        available_on: business date on which it becomes payable, or on which it did.
        source: id of the payment, refund, dispute or payout that caused it.
    """

    object: Literal["balance_transaction"] = "balance_transaction"
    id: str
    livemode: bool
    type: str
    amount: int
    fee: int
    net: int
    currency: str
    available_on: date
    source: str | None
    created_at: datetime


@get("/", guards=[requires(Scope.BALANCE_READ)], summary="What changed your balance", responses=PROBLEM_RESPONSES)
async def list_balance_transactions(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    page: NamedDependency[PageRequest],
) -> ListReply[BalanceTransaction]:
    """Newest first, walked with `starting_after`."""
    check_cursors(page, "txn")
    if page.ending_before is not None:
        raise Problem("cursor_invalid", "This list is walked with starting_after only.", param="ending_before")
    async with services_of(request).database.ledger_pool.acquire() as connection:
        before = None
        if page.starting_after is not None:
            cursor = await _entry_of(connection, merchant, page.starting_after)
            if cursor is None:
                raise Problem("cursor_invalid", param="starting_after")
            before = cursor.sequence
        entries = await _entries(connection, merchant, before=before, wanted=page.limit + 1)
    data = [_transaction(entry, merchant) for entry in entries[: page.limit]]
    return list_reply(request, data, has_more=len(entries) > page.limit)


@get(
    "/{transaction_id:str}",
    guards=[requires(Scope.BALANCE_READ), known_id],
    summary="One change of your balance",
    responses=PROBLEM_RESPONSES,
)
async def get_balance_transaction(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], transaction_id: FromPath[str]
) -> BalanceTransaction:
    """The change with that id."""
    async with services_of(request).database.ledger_pool.acquire() as connection:
        entry = await _entry_of(connection, merchant, transaction_id)
    if entry is None:
        raise Problem("not_found")
    return _transaction(entry, merchant)


async def _entries(
    connection: Connection,
    merchant: MerchantPrincipal,
    *,
    before: int | None,
    wanted: int,
) -> list[RecordedEntry]:
    """The newest `wanted` entries that changed the merchant's money, before a sequence."""
    accounts = [
        AccountRef(kind, merchant.account_id, currency) for kind in _OWN_KINDS for currency in CURRENCY_EXPONENTS
    ]
    found: list[RecordedEntry] = []
    while len(found) < wanted:
        postings = await account_postings(
            connection, merchant.book_id, accounts, before=before, limit=_POSTINGS_AT_ONCE
        )
        changing = sorted({posting.sequence for posting in postings if _change_of(posting, merchant)})
        found += reversed(await entries_at(connection, merchant.book_id, changing))
        if len(postings) < _POSTINGS_AT_ONCE:
            break
        before = postings[-1].sequence
    return found[:wanted]


async def _entry_of(connection: Connection, merchant: MerchantPrincipal, transaction_id: str) -> RecordedEntry | None:
    """The entry behind a transaction id, if it changed this merchant's money."""
    if not is_id(transaction_id, "txn"):
        return None
    entry = await entry_by_key(connection, merchant.book_id, uuid_of(transaction_id))
    if entry is None or not any(_change_of(posting, merchant) for posting in entry.postings):
        return None
    return entry


def _change_of(posting: RecordedPosting, merchant: MerchantPrincipal) -> int:
    """By how much a posting changed the merchant's money; zero where it only moved it."""
    received = posting.amount_minor if _is_own(posting.credit, merchant) else 0
    given = posting.amount_minor if _is_own(posting.debit, merchant) else 0
    return received - given


def _is_own(account: AccountRef, merchant: MerchantPrincipal) -> bool:
    return account.kind in _OWN_KINDS and account.owner == merchant.account_id


def _transaction(entry: RecordedEntry, merchant: MerchantPrincipal) -> BalanceTransaction:
    changes = [(posting, _change_of(posting, merchant)) for posting in entry.postings]
    fee = -sum(change for posting, change in changes if posting.credit.kind in _FEE_KINDS)
    net = sum(change for _, change in changes)
    days = [posting.available_on for posting, change in changes if change and posting.available_on is not None]
    return BalanceTransaction(
        id=f"txn_{'' if merchant.livemode else 'test_'}{uuid_to_text(entry.key)}",
        livemode=merchant.livemode,
        type=_TYPES.get(entry.kind, "adjustment"),
        amount=net + fee,
        fee=fee,
        net=net,
        currency=_currency_of(posting for posting, change in changes if change),
        available_on=max(days, default=entry.effective_on),
        source=_source_of(entry),
        created_at=entry.recorded_at,
    )


def _currency_of(postings: Iterable[RecordedPosting]) -> str:
    """An entry changes a merchant's money in one currency; exchange goes through the house's position."""
    currencies = {posting.debit.currency for posting in postings}
    assert len(currencies) == 1
    return currencies.pop().lower()


def _source_of(entry: RecordedEntry) -> str | None:
    """What caused the entry: named in its metadata, or by its references."""
    try:
        named = msgspec.json.decode(entry.metadata or b"{}", type=dict[str, Any])
    except msgspec.DecodeError:
        named = {}  # an operator's entry may carry anything
    referred = {reference.scheme: reference.value for reference in entry.references}
    candidates: Sequence[Any] = [source.get(name) for name in _SOURCES for source in (named, referred)]
    return next((str(candidate) for candidate in candidates if candidate), None)


BALANCE_TRANSACTIONS = Router(
    "/balance_transactions",
    route_handlers=[list_balance_transactions, get_balance_transaction],
    tags=["balance"],
)
