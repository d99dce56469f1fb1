"""`/v1/ledger/entries`: the books themselves, for operators. Merchants read `/v1/balance_transactions`."""

import re
from datetime import date, datetime
from typing import Annotated, Final, Literal

import msgspec
from litestar import Router, get
from litestar.params import FromQuery, QueryParameter

from gateway.api.authentication import requires
from gateway.api.ledger_posting import post_entries
from gateway.api.pagination import ListReply, list_reply
from gateway.api.problems import PROBLEM_RESPONSES, Problem
from gateway.api.services import ApiRequest, services_of
from gateway.merchants.principals import Scope
from ledger.feed import RecordedEntry, RecordedPosting, entries_by_reference, read_entries
from ledger.journal import AccountRef
from ledger.posting import Connection

_SEQUENCE_MAX: Final = 2**63 - 1
_ENTRY_ID: Final = re.compile(r"ent_(?P<book>[0-9]{1,18})_(?P<sequence>[0-9]{1,18})")


class LedgerAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account of the book by what it is."""

    kind: str
    owner: str
    currency: str


class LedgerPosting(msgspec.Struct, frozen=True, kw_only=True):
    """One amount, whole minor units, from the credit account to the debit account."""

    line: int
    debit: LedgerAccount
    credit: LedgerAccount
    amount: int
    available_on: date | None
    debit_balance_after: int
    credit_balance_after: int


class LedgerReference(msgspec.Struct, frozen=True, kw_only=True):
    """What others call the entry."""

    scheme: str
    value: str


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as the books hold it.

    Attributes:
        key: its idempotency key; metadata: the sealed bytes, as text.
        draws_on: sequence of the entry that it draws on; drawable: how much later entries may draw on it.
    """

    object: Literal["ledger_entry"] = "ledger_entry"
    id: str
    book: int
    sequence: int
    key: str
    kind: str
    effective_on: date
    recorded_at: datetime
    postings: list[LedgerPosting]
    references: list[LedgerReference]
    metadata: str
    caller: str
    draws_on: int | None
    drawn: int | None
    drawable: int | None
    block: int


@get("/", guards=[requires(Scope.LEDGER_READ)], summary="Entries of a book", responses=PROBLEM_RESPONSES)
async def list_entries(
    request: ApiRequest,
    *,
    book: Annotated[int, QueryParameter(ge=1, le=_SEQUENCE_MAX, description="Number of the book.")],
    from_sequence: Annotated[int, QueryParameter(ge=1, le=_SEQUENCE_MAX)] = 1,
    to_sequence: Annotated[int, QueryParameter(ge=1, le=_SEQUENCE_MAX)] = _SEQUENCE_MAX,
    reference: Annotated[
        str | None, QueryParameter(max_length=300, description="scheme:value, e.g. payment_intent:pi_…")
    ] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 10,
    starting_after: FromQuery[str | None] = None,
) -> ListReply[LedgerEntry]:
    """Oldest first, in the order of the sequence; walked with `starting_after`, narrowed by range and reference."""
    after = max(from_sequence - 1, _cursor(starting_after, book))
    async with services_of(request).database.ledger_pool.acquire() as connection:
        if reference is None:
            found = await read_entries(connection, book, after=after, limit=limit + 1)
        else:
            found = await _by_reference(connection, book, reference)
    within = [entry for entry in found if after < entry.sequence <= to_sequence]
    return list_reply(request, [_view(entry, book) for entry in within[:limit]], has_more=len(within) > limit)


def _cursor(starting_after: str | None, book: int) -> int:
    if starting_after is None:
        return 0
    match = _ENTRY_ID.fullmatch(starting_after)
    if match is None or int(match["book"]) != book:
        raise Problem("cursor_invalid", param="starting_after")
    return int(match["sequence"])


async def _by_reference(connection: Connection, book: int, reference: str) -> list[RecordedEntry]:
    scheme, separator, value = reference.partition(":")
    if not separator or "\x00" in reference:
        raise Problem("parameter_invalid", "reference is written scheme:value.", param="reference")
    found = await entries_by_reference(connection, book, scheme, [value])
    return found.get(value, [])


def _view(entry: RecordedEntry, book: int) -> LedgerEntry:
    return LedgerEntry(
        id=f"ent_{book}_{entry.sequence}",
        book=book,
        sequence=entry.sequence,
        key=str(entry.key),
        kind=entry.kind.name.lower(),
        effective_on=entry.effective_on,
        recorded_at=entry.recorded_at,
        postings=[_posting(posting) for posting in entry.postings],
        references=[LedgerReference(scheme=each.scheme, value=each.value) for each in entry.references],
        metadata=entry.metadata.decode(errors="replace"),
        caller=entry.caller,
        draws_on=entry.draws_on,
        drawn=entry.drawn_minor,
        drawable=entry.drawable_minor,
        block=entry.block_number,
    )


def _posting(posting: RecordedPosting) -> LedgerPosting:
    return LedgerPosting(
        line=posting.line,
        debit=_account(posting.debit),
        credit=_account(posting.credit),
        amount=posting.amount_minor,
        available_on=posting.available_on,
        debit_balance_after=posting.debit_balance_after,
        credit_balance_after=posting.credit_balance_after,
    )


def _account(account: AccountRef) -> LedgerAccount:
    return LedgerAccount(kind=account.kind.name.lower(), owner=account.owner, currency=account.currency.lower())


LEDGER_ENTRIES = Router("/ledger/entries", route_handlers=[list_entries, post_entries], tags=["ledger"])
