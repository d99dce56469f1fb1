"""What accounts there are: lists by kind, class, owner and currency; metadata; totals rolled up along the chart."""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from ledger.balances import Balance, balance_of, on_normal_side
from ledger.chart_of_accounts import CHART, AccountClass, AccountKind, NormalSide
from ledger.journal import AccountRef
from ledger.posting import Connection
from ledger.queries import QUERIES

PAGE_ACCOUNTS: Final = 100
LAST_LETTER: Final = chr(0x10FFFF)
"""No owner that begins with a prefix comes after the prefix with this."""


class AccountFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which accounts; everything given must hold, nothing given means all.

    Attributes:
        kinds: any of these.
        classes: any of these.
        owner: exactly this one.
        owner_prefix: owners that begin with it.
        closed: only closed ones, or only open ones.
        frozen: only those with a frozen side, or only those without.
    """

    kinds: Collection[AccountKind] = ()
    classes: Collection[AccountClass] = ()
    owner: str | None = None
    owner_prefix: str | None = None
    currency: str | None = None
    closed: bool | None = None
    frozen: bool | None = None


EVERY_ACCOUNT: Final = AccountFilter()


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account with its state.

    Attributes:
        number: within the book, what postings store.
        code: of its kind in the chart of accounts.
        floor_minor: lowest balance that an authorising entry may leave, on the normal side; None = no limit.
        ceiling_minor: highest, likewise.
    """

    account: AccountRef
    number: int
    code: str
    account_class: AccountClass
    balance: Balance
    floor_minor: int | None
    ceiling_minor: int | None
    debits_frozen: bool
    credits_frozen: bool
    closed: bool
    opened_at: datetime


class AccountMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """A version of what is written on an account.

    Attributes:
        version: from 1, without gaps.
        metadata: bytes as received.
        actor: who wrote it, an opaque id.
    """

    version: int
    metadata: bytes
    written_at: datetime
    actor: str


class RollUpBy(StrEnum):
    """Along what totals are added up."""

    CLASS = "class"
    KIND = "kind"
    OWNER = "owner"


class RollUp(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of a group of accounts in one currency.

    Attributes:
        name: `asset`, `bank` or an owner.
        normal_side: of the class or kind; an owner has accounts of both, and is stated on the debit side.
        balance_minor: on that side.
        accounts: how many there are now.
    """

    name: str
    currency: str
    normal_side: NormalSide
    balance_minor: int
    debits_minor: int
    credits_minor: int
    accounts: int


async def accounts(
    connection: Connection,
    book_id: int,
    filters: AccountFilter = EVERY_ACCOUNT,
    *,
    after: AccountRef | None = None,
    limit: int = PAGE_ACCOUNTS,
) -> list[Account]:
    """Accounts in the order (kind, owner, currency), with their state.

    Args:
        connection: any snapshot.
        book_id: the book.
        filters: which ones.
        after: the last account of the page before; None = the first page.
        limit: how many at most; fewer = there are no more.
    """
    first, last = (filters.owner_prefix or "", (filters.owner_prefix or "") + LAST_LETTER)
    if filters.owner is not None:
        first, last = max(first, filters.owner), min(last, filters.owner)
    start = (0, "", "") if after is None else (int(after.kind), after.owner, after.currency)
    rows = await connection.fetch(
        QUERIES["accounts"],
        book_id,
        [int(kind) for kind in AccountKind if _matches(kind, filters)],
        start[0],
        *max(start[1:], (first, "")),
        first,
        last,
        filters.currency,
        filters.closed,
        filters.frozen,
        limit,
    )
    return [_account(row) for row in rows]


async def metadata_of(
    connection: Connection, book_id: int, account: AccountRef, *, version: int | None = None
) -> AccountMetadata | None:
    """What is written on an account: the newest version, or the one with that number; None where there is none."""
    row = await connection.fetchrow(
        QUERIES["account_metadata"], book_id, int(account.kind), account.owner, account.currency, version
    )
    if row is None:
        return None
    return AccountMetadata(
        version=row["version"], metadata=row["metadata"], written_at=row["written_at"], actor=row["actor"]
    )


async def roll_up(
    connection: Connection, book_id: int, *, by: RollUpBy, currency: str | None = None, cut: int | None = None
) -> list[RollUp]:
    """Totals of each group and currency, in the order of the chart; always what the postings add up to.

    Args:
        connection: any snapshot.
        book_id: the book.
        by: what makes a group.
        currency: only this one; None = each by itself.
        cut: as recorded at this sequence; None = now. The further back it lies, the more is taken off again.
    """
    rows = await connection.fetch(QUERIES["roll_up"], book_id, by.value, currency, cut)
    return [
        RollUp(
            name=row["name"],
            currency=row["currency"],
            normal_side=NormalSide(row["normal_side"]),
            balance_minor=on_normal_side(row["normal_side"], int(row["debits"]), int(row["credits"])),
            debits_minor=int(row["debits"]),
            credits_minor=int(row["credits"]),
            accounts=row["accounts"],
        )
        for row in rows
    ]


def _matches(kind: AccountKind, filters: AccountFilter) -> bool:
    return (not filters.kinds or kind in filters.kinds) and (
        not filters.classes or CHART[kind].account_class in filters.classes
    )


def _account(row: Any) -> Account:
    balance = balance_of(row)
    return Account(
        account=balance.account,
        number=row["account_id"],
        code=row["code"],
        account_class=AccountClass(row["account_class"]),
        balance=balance,
        floor_minor=row["floor_minor"],
        ceiling_minor=row["ceiling_minor"],
        debits_frozen=row["debits_frozen"],
        credits_frozen=row["credits_frozen"],
        closed=row["closed"],
        opened_at=row["opened_at"],
    )
