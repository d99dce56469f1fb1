"""`quickkub ledger verify`: re-adding a book."""

import sys

import msgspec
import rich_click as click
from rich.progress import Progress

from gateway.checkpoints import SigningKey
from gateway.commands.ledger.common import book_option, connected, json_option, ledger, print_json, print_table, run
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.settings import Settings
from ledger.checkpoint_folder import CheckpointFolder
from ledger.checks_of_checkpoints import against
from ledger.verification import SingleCheck, VerificationReport, verify


@ledger.command(name="verify")
@book_option
@click.option("--independent", is_flag=True, help="Read every row in plain Python: slower, and easy to follow.")
@json_option
def verify_(book: int, *, independent: bool, as_json: bool) -> None:
    """Re-add a book by another road; exit code 1 when anything is not as it should be.

    Where a folder of published checkpoints is set, the books are compared with them too.
    """
    report = run(_verify(book, independent=independent))
    if as_json:
        print_json(
            {
                "book": book,
                "head": report.head,
                "head_hash": report.head_hash.hex(),
                "passed": report.passed,
                "checks": [msgspec.to_builtins(check) for check in report.checks],
            }
        )
    else:
        print_table(
            ("", "check", "rows>", ""),
            [("ok" if each.passed else "BROKEN", each.name, each.rows, each.detail) for each in report.checks],
            empty="no check ran",
        )
        said = "verified" if report.passed else "BROKEN"
        print(f"book {book}, head {report.head}, {report.head_hash.hex()}: {said}")
    sys.exit(0 if report.passed else 1)


async def _verify(book: int, *, independent: bool) -> VerificationReport:
    published = await _published()
    with Progress(transient=True) as shown:
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


async def _published() -> SingleCheck | None:
    """The comparison with what was published, where there is a key and a folder."""
    async with resolved(Settings.from_environment()) as settings:
        key, folder = settings.checkpoint_signing_key, settings.checkpoint_folder
        if key is None or folder is None or not folder.is_dir():
            return None
        return against(CheckpointFolder(folder), [SigningKey(key).public_key])
