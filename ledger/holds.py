"""Holds: money set aside for an amount that is not final yet. Placed, then resolved at most once.

A hold names one debit account, one credit account and one amount, like the posting that it may become. Until it is
resolved it counts against the limits of both as if it were posted, and for nobody's balance. It is posted (in full or
in part: what is left is free again), released, or expired. From its exact moment of expiry on it cannot be posted;
it counts until the entry that expires it, which the sweeper posts. Whoever comes second is refused
(`hold_already_resolved`): the book's lock and one row a hold decide the race.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Final
from uuid import UUID, uuid5

import msgspec

from ledger.encoding import account_ref
from ledger.journal import (
    AccountRef,
    EntryKind,
    ExternalReference,
    HoldAct,
    HoldAction,
    JournalEntry,
    Posting,
    PostingResult,
)
from ledger.posting import Connection, Ledger
from ledger.queries import QUERIES

EXPIRE_AT_ONCE: Final = 1_000
EVER: Final = datetime.min.replace(tzinfo=UTC)


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A hold as the books have it.

    Attributes:
        key: of the entry that placed it.
        sequence: of that entry.
        amount_minor: what was set aside.
        expires_at: the moment from which it cannot be posted; None = never.
        resolved_by: how it ended; None while it is open.
        posted_minor: what of it was posted.
    """

    key: UUID
    sequence: int
    debit: AccountRef
    credit: AccountRef
    amount_minor: int
    expires_at: datetime | None
    resolved_by: HoldAction | None
    posted_minor: int


def place_hold(
    *,
    key: UUID,
    posting: Posting,
    effective_on: date,
    expires_at: datetime | None = None,
    references: tuple[ExternalReference, ...] = (),
    metadata: bytes = b"",
    caller: str = "system",
) -> JournalEntry:
    """Set the posting's amount aside on both accounts. Authorising; refused as the posting itself would be."""
    return JournalEntry(
        key=key,
        kind=EntryKind.HOLD_PLACED,
        effective_on=effective_on,
        postings=(posting,),
        references=references,
        metadata=metadata,
        caller=caller,
        hold=HoldAct(action=HoldAction.PLACE, expires_at=expires_at),
    )


def post_hold(
    hold: Hold,
    *,
    key: UUID,
    effective_on: date,
    amount_minor: int | None = None,
    available_on: date | None = None,
    references: tuple[ExternalReference, ...] = (),
    metadata: bytes = b"",
    caller: str = "system",
) -> JournalEntry:
    """Turn the hold into a posting of all of it, or of `amount_minor`; the rest is free again.

    Refused with `hold_expired` from `expires_at` on, and with `exceeds_hold` beyond its amount. No limit refuses it:
    the money was set aside.
    """
    return JournalEntry(
        key=key,
        kind=EntryKind.HOLD_POSTED,
        effective_on=effective_on,
        postings=(
            Posting(
                debit=hold.debit,
                credit=hold.credit,
                amount_minor=hold.amount_minor if amount_minor is None else amount_minor,
                available_on=available_on,
            ),
        ),
        references=references,
        metadata=metadata,
        caller=caller,
        hold=HoldAct(action=HoldAction.POST, hold_key=hold.key),
    )


def release_hold(hold: Hold, *, key: UUID, effective_on: date, caller: str = "system") -> JournalEntry:
    """Give the money free. Recording: nothing but an earlier resolution refuses it."""
    return _ended(hold, HoldAction.RELEASE, key=key, effective_on=effective_on, caller=caller)


def expire_hold(hold: Hold, *, effective_on: date, caller: str = "system") -> JournalEntry:
    """Give the money free as its time is over; `hold_not_expired` before. The key follows from the hold's."""
    key = uuid5(hold.key, "hold_expired")
    return _ended(hold, HoldAction.EXPIRE, key=key, effective_on=effective_on, caller=caller)


async def hold_by_key(connection: Connection, book_id: int, key: UUID) -> Hold | None:
    """The hold that the entry with this key placed, as it is now."""
    row = await connection.fetchrow(QUERIES["hold_by_key"], book_id, key)
    return None if row is None else _hold(row)


async def expired_holds(
    connection: Connection, book_id: int, *, at: datetime, limit: int, since: datetime = EVER
) -> list[Hold]:
    """Open holds whose time is over at a moment and was not at an earlier one, the longest overdue first.

    The longer the time between the two, the more holds are looked at that were resolved long ago.
    """
    return [_hold(row) for row in await connection.fetch(QUERIES["holds_expired"], book_id, at, limit, since)]


async def books_with_expired_holds(connection: Connection, *, since: datetime, at: datetime) -> list[int]:
    """Books that have something to expire, among holds whose time was over between two moments."""
    rows = await connection.fetch(QUERIES["books_with_expired_holds"], since, at)
    return [row["book_id"] for row in rows]


async def expire_holds(
    connection: Connection, ledger: Ledger, book_id: int, *, at: datetime, effective_on: date, since: datetime = EVER
) -> Sequence[PostingResult]:
    """The sweeper: expires what is overdue since a moment, at most a thousand a call. Any number may run at once."""
    holds = await expired_holds(connection, book_id, at=at, limit=EXPIRE_AT_ONCE, since=since)
    return [await ledger.post(book_id, expire_hold(hold, effective_on=effective_on)) for hold in holds]


def _ended(hold: Hold, action: HoldAction, *, key: UUID, effective_on: date, caller: str) -> JournalEntry:
    # What is not posted has no day on which it becomes available, but a posting on merchant_pending names one.
    available_on = effective_on if Posting.touches_pending(hold.debit, hold.credit) else None
    posting = Posting(debit=hold.debit, credit=hold.credit, amount_minor=hold.amount_minor, available_on=available_on)
    return JournalEntry(
        key=key,
        kind=EntryKind.HOLD_RELEASED if action == HoldAction.RELEASE else EntryKind.HOLD_EXPIRED,
        effective_on=effective_on,
        postings=(posting,),
        caller=caller,
        hold=HoldAct(action=action, hold_key=hold.key),
    )


def _hold(row: Any) -> Hold:
    return Hold(
        key=row["key"],
        sequence=row["sequence"],
        debit=account_ref(row["debit_kind"], row["debit_owner"], row["currency"]),
        credit=account_ref(row["credit_kind"], row["credit_owner"], row["currency"]),
        amount_minor=row["amount_minor"],
        expires_at=row["expires_at"],
        resolved_by=None if row["action"] is None else HoldAction(row["action"]),
        posted_minor=row["posted_minor"] or 0,
    )
