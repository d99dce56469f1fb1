"""The payout report: every payout of a book, tied to its file, to the bank account and to what is still owed.

What a payout is beyond its entries – file, state, bank – is the gateway's to know, so the rows are handed in; what
they must come to is read from the ledger.
"""

from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

from ledger.chart_of_accounts import AccountKind
from ledger.feed import head
from ledger.journal import EntryKind
from ledger.posting import Connection
from reports import identities
from reports.identities import Identity
from reports.rendering import ReportHead
from reports.rows import PayoutFileTotal, PayoutLine
from reports.sql import QUERIES


class PayoutReport(msgspec.Struct, frozen=True, kw_only=True):
    """A payout report, to be rendered.

    Attributes:
        files: what each file says of itself.
        bank_debits_minor: what payouts took from our bank accounts, by currency.
        in_transit_minor: balance of all `payouts_in_transit` accounts, by currency.
    """

    head: ReportHead
    rows: tuple[PayoutLine, ...]
    files: tuple[PayoutFileTotal, ...]
    bank_debits_minor: Mapping[str, int]
    in_transit_minor: Mapping[str, int]
    row_type: type[msgspec.Struct] = PayoutLine

    def identities(self) -> Sequence[Identity]:
        """Files hold their control totals, paid is what left the bank, the rest is still owed."""
        return identities.payouts(
            self.rows,
            files=self.files,
            bank_debits_minor=self.bank_debits_minor,
            in_transit_minor=self.in_transit_minor,
        )


async def payout_report(
    connection: Connection,
    book_id: int,
    *,
    rows: Sequence[PayoutLine],
    files: Sequence[PayoutFileTotal],
    as_of: date,
) -> PayoutReport:
    """Build it, for all payouts that the book ever made.

    Args:
        connection: of any role that may read the ledger.
        book_id: the book.
        rows: every payout; files: every payout file.
        as_of: business date of the report.
    """
    cut = await head(connection, book_id)
    debits = await connection.fetch(QUERIES["posted_by_kind"], book_id, int(EntryKind.PAYOUT_PAID), cut)
    owed = await connection.fetch(QUERIES["balance_of_kind"], book_id, int(AccountKind.PAYOUTS_IN_TRANSIT), cut)
    first_on = min((row.created_on for row in rows), default=as_of)
    return PayoutReport(
        head=ReportHead(
            report="payouts",
            book_id=book_id,
            period_from=first_on,
            period_to=as_of,
            cut=cut,
            control_column="amount_minor",
        ),
        rows=tuple(sorted(rows, key=lambda row: row.payout_id)),
        files=tuple(files),
        bank_debits_minor={row["currency"]: int(row["amount_minor"]) for row in debits},
        in_transit_minor={row["currency"]: int(row["amount_minor"]) for row in owed},
    )
