"""Balances: now, from the accounts' totals; as recorded at a sequence; as effective on a business date; all at once.

Two axes, kept apart: *recorded* is the sequence, what the books said; *effective* is the business date of what
happened. Both together answer "what did we believe then about that day". Lines of one account: `statements.py`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from enum import StrEnum
from typing import Any, Final

import msgspec

from ledger.archives import Archive, over_one_archive, refuse_archived
from ledger.chart_of_accounts import CHART, AccountKind, NormalSide
from ledger.encoding import account_ref
from ledger.journal import AccountRef
from ledger.posting import Connection
from ledger.queries import QUERIES, fetch_range

ENTRIES_AT_ONCE: Final = 100_000
"""Entries that one statement of a trial balance reads: well under a second."""


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """What an account holds now.

    Attributes:
        balance_minor: on the account's normal side; below zero means the other side.
        debits_minor: everything ever debited.
        credits_minor: everything ever credited.
        held_debits_minor: what holds would debit it if they were posted.
        held_credits_minor: what holds would credit it.
        available_minor: what an authorising entry could still take: the balance less the holds against it less the
            floor. None = no floor; below zero = nothing until as much came in. Freezes are another question.
        last_sequence: the last entry that moved the account; 0 for an account never used.
    """

    account: AccountRef
    balance_minor: int = 0
    debits_minor: int = 0
    credits_minor: int = 0
    held_debits_minor: int = 0
    held_credits_minor: int = 0
    available_minor: int | None = None
    last_sequence: int = 0


class BalanceAt(msgspec.Struct, frozen=True, kw_only=True):
    """What the books said of an account at a sequence.

    Attributes:
        balance_minor: on the account's normal side.
        last_sequence: the last entry up to then that had moved it; 0 when none had.
    """

    account: AccountRef
    balance_minor: int = 0
    last_sequence: int = 0


class EffectiveBalance(msgspec.Struct, frozen=True, kw_only=True):
    """An account through a business date.

    Attributes:
        balance_minor: on the account's normal side.
        debits_minor: everything debited through that date.
        credits_minor: everything credited through that date.
    """

    account: AccountRef
    balance_minor: int = 0
    debits_minor: int = 0
    credits_minor: int = 0


class DateAxis(StrEnum):
    """Which date of an entry counts: the one that it is booked on, or the true one of what happened.

    They differ for a fact that came when its period was closed: it is booked on the first open day.
    """

    BOOKED = "booked"
    EFFECTIVE = "effective"


class TrialBalanceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One account's line of a trial balance.

    Attributes:
        code: number in the chart of accounts.
        opening_minor: balance before the period, on the normal side.
        debits_minor: turnover of the period.
        credits_minor: turnover of the period.
        closing_minor: balance after the period, on the normal side.
    """

    account: AccountRef
    code: str
    normal_side: NormalSide
    opening_minor: int
    debits_minor: int
    credits_minor: int
    closing_minor: int

    @property
    def opening_debit_minor(self) -> int:
        """The opening balance if it stands on the debit side, else 0."""
        return max(self._debit_side(self.opening_minor), 0)

    @property
    def opening_credit_minor(self) -> int:
        """The opening balance if it stands on the credit side, else 0."""
        return max(-self._debit_side(self.opening_minor), 0)

    @property
    def closing_debit_minor(self) -> int:
        """The closing balance if it stands on the debit side, else 0."""
        return max(self._debit_side(self.closing_minor), 0)

    @property
    def closing_credit_minor(self) -> int:
        """The closing balance if it stands on the credit side, else 0."""
        return max(-self._debit_side(self.closing_minor), 0)

    def _debit_side(self, balance_minor: int) -> int:
        return balance_minor if self.normal_side == NormalSide.DEBIT else -balance_minor


async def balances(connection: Connection, book_id: int, accounts: Sequence[AccountRef]) -> dict[AccountRef, Balance]:
    """The balance of each account asked for; one that was never used has zero."""
    rows = await connection.fetch(QUERIES["balances"], book_id, *columns_of(accounts))
    return {account: _unused(account) for account in accounts} | {
        balance.account: balance for balance in map(balance_of, rows)
    }


async def balances_at(
    connection: Connection, book_id: int, accounts: Sequence[AccountRef], sequence: int
) -> dict[AccountRef, BalanceAt]:
    """What the books said of each account right after an entry, the same for ever.

    Args:
        connection: any snapshot.
        book_id: the book.
        accounts: one that was not used by then has zero.
        sequence: of the entry; 0 = before the first.

    Raises:
        MonthArchived: the entry lies in an archived month.
    """
    sequences = [sequence] * len(accounts)
    rows = await connection.fetch(QUERIES["balances_at"], book_id, *columns_of(accounts), sequences)
    for row in rows:
        refuse_archived(sequence, archived_through=row["archived_through"], month=row["archived_month"])
    found = (
        BalanceAt(account=_account(row), balance_minor=row["balance_minor"], last_sequence=row["last_sequence"])
        for row in rows
    )
    return {each.account: each for each in found}


async def balances_effective(
    connection: Connection, book_id: int, accounts: Sequence[AccountRef], on_date: date, cut: int | None = None
) -> dict[AccountRef, EffectiveBalance]:
    """Each account through a business date, late entries included.

    Args:
        connection: any snapshot.
        book_id: the book.
        accounts: one that was not used by then has zero.
        on_date: the last business date that counts, by the true date of what happened.
        cut: only entries up to this sequence, what the books said then; None = all. The further back it lies, the more
            is taken off again.
    """
    asked = *columns_of(accounts), on_date
    if cut is None:
        rows = await connection.fetch(QUERIES["balances_effective"], book_id, *asked)
    else:
        rows = await over_one_archive(
            connection,
            book_id,
            lambda _: connection.fetch(QUERIES["balances_effective_at"], book_id, *asked, cut),
            cut=cut,
        )
    return {account: EffectiveBalance(account=account) for account in accounts} | {
        each.account: each for each in map(_effective, rows)
    }


async def all_balances(connection: Connection, book_id: int) -> list[Balance]:
    """Every account of the book, in the order of the chart."""
    return [balance_of(row) for row in await connection.fetch(QUERIES["all_balances"], book_id)]


async def trial_balance(
    connection: Connection,
    book_id: int,
    *,
    from_on: date | None = None,
    to_on: date | None = None,
    cut: int | None = None,
    axis: DateAxis = DateAxis.BOOKED,
) -> list[TrialBalanceRow]:
    """Opening, turnover and closing of every account, by date, in the order of the chart.

    Every entry up to the cut is read, in chunks of a statement each: no long snapshot is needed, and none should be
    open, because rows never change and a cut gives the same answer for ever.

    Args:
        connection: outside a transaction, where the book is large.
        book_id: the book.
        from_on: first business date of the period; None = from the beginning (then nothing is opening).
        to_on: last business date; None = no end.
        cut: only entries up to this sequence, what the books said then; None = the head.
        axis: booked is what periods are closed on; effective puts late facts where they happened.
    """
    head = await connection.fetchval(QUERIES["head"], book_id) or 0
    last = head if cut is None else min(cut, head)

    async def moved(archive: Archive | None) -> dict[int, Counter[str]]:
        sums: defaultdict[int, Counter[str]] = defaultdict(Counter)
        if archive is not None:
            when = "" if from_on is None else "_before"
            for row in await connection.fetch(QUERIES["archived_balances"], book_id, archive.month):
                sums[row["account_id"]] = Counter(
                    {f"debits{when}": row["debits_posted"], f"credits{when}": row["credits_posted"]}
                )
        for after in range(0 if archive is None else archive.head.last_sequence, last, ENTRIES_AT_ONCE):
            through = min(after + ENTRIES_AT_ONCE, last)
            for row in await fetch_range(
                connection, "turnover_by_accounts", book_id, after, through, from_on, to_on, axis is DateAxis.EFFECTIVE
            ):
                amount_minor, when = int(row["amount_minor"]), "_before" if row["before"] else ""
                sums[row["debit_account"]][f"debits{when}"] += amount_minor
                sums[row["credit_account"]][f"credits{when}"] += amount_minor
        return sums

    sums = await over_one_archive(connection, book_id, moved, cut=cut, from_on=from_on, to_on=to_on)
    named = await connection.fetch(QUERIES["accounts_by_number"], book_id, list(sums))
    rows = [_trial_balance_row(_account(row), sums[row["account_id"]]) for row in named]
    return sorted(rows, key=lambda row: (row.code, row.account.owner, row.account.currency))


def columns_of(accounts: Iterable[AccountRef]) -> tuple[list[int], list[str], list[str]]:
    """Accounts as the three parallel arrays that queries take."""
    listed = list(accounts)
    return (
        [int(account.kind) for account in listed],
        [account.owner for account in listed],
        [account.currency for account in listed],
    )


def on_normal_side(side: str, debits_minor: int, credits_minor: int) -> int:
    """The balance as its kind of account states it."""
    return debits_minor - credits_minor if side == NormalSide.DEBIT else credits_minor - debits_minor


def _account(row: Any) -> AccountRef:
    return account_ref(row["kind"], row["owner"], row["currency"])


def _unused(account: AccountRef) -> Balance:
    floor_minor = CHART[account.kind].floor_minor
    return Balance(account=account, available_minor=None if floor_minor is None else -floor_minor)


def balance_of(row: Any) -> Balance:
    """A row of `accounts` as a balance."""
    side, floor_minor = CHART[AccountKind(row["kind"])].normal_side, row["floor_minor"]
    balance_minor = on_normal_side(side, row["debits_posted"], row["credits_posted"])
    held_against = row["credits_held"] if side == NormalSide.DEBIT else row["debits_held"]
    return Balance(
        account=_account(row),
        balance_minor=balance_minor,
        debits_minor=row["debits_posted"],
        credits_minor=row["credits_posted"],
        held_debits_minor=row["debits_held"],
        held_credits_minor=row["credits_held"],
        available_minor=None if floor_minor is None else balance_minor - held_against - floor_minor,
        last_sequence=row["last_sequence"],
    )


def _effective(row: Any) -> EffectiveBalance:
    account, debits, credits_ = _account(row), int(row["debits"]), int(row["credits"])
    return EffectiveBalance(
        account=account,
        balance_minor=on_normal_side(CHART[account.kind].normal_side, debits, credits_),
        debits_minor=debits,
        credits_minor=credits_,
    )


def _trial_balance_row(account: AccountRef, sums: Counter[str]) -> TrialBalanceRow:
    rules = CHART[account.kind]
    opening = on_normal_side(rules.normal_side, sums["debits_before"], sums["credits_before"])
    return TrialBalanceRow(
        account=account,
        code=rules.code,
        normal_side=rules.normal_side,
        opening_minor=opening,
        debits_minor=sums["debits"],
        credits_minor=sums["credits"],
        closing_minor=opening + on_normal_side(rules.normal_side, sums["debits"], sums["credits"]),
    )
