"""Settlements: which entries of a merchant's each one covers, fixed before anything is moved.

A settlement has a cut (the last sequence it has seen) and a date through which money became available. An entry on
`merchant_pending` belongs to the first settlement with `sequence <= cut` and `available_on <= available_through`;
an entry on `merchant_available` to the first one with `sequence <= cut`. Both only grow from one settlement of a
merchant to the next, so every entry is in exactly one. The sums are read in one snapshot and committed with the
row before the first entry is posted: whoever resumes after a crash posts the same amounts under the same keys.

Nothing is locked. Settlements of a merchant are numbered, the next one is only opened after the last was closed,
and two openers with the same view collide on the number; the later one steps back.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

import msgspec
from sqlalchemy import or_, select, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.database import Database, driver
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.merchants import bank_accounts
from gateway.merchants.clocks import clock_of
from gateway.merchants.data_keys import DataKeyDestroyed, wrapped_key
from gateway.merchants.tables import accounts
from gateway.settlement import marks
from gateway.settlement.payout_files import BankAccount
from gateway.settlement.payouts import SYSTEM, PayoutState, destination_context, end_to_end_id, note, of_row
from gateway.settlement.schedules import debt_minor, payout_minor
from gateway.settlement.tables import payouts, settlement_days, settlements
from ledger import feed
from ledger.balances import balances
from ledger.business_days import BusinessCalendar
from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef

CURRENCY: Final = "THB"
"""Merchants are settled in baht; money in another currency waits in `merchant_pending` for its own schedule."""


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """One settlement of one merchant.

    Attributes:
        number: 1, 2, 3 … of that merchant.
        previous_cut, previous_through: those of the settlement before; 0 and None for the first.
        carried_in_minor: what the settlement before carried out.
        available_minor: balance of `merchant_available` at the cut.
        became_available_minor: sum of its days.
        debt_minor: what it makes a claim on the merchant, above zero, or takes for an earlier claim, below zero.
        payout_minor: planned while open; 0 once closed where the ledger refused it.
        carried_out_minor: what is left, once closed.
    """

    book_id: int
    settlement_id: str
    account_id: str
    currency: str
    number: int
    business_date: date
    previous_cut: int
    cut: int
    previous_through: date | None
    available_through: date
    carried_in_minor: int
    available_minor: int
    became_available_minor: int
    debt_minor: int
    payout_id: str | None
    payout_minor: int
    carried_out_minor: int | None
    state: str
    calendar_version: str
    opened_at: datetime
    closed_at: datetime | None


class _Merchant(msgspec.Struct, frozen=True, kw_only=True):
    """What the snapshot shows of a merchant."""

    account_id: str
    livemode: bool
    available_minor: int
    owed_minor: int
    days: dict[date, int]
    last: Settlement | None

    @property
    def carried_in_minor(self) -> int:
        """What the last settlement left; 0 before the first."""
        return 0 if self.last is None or self.last.carried_out_minor is None else self.last.carried_out_minor


async def open_due(
    database: Database, vault: Vault, *, book_id: int, business_date: date, calendar: BusinessCalendar
) -> int:
    """Open a settlement for every merchant of the book that has one due; returns how many are new.

    Due is who has money that became available by the date, or whose available balance moved since the last
    settlement or can be paid out.
    """
    async with database.snapshot() as connection:
        merchants, cut, left_open = await _snapshot(connection, book_id, through=business_date)
    opened = 0
    for merchant in merchants:
        if (
            not merchant.days
            and merchant.available_minor <= 0
            and merchant.available_minor == merchant.carried_in_minor
        ):
            continue
        async with database.transaction() as connection:
            is_new = await _open(
                connection, vault, merchant, book_id=book_id, business_date=business_date, cut=cut, calendar=calendar
            )
        opened += is_new
        if not is_new:
            left_open |= merchant.days.keys()
    async with database.transaction() as connection:
        await marks.write(connection, book_id, feed.PendingMark(cut, business_date, tuple(sorted(left_open))))
    return opened


async def open_settlements(connection: AsyncConnection, book_id: int) -> list[Settlement]:
    """Those that are not finished, oldest first."""
    s = settlements.c
    statement = select(settlements).where(s.book_id == book_id, s.state == "open").order_by(s.opened_at)
    return [Settlement(**row) for row in (await connection.execute(statement)).mappings()]


async def days_of(connection: AsyncConnection, settlement: Settlement) -> list[tuple[date, int]]:
    """What the settlement moves to available: day and amount, which may be negative."""
    d = settlement_days.c
    statement = select(d.available_on, d.amount_minor).where(
        d.book_id == settlement.book_id, d.settlement_id == settlement.settlement_id
    )
    return [(row[0], row[1]) for row in await connection.execute(statement.order_by(d.available_on))]


async def close(connection: AsyncConnection, settlement: Settlement, *, paid_minor: int, at: datetime) -> None:
    """Everything is posted: `paid_minor` was reserved, the rest is carried on. Closing again changes nothing."""
    s = settlements.c
    brought = settlement.available_minor + settlement.became_available_minor + settlement.debt_minor
    carried_out = brought - paid_minor
    await connection.execute(
        update(settlements)
        .where(s.book_id == settlement.book_id, s.settlement_id == settlement.settlement_id, s.state == "open")
        .values(state="closed", payout_minor=paid_minor, carried_out_minor=carried_out, closed_at=at)
    )


async def _snapshot(
    connection: AsyncConnection, book_id: int, *, through: date
) -> tuple[list[_Merchant], int, set[date]]:
    """The merchants, the cut, and the days with money that no settlement of this room takes up."""
    a, s = accounts.c, settlements.c
    of_book = select(a.account_id, a.live_book_id).where(or_(a.test_book_id == book_id, a.live_book_id == book_id))
    livemode = {row[0]: row[1] == book_id for row in await connection.execute(of_book.order_by(a.account_id))}
    newest = (
        select(settlements)
        .ext(distinct_on(s.account_id))
        .where(s.book_id == book_id, s.currency == CURRENCY)
        .order_by(s.account_id, s.number.desc())
    )
    last = {row["account_id"]: Settlement(**row) for row in (await connection.execute(newest)).mappings()}
    ledger = driver(connection)
    cut = await feed.head(ledger, book_id)
    days: defaultdict[str, dict[date, int]] = defaultdict(dict)
    others: set[date] = set()
    mark = await marks.read(connection, book_id)
    for pending in await feed.pending_by_day(ledger, book_id, through=through, since=mark):
        if pending.currency == CURRENCY and pending.owner in livemode:
            days[pending.owner][pending.available_on] = pending.amount_minor
        else:
            others.add(pending.available_on)
    available = {
        account_id: AccountRef(AccountKind.MERCHANT_AVAILABLE, account_id, CURRENCY) for account_id in livemode
    }
    owed = {account_id: AccountRef(AccountKind.MERCHANT_RECEIVABLE, account_id, CURRENCY) for account_id in livemode}
    found = await balances(ledger, book_id, [*available.values(), *owed.values()])
    return (
        [
            _Merchant(
                account_id=account_id,
                livemode=live,
                available_minor=found[available[account_id]].balance_minor,
                owed_minor=found[owed[account_id]].balance_minor,
                days=days[account_id],
                last=last.get(account_id),
            )
            for account_id, live in livemode.items()
        ],
        cut,
        others,
    )


async def _open(
    connection: AsyncConnection,
    vault: Vault,
    merchant: _Merchant,
    *,
    book_id: int,
    business_date: date,
    cut: int,
    calendar: BusinessCalendar,
) -> int:
    last = merchant.last
    if last is not None and (last.state == "open" or last.available_through >= business_date):
        return 0
    became_available = sum(merchant.days.values())
    destination = await _destination(connection, vault, book_id, merchant.account_id)
    brought = merchant.available_minor + became_available
    debt = debt_minor(brought, merchant.owed_minor)
    planned = payout_minor(brought + debt, None if destination is None else destination.payout_minimum_minor)
    if not merchant.days and merchant.available_minor == merchant.carried_in_minor and not (planned or debt):
        return 0
    opened_at = (await clock_of(connection, book_id)).now()
    settlement = Settlement(
        book_id=book_id,
        settlement_id=new_id("st", livemode=merchant.livemode),
        account_id=merchant.account_id,
        currency=CURRENCY,
        number=1 if last is None else last.number + 1,
        business_date=business_date,
        previous_cut=0 if last is None else last.cut,
        cut=cut,
        previous_through=None if last is None else last.available_through,
        available_through=business_date,
        carried_in_minor=merchant.carried_in_minor,
        available_minor=merchant.available_minor,
        became_available_minor=became_available,
        debt_minor=debt,
        payout_id=new_id("po", livemode=merchant.livemode) if planned else None,
        payout_minor=planned,
        carried_out_minor=None,
        state="open",
        calendar_version=calendar.version,
        opened_at=opened_at,
        closed_at=None,
    )
    statement = insert(settlements).values(**msgspec.structs.asdict(settlement)).on_conflict_do_nothing()
    if (await connection.execute(statement)).rowcount == 0:
        return 0
    await _plan(connection, vault, settlement, merchant, destination)
    return 1


async def _destination(
    connection: AsyncConnection, vault: Vault, book_id: int, account_id: str
) -> bank_accounts.BankAccount | None:
    """Where the merchant wants payouts; None where nowhere, or where that was shredded with the merchant's data."""
    try:
        return await bank_accounts.for_payout(
            connection, vault, book_id=book_id, account_id=account_id, currency=CURRENCY
        )
    except DataKeyDestroyed:
        return None


async def _plan(
    connection: AsyncConnection,
    vault: Vault,
    settlement: Settlement,
    merchant: _Merchant,
    destination: bank_accounts.BankAccount | None,
) -> None:
    """Write the days and the payout that go with a settlement just opened."""
    if merchant.days:
        rows: Sequence[dict[str, object]] = [
            {
                "book_id": settlement.book_id,
                "settlement_id": settlement.settlement_id,
                "available_on": day,
                "amount_minor": amount_minor,
            }
            for day, amount_minor in sorted(merchant.days.items())
        ]
        await connection.execute(insert(settlement_days).values(rows))
    payout_id = settlement.payout_id
    if payout_id is None or destination is None:
        return
    to = BankAccount(bank_code=destination.bank_code, account_number=destination.number, holder=destination.name)
    key = await wrapped_key(connection, settlement.account_id)
    row = {
        "book_id": settlement.book_id,
        "payout_id": payout_id,
        "account_id": settlement.account_id,
        "settlement_id": settlement.settlement_id,
        "livemode": merchant.livemode,
        "amount_minor": settlement.payout_minor,
        "currency": settlement.currency,
        "bank_code": to.bank_code,
        "last_four": to.account_number[-4:],
        "sealed_destination": vault.seal(key, msgspec.json.encode(to), context=destination_context(payout_id)),
        "end_to_end_id": end_to_end_id(payout_id),
        "effective_on": settlement.business_date,
        "state": PayoutState.REQUESTED,
        "version": 1,
        "requested_at": settlement.opened_at,
    }
    inserted = await connection.execute(insert(payouts).values(**row).returning(payouts))
    await note(connection, of_row(inserted.mappings().one()), actor=SYSTEM, reason="settlement")
