"""`quickkub ledger export`: entries as JSON lines, a page at a time, so that memory does not grow with them."""

import sys
from pathlib import Path
from typing import IO, Final

import msgspec
import rich_click as click
from rich.console import Console
from rich.progress import Progress

from gateway.commands.ledger.common import SEQUENCE, book_option, connected, ledger, run
from gateway.commands.ledger.entries import entry_document
from ledger.feed import head, read_entries

PAGE_ENTRIES: Final = 1_000


@ledger.command()
@book_option
@click.option("--from", "first", type=SEQUENCE, default=1, show_default=True, help="First sequence.")
@click.option("--to", "last", type=SEQUENCE, help="Last sequence; none = the head at the start.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write; none = standard output.")
def export(book: int, first: int, last: int | None, out: Path | None) -> None:
    """Every entry from one sequence to another, one JSON object a line, with all that the chain seals.

    A range with proof is `quickkub ledger prove`; files for accountants are `quickkub export`.
    """
    if out is None:
        run(_export(book, first, last, sys.stdout.buffer))
        return
    with out.open("wb") as file:
        written = run(_export(book, first, last, file))
    print(f"{written} entries of book {book} are in {out}")


async def _export(book: int, first: int, last: int | None, file: IO[bytes]) -> int:
    encoder, written, after = msgspec.json.Encoder(), 0, first - 1
    async with connected(book) as connection:
        last = await head(connection, book) if last is None else last
        with Progress(transient=True, console=Console(stderr=True)) as shown:
            task = shown.add_task("exporting", total=max(last - after, 0))
            while page := await read_entries(connection, book, after=after, limit=PAGE_ENTRIES):
                lines = [encoder.encode(entry_document(entry)) for entry in page if entry.sequence <= last]
                file.writelines(line + b"\n" for line in lines)
                written += len(lines)
                shown.update(task, completed=written)
                after = page[-1].sequence
                if after >= last:
                    break
    file.flush()
    return written
