"""The audit export: a whole book in a folder, checkable without us.

| file | what |
|---|---|
| `journal.beancount`, `journal.hledger` | the books as text; balances asserted at each month's end and at the cut |
| `entries.csv`, `postings.csv` | every column that the ledger keeps, by sequence |
| `accounts.csv` | every account, its name in the journals and its balance at the cut |
| `blocks.csv` | the chain; the last hash seals everything above |
| `manifest.json` | counts, control totals, SHA-256 of each file, the chain's head |

Entries are read in chunks by sequence up to the cut, each chunk a short transaction of its own: rows never change, so
no long snapshot is needed and memory stays flat. Journals must be in the order of business dates, which is not the
order of sequence, so they are written through one spool file a day. Assertions come from the trial balance of the
database, the journals from the entries: two roads that meet in `bean-check`. The same book and cut give the same
bytes; only the manifest tells when.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import date, datetime
from pathlib import Path
from typing import Final

import msgspec

from ledger.balances import DateAxis, TrialBalanceRow, trial_balance
from ledger.feed import RecordedEntry, read_entries
from ledger.money import to_text
from ledger.posting import Connection
from reports import identities
from reports.audit import beancount, csv_files, hledger
from reports.audit.accounts import Names, account_names
from reports.identities import Identity
from reports.rendering import TIMEZONE
from reports.sql import QUERIES

CHUNK: Final = 1_000
FORMATS: Final = ("beancount", "hledger")


class EmptyBook(Exception):
    """Nothing was posted to the book, so there is nothing to export."""

    code = "book_empty"
    retryable = False


class AuditExport(msgspec.Struct, frozen=True, kw_only=True):
    """What was written.

    Attributes:
        cut: the last sequence exported, the end of a block.
        control_minor: sum of all postings, by currency.
    """

    folder: Path
    book_id: int
    cut: int
    entries: int
    postings: int
    control_minor: dict[str, int]
    chain_head: str
    files: tuple[Path, ...]


class _Totals:
    """What went through our hands while streaming."""

    def __init__(self) -> None:
        self.entries = 0
        self.postings = 0
        self.amount_minor: dict[str, int] = {}
        self.days: set[date] = set()

    def add(self, recorded: RecordedEntry) -> None:
        self.entries += 1
        self.days.add(recorded.effective_on)
        for posting in recorded.postings:
            self.postings += 1
            currency = posting.debit.currency
            self.amount_minor[currency] = self.amount_minor.get(currency, 0) + posting.amount_minor


async def export(
    connection: Connection, book_id: int, folder: Path, *, generated_at: datetime, cut: int | None = None
) -> AuditExport:
    """Write the export of a book into a folder, which is made if need be; files of an earlier export are replaced.

    Args:
        connection: of any role that may read the ledger, in no transaction.
        book_id: the book.
        folder: where to.
        generated_at: for the manifest.
        cut: export no entry after this sequence; lowered to the end of a block. None = all.

    Raises:
        EmptyBook: there is nothing up to the cut.
        IdentityFailed: what was read is not what the books add up to.
    """
    block = await connection.fetchrow(QUERIES["last_block"], book_id, cut)
    if block is None or block["last_sequence"] == 0:
        raise EmptyBook(f"book {book_id} has no entries, so there is nothing to export")
    last: int = block["last_sequence"]
    rows = await trial_balance(connection, book_id, cut=last)
    names = account_names(row.account for row in rows)
    with _spool_in(folder) as spool:
        totals = await _stream(connection, book_id, last, names=names, folder=folder, spool=Path(spool))
        checked = identities.require(_identities(last, totals, rows))
        assertions = await _assertions(connection, book_id, last, totals.days, rows)
        _write_journals(folder, Path(spool), title=f"QuickKub book {book_id}", names=names, assertions=assertions)
    _write_accounts(folder / "accounts.csv", rows, names)
    blocks = await _write_blocks(connection, book_id, last, folder / "blocks.csv")
    written = [f"journal.{form}" for form in FORMATS] + ["accounts.csv", "blocks.csv", "entries.csv", "postings.csv"]
    manifest = {
        "report_id": f"audit_export:b{book_id}:s{last}",
        "book": book_id,
        "ledger_cut": last,
        "timezone": TIMEZONE,
        "counts": {
            "entries": totals.entries,
            "postings": totals.postings,
            "accounts": len(rows),
            "blocks": blocks,
        },
        "control_totals": {
            currency: to_text(amount, currency) for currency, amount in sorted(totals.amount_minor.items())
        },
        "chain": {"block": block["block_number"], "incarnation": block["incarnation"], "head": block["hash"].hex()},
        "identities": [msgspec.to_builtins(identity) for identity in checked],
        "files": {name: _sha256(folder / name) for name in sorted(written)},
        "generated_at": generated_at.isoformat(),
    }
    path = folder / "manifest.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
    return AuditExport(
        folder=folder,
        book_id=book_id,
        cut=last,
        entries=totals.entries,
        postings=totals.postings,
        control_minor=totals.amount_minor,
        chain_head=block["hash"].hex(),
        files=tuple(folder / name for name in (*written, "manifest.json")),
    )


def _identities(cut: int, totals: _Totals, rows: Sequence[TrialBalanceRow]) -> Iterator[Identity]:
    yield Identity(name="entries_are_gapless", subject="book", left=totals.entries, right=cut)
    for currency in sorted({row.account.currency for row in rows} | totals.amount_minor.keys()):
        mine = [row for row in rows if row.account.currency == currency]
        streamed = totals.amount_minor.get(currency, 0)
        for name, total in (
            ("postings_are_trial_balance_debits", sum(row.debits_minor for row in mine)),
            ("postings_are_trial_balance_credits", sum(row.credits_minor for row in mine)),
        ):
            yield Identity(name=name, subject=currency, left=streamed, right=total)


async def _stream(
    connection: Connection, book_id: int, cut: int, *, names: Names, folder: Path, spool: Path
) -> _Totals:
    """One pass over the entries: both CSV files, and each journal's text into the spool file of its day."""
    totals, after = _Totals(), 0
    with ExitStack() as stack:
        write_entry = csv_files.open_csv(stack, folder / "entries.csv", csv_files.ENTRIES)
        write_posting = csv_files.open_csv(stack, folder / "postings.csv", csv_files.POSTINGS)
        while after < cut:
            chunk = await read_entries(connection, book_id, after=after, limit=min(CHUNK, cut - after))
            if not chunk:
                break
            after = chunk[-1].sequence
            for recorded in chunk:
                totals.add(recorded)
                write_entry(csv_files.entry_row(recorded))
                for row in csv_files.posting_rows(recorded):
                    write_posting(row)
            _spool(spool, chunk, names)
    return totals


def _spool_in(folder: Path) -> tempfile.TemporaryDirectory[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=folder, prefix=".spool-")


def _spool(spool: Path, chunk: Sequence[RecordedEntry], names: Names) -> None:
    by_day: dict[date, list[RecordedEntry]] = {}
    for recorded in chunk:
        by_day.setdefault(recorded.effective_on, []).append(recorded)
    for day, of_day in by_day.items():
        for form, text in (("beancount", beancount.entry), ("hledger", hledger.entry)):
            with (spool / f"{day}.{form}").open("a", encoding="utf-8") as file:
                file.writelines(text(each, names) for each in of_day)


async def _assertions(
    connection: Connection, book_id: int, cut: int, days: set[date], at_cut: Sequence[TrialBalanceRow]
) -> dict[date, Sequence[TrialBalanceRow]]:
    """Balances to assert, by the last business date that they include: each month's end and the last day."""
    last = max(days)
    found: dict[date, Sequence[TrialBalanceRow]] = {}
    for month in sorted({(day.year, day.month) for day in days}):
        of_month = max(day for day in days if (day.year, day.month) == month)
        found[of_month] = (
            at_cut
            if of_month == last
            else await trial_balance(connection, book_id, to_on=of_month, cut=cut, axis=DateAxis.EFFECTIVE)
        )
    return found


def _write_journals(
    folder: Path, spool: Path, *, title: str, names: Names, assertions: dict[date, Sequence[TrialBalanceRow]]
) -> None:
    currencies = {row.account.currency for rows in assertions.values() for row in rows}
    days = sorted({date.fromisoformat(path.stem) for path in spool.iterdir()})
    heads = {
        "beancount": beancount.header(title=title, opened_on=days[0], names=names, currencies=currencies),
        "hledger": hledger.header(title=title, names=names, currencies=currencies),
    }
    asserted: dict[str, Callable[..., str]] = {"beancount": beancount.assertions, "hledger": hledger.assertions}
    for form in FORMATS:
        with (folder / f"journal.{form}").open("w", encoding="utf-8", newline="\n") as journal:
            journal.write(heads[form])
            for day in days:
                with (spool / f"{day}.{form}").open(encoding="utf-8") as of_day:
                    shutil.copyfileobj(of_day, journal)
                if day in assertions:
                    journal.write(asserted[form](day, assertions[day], names))


def _write_accounts(path: Path, rows: Sequence[TrialBalanceRow], names: Names) -> None:
    with ExitStack() as stack:
        write = csv_files.open_csv(stack, path, csv_files.ACCOUNTS)
        for row in rows:
            write(csv_files.account_row(row, names))


async def _write_blocks(connection: Connection, book_id: int, cut: int, path: Path) -> int:
    """Write the chain up to the cut; returns how many blocks."""
    count, after = 0, -1  # the book's opening is block 0
    with ExitStack() as stack:
        write = csv_files.open_csv(stack, path, csv_files.BLOCKS)
        while rows := await connection.fetch(QUERIES["blocks_after"], book_id, after, cut, CHUNK):
            for row in rows:
                write(csv_files.block_row(row))
            count, after = count + len(rows), rows[-1]["block_number"]
    return count


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
