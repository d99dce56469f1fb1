"""Balances: now, from the accounts' totals; and by effective date, as recorded at a cut, from the postings."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import msgspec

from ledger.chart_of_accounts import NormalSide
from ledger.encoding import account_ref
from ledger.journal import AccountRef
from ledger.posting import Connection
from ledger.queries import QUERIES


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """What an account holds now.

    Attributes:
        balance_minor: on the account's normal side; below zero means the other side.
        debits_minor: everything ever debited.
        credits_minor: everything ever credited.
        last_sequence: the last entry that moved the account; 0 for an account never used.
    """

    account: AccountRef
    balance_minor: int = 0
    debits_minor: int = 0
    credits_minor: int = 0
    last_sequence: int = 0


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
    return {account: Balance(account=account) for account in accounts} | {
        balance.account: balance for balance in map(_balance, rows)
    }


async def all_balances(connection: Connection, book_id: int) -> list[Balance]:
    """Every account of the book, in the order of the chart."""
    return [_balance(row) for row in await connection.fetch(QUERIES["all_balances"], book_id)]


async def trial_balance(
    connection: Connection,
    book_id: int,
    *,
    from_on: date | None = None,
    to_on: date | None = None,
    cut: int | None = None,
) -> list[TrialBalanceRow]:
    """Opening, turnover and closing of every account, by effective date, in the order of the chart.

    Args:
        connection: any snapshot; rows never change, so a cut gives the same answer for ever.
        book_id: the book.
        from_on: first business date of the period; None = from the beginning (then nothing is opening).
        to_on: last business date; None = no end.
        cut: only entries up to this sequence, what the books said then; None = all.
    """
    rows = await connection.fetch(QUERIES["trial_balance"], book_id, from_on, to_on, cut)
    return [_trial_balance_row(row) for row in rows]


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


def _balance(row: Any) -> Balance:
    return Balance(
        account=account_ref(row["kind"], row["owner"], row["currency"]),
        balance_minor=on_normal_side(row["normal_side"], row["debits_posted"], row["credits_posted"]),
        debits_minor=row["debits_posted"],
        credits_minor=row["credits_posted"],
        last_sequence=row["last_sequence"],
    )


def _trial_balance_row(row: Any) -> TrialBalanceRow:
    side = row["normal_side"]
    opening = on_normal_side(side, int(row["debits_before"]), int(row["credits_before"]))
    debits, credits_ = int(row["debits"]), int(row["credits"])
    return TrialBalanceRow(
        account=account_ref(row["kind"], row["owner"], row["currency"]),
        code=row["code"],
        normal_side=NormalSide(side),
        opening_minor=opening,
        debits_minor=debits,
        credits_minor=credits_,
        closing_minor=opening + on_normal_side(side, debits, credits_),
    )
