"""`quickkub ledger verify`: re-adding a book."""

import sys
from pathlib import Path

import msgspec
import rich_click as click
from rich.console import Console
from rich.progress import Progress

from gateway.commands.ledger.common import (
    book_option,
    connected,
    folder_option,
    json_option,
    ledger,
    print_json,
    print_table,
    public_key,
    public_key_option,
    run,
)
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.settings import Settings
from ledger.checkpoint_folder import CheckpointFolder
from ledger.checks_of_checkpoints import against
from ledger.verification import SingleCheck, VerificationReport, verify


@ledger.command(name="verify")
@book_option
@click.option("--independent", is_flag=True, help="Read every row in plain Python: slower, and easy to follow.")
@folder_option
@public_key_option
@json_option
def verify_(book: int, folder: Path | None, public_key_file: Path | None, *, independent: bool, as_json: bool) -> None:
    """Re-add a book by another road; exit code 1 when anything is not as it should be.

    With a folder of published checkpoints and the key that signed them the books are compared with these too.
    """
    published, not_compared = run(_published(folder, public_key_file))
    report = run(_verify(book, published, independent=independent))
    if as_json:
        print_json(
            {
                "book": book,
                "head": report.head,
                "head_hash": report.head_hash.hex(),
                "passed": report.passed,
                "checks": [msgspec.to_builtins(check) for check in report.checks],
                "not_compared": not_compared,
            }
        )
    else:
        print_table(
            ("", "check", "rows>", ""),
            [("ok" if each.passed else "BROKEN", each.name, each.rows, each.detail) for each in report.checks],
            empty="no check ran",
        )
        if not_compared:
            print(f"not compared with published checkpoints: {not_compared}")
        said = "verified" if report.passed else "BROKEN"
        print(f"book {book}, head {report.head}, {report.head_hash.hex()}: {said}")
    sys.exit(0 if report.passed else 1)


async def _verify(book: int, published: SingleCheck | None, *, independent: bool) -> VerificationReport:
    with Progress(transient=True, console=Console(stderr=True)) as shown:
        task = shown.add_task("verifying", total=None)
        # One more than cores of a small machine: while one waits for what is computed here, two are read from.
        async with connected(book) as connection, connected(book) as second, connected(book) as third:
            return await verify(
                connection,
                book,
                beside=[second, third],
                independent=independent,
                published=published,
                progress=lambda done, total: shown.update(task, completed=done, total=total),
            )


async def _published(folder: Path | None, public_key_file: Path | None) -> tuple[SingleCheck | None, str | None]:
    """The comparison with what was published, or why there is none."""
    async with resolved(Settings.from_environment()) as settings:
        key, place = public_key(settings, public_key_file), folder or settings.checkpoint_folder
        if place is None:
            return None, "no folder is set (--folder)"
        if key is None:
            return None, "no key is set (--public-key)"
        return against(CheckpointFolder(place), [key]), None
