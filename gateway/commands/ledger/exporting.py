"""`quickkub ledger export`: entries as JSON lines, a page at a time, so that memory does not grow with them."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Final

import msgspec
import rich_click as click
from rich.console import Console
from rich.progress import Progress

from gateway.commands import books
from gateway.commands.ledger.common import book_option, connected, ledger, run
from gateway.commands.ledger.entries import entry_document
from ledger.errors import MonthArchived
from ledger.feed import head, read_entries
from ledger.posting import Connection
from ledger.proofs import sealed_entries

PAGE_ENTRIES: Final = 1_000


@ledger.command()
@book_option
@click.option("--from", "first", type=books.NUMBER, default=1, show_default=True, help="First sequence.")
@click.option("--to", "last", type=books.NUMBER, help="Last sequence; none = the head at the start.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write; none = standard output.")
def export(book: int, first: int, last: int | None, out: Path | None) -> None:
    """Every entry from one sequence to another, one JSON object a line, with all that the chain seals.

    `sealed` holds exactly the columns of the entry's leaf, accounts by number, and `leaf` is their hash. A range with
    proof is `quickkub ledger prove`; files for accountants are `quickkub export`.
    """
    if last is not None and last < first:
        raise click.UsageError(f"the range ends at {last}, before it begins at {first}")
    written = run(_export(book, first, last, out))
    if out is not None:
        print(f"{written} entries of book {book} are in {out}")


async def _export(book: int, first: int, last: int | None, out: Path | None) -> int:
    async with connected(book) as connection:
        last = await head(connection, book) if last is None else last
        # Only now that the book is there: a mistyped one empties no file.
        with nullcontext(sys.stdout.buffer) if out is None else out.open("wb") as file:
            written = await _write(connection, book, first, last, file)
            file.flush()
    return written


async def _write(connection: Connection, book: int, first: int, last: int, file: IO[bytes]) -> int:
    encoder, written, after = msgspec.json.Encoder(), 0, first - 1
    with Progress(transient=True, console=Console(stderr=True)) as shown:
        task = shown.add_task("exporting", total=max(last - after, 0))
        while after < last:
            page = await read_entries(connection, book, after=after, limit=min(PAGE_ENTRIES, last - after))
            if not page:
                break
            ends = (page[0].sequence, page[-1].sequence)
            times = [entry.recorded_at for entry in page]
            seals = await sealed_entries(connection, book, *ends, from_at=min(times), to_at=max(times))
            for entry in page:
                if entry.sequence not in seals:
                    raise MonthArchived(f"entry {entry.sequence} was archived while it was exported")
                line = entry_document(entry) | msgspec.to_builtins(seals[entry.sequence])
                file.write(encoder.encode(line) + b"\n")
            written += len(page)
            shown.update(task, completed=written)
            after = page[-1].sequence
    return written
