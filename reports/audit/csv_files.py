"""Every column that the ledger keeps, as CSV.

Amounts of postings and balances are decimals of their currency; what an entry draws is in minor units, as kept.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from ledger.balances import TrialBalanceRow
from ledger.chart_of_accounts import CHART
from ledger.feed import RecordedEntry
from ledger.money import to_text
from reports.audit.accounts import Names

Write = Callable[[Sequence[Any]], Any]
"""Writes one row."""

ENTRIES: Final = (
    "sequence",
    "key",
    "kind",
    "effective_on",
    "recorded_at",
    "block_number",
    "caller",
    "draws_on",
    "drawn_minor",
    "drawable_minor",
    "references",
    "metadata_hex",
)
POSTINGS: Final = (
    "sequence",
    "line",
    "debit_kind",
    "debit_owner",
    "credit_kind",
    "credit_owner",
    "currency",
    "amount",
    "available_on",
    "debit_balance_after",
    "credit_balance_after",
)
ACCOUNTS: Final = ("code", "kind", "owner", "currency", "class", "normal_side", "name", "debits", "credits", "balance")
BLOCKS: Final = (
    "block_number",
    "incarnation",
    "layout_version",
    "first_sequence",
    "last_sequence",
    "recorded_at",
    "previous_hash",
    "hash",
)


def open_csv(stack: ExitStack, path: Path, columns: Sequence[str]) -> Write:
    """A file with its header line, closed with the stack; what is returned writes one row."""
    file = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    return writer.writerow


def entry_row(entry: RecordedEntry) -> list[Any]:
    """The columns of `ENTRIES`. Metadata is bytes as received, so it is written as such."""
    return [
        entry.sequence,
        entry.key,
        entry.kind.name.lower(),
        entry.effective_on,
        entry.recorded_at.isoformat(),
        entry.block_number,
        entry.caller,
        entry.draws_on,
        entry.drawn_minor,
        entry.drawable_minor,
        " ".join(f"{each.scheme}={each.value}" for each in entry.references),
        entry.metadata.hex(),
    ]


def posting_rows(entry: RecordedEntry) -> Iterator[list[Any]]:
    """The columns of `POSTINGS`, one row for each posting of the entry."""
    for posting in entry.postings:
        currency = posting.debit.currency
        yield [
            posting.sequence,
            posting.line,
            posting.debit.kind.name.lower(),
            posting.debit.owner,
            posting.credit.kind.name.lower(),
            posting.credit.owner,
            currency,
            to_text(posting.amount_minor, currency),
            posting.available_on,
            to_text(posting.debit_balance_after, currency),
            to_text(posting.credit_balance_after, currency),
        ]


def account_row(row: TrialBalanceRow, names: Names) -> list[Any]:
    """The columns of `ACCOUNTS`: turnover and balance at the cut, the balance on the account's normal side."""
    account = row.account
    return [
        row.code,
        account.kind.name.lower(),
        account.owner,
        account.currency,
        CHART[account.kind].account_class,
        row.normal_side,
        names[account.kind, account.owner],
        to_text(row.debits_minor, account.currency),
        to_text(row.credits_minor, account.currency),
        to_text(row.closing_minor, account.currency),
    ]


def block_row(row: Any) -> list[Any]:
    """The columns of `BLOCKS`, of a row of `ledger.blocks`."""
    cells = [row[name] for name in BLOCKS]
    return [cell.hex() if isinstance(cell, bytes) else cell for cell in cells]
