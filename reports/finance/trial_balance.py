"""The trial balance: every account of a book, opening, period and closing, by business date at a cut."""

from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

from ledger import balances
from ledger.chart_of_accounts import CHART, HOUSE
from ledger.feed import head
from ledger.posting import Connection
from reports import identities
from reports.identities import Identity
from reports.rendering import ReportHead
from reports.rows import TrialBalanceLine
from reports.sql import QUERIES


class TrialBalance(msgspec.Struct, frozen=True, kw_only=True):
    """A trial balance, to be rendered.

    Attributes:
        posted_minor: sum of the period's postings by currency, as the database adds them up by themselves.
    """

    head: ReportHead
    rows: tuple[TrialBalanceLine, ...]
    posted_minor: Mapping[str, int]
    row_type: type[msgspec.Struct] = TrialBalanceLine

    def identities(self) -> Sequence[Identity]:
        """Debits are credits, opening and period are closing, the period is what was posted."""
        return identities.trial_balance(self.rows, posted_minor=self.posted_minor)


async def trial_balance(
    connection: Connection, book_id: int, *, from_on: date, to_on: date, cut: int | None = None
) -> TrialBalance:
    """Build it.

    Args:
        connection: of any role that may read the ledger.
        book_id: the book.
        from_on: first business date of the period; to_on: the last.
        cut: what the books said up to this sequence; None = now.
    """
    last = await head(connection, book_id) if cut is None else cut
    found = await balances.trial_balance(connection, book_id, from_on=from_on, to_on=to_on, cut=last)
    posted = await connection.fetch(QUERIES["posted_by_currency"], book_id, from_on, to_on, last)
    return TrialBalance(
        head=ReportHead(
            report="trial_balance",
            book_id=book_id,
            period_from=from_on,
            period_to=to_on,
            cut=last,
            control_column="closing_debit_minor",
        ),
        rows=tuple(_line(row) for row in found),
        posted_minor={row["currency"]: int(row["amount_minor"]) for row in posted},
    )


def _line(row: balances.TrialBalanceRow) -> TrialBalanceLine:
    kind, owner = row.account.kind, row.account.owner
    return TrialBalanceLine(
        account_code=row.code,
        account=kind.name.lower() if owner == HOUSE else f"{kind.name.lower()}:{owner}",
        account_type=CHART[kind].account_class,
        currency=row.account.currency,
        opening_debit_minor=row.opening_debit_minor,
        opening_credit_minor=row.opening_credit_minor,
        period_debit_minor=row.debits_minor,
        period_credit_minor=row.credits_minor,
        closing_debit_minor=row.closing_debit_minor,
        closing_credit_minor=row.closing_credit_minor,
    )
