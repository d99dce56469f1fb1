"""`quickkub ledger archive …`: which months can leave the books, taking one out, proving its files, taking it back."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import asyncpg
import rich_click as click
from rich.console import Console
from rich.progress import Progress

from gateway.commands.ledger.common import (
    actor_option,
    iso_day,
    json_option,
    ledger,
    print_json,
    print_table,
    reason_option,
    run,
)
from gateway.foundation.clock import real_now
from gateway.foundation.database import SESSION_SETTINGS
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.settings import Settings, SettingsInvalid
from ledger.archived_exports import Manifest
from ledger.archives import ArchivedMonth, ArchivePlace, archived_months
from ledger.archiving import MonthState, archive_month, months_in_books, restore_month
from ledger.month_exports import load_export, prove_export

READERS = 2


class Month(click.ParamType[date]):
    """A month of the books, in UTC."""

    name = "month"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Its first day, from YYYY-MM and nothing else."""
        if isinstance(value, date):
            return value
        return iso_day(f"{value}-01") or self.fail(f"{value!r} is not a month such as 2026-11", param, ctx)


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@ledger.group()
def archive() -> None:
    """Closed months: taken out of the books of every book at once, oldest first, and back.

    Reading is done by the auditor role, or the app role where AUDITOR_DATABASE_URL is not set. Taking a month out or
    back is the owner's, so DATABASE_OWNER_URL must be set for `month` and `restore`, and for nothing else here.
    """


@archive.command()
@json_option
def months(*, as_json: bool) -> None:
    """Every month that is in the books, oldest first: can it be archived now, and if not, why not."""

    async def read() -> list[MonthState]:
        async with _reading() as [reader]:
            return await months_in_books(reader, at=real_now())

    found = run(read())
    if as_json:
        print_json(
            [{"month": _text(each.month), "ready": not each.obstacles, "why_not": each.obstacles} for each in found]
        )
        return
    print_table(
        ("month", "", "why not"),
        [(_text(each.month), "no" if each.obstacles else "ready", "; ".join(each.obstacles)) for each in found],
        empty="the books have no month",
    )


@archive.command(name="list")
@json_option
def list_(*, as_json: bool) -> None:
    """Every month that was archived, book by book, and where its rows are now."""

    async def read() -> list[ArchivedMonth]:
        async with _reading() as [reader]:
            return await archived_months(reader)

    found = run(read())
    if as_json:
        print_json([_document(each) for each in found])
        return
    print_table(
        ("month", "book>", "first>", "last>", "head hash", "archived", "rows are in"),
        [
            (
                _text(each.month),
                each.book_id,
                each.first_sequence,
                each.last_sequence,
                f"{each.head_hash.hex()[:16]}…",
                f"{each.archived_at:%Y-%m-%d %H:%M}Z",
                "the files only" if each.place is ArchivePlace.EXPORT else each.place.value,
            )
            for each in found
        ],
        empty="no month was ever archived",
    )


@archive.command()
@click.argument("month", type=Month())
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="New folder for the export; its parent is there, and has room for the month.",
)
@actor_option
@reason_option
@yes_option
@json_option
def month(*, month: date, folder: Path, actor: str, reason: str, yes: bool, as_json: bool) -> None:
    """Verify every book of a MONTH, export it, prove the export, take the month out of the books.

    Its tables lie in the schema `ledger_archive` afterwards. Keep the export where nobody can delete it; then the
    tables can be dropped.
    """
    if folder.exists() or not folder.absolute().parent.is_dir():
        raise click.BadParameter("must be new, in a folder that is there", param_hint="--folder")
    if not yes:
        click.confirm(f"Take {_text(month)} out of the books of every book?", abort=True, err=True)

    async def archived() -> Manifest:
        async with _reading(READERS) as readers, _owning() as owner:
            with Progress(transient=True, console=Console(stderr=True)) as shown:
                task = shown.add_task("looking", total=None)
                return await archive_month(
                    owner,
                    month,
                    folder=folder,
                    actor=actor,
                    reason=reason,
                    readers=readers,
                    progress=lambda doing, done, total: shown.update(
                        task, description=doing, completed=done, total=total
                    ),
                )

    manifest = run(archived())
    if as_json:
        print_json({"folder": str(folder), "manifest": manifest})
        return
    print_table(
        ("book>", "first>", "last>", "head hash"),
        [(each.book_id, each.first_sequence, each.last_sequence, each.head_hash) for each in manifest.books],
        empty="no book had anything in it",
    )
    print(f"{manifest.month} is out of the books; its export is in {folder}")


@archive.command()
@click.argument("month", type=Month())
@click.option(
    "--from",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Export to load first, where the tables of the month were dropped.",
)
@actor_option
@reason_option
@yes_option
@json_option
def restore(*, month: date, folder: Path | None, actor: str, reason: str, yes: bool, as_json: bool) -> None:
    """Take the newest archived MONTH back into the books."""
    if not yes:
        click.confirm(f"Take {_text(month)} back into the books?", abort=True, err=True)

    async def restored() -> None:
        async with _owning() as owner:
            with Progress(transient=True, console=Console(stderr=True)) as shown:
                if folder is not None:
                    shown.add_task("loading the export", total=None)
                    await load_export(owner, month, folder)
                shown.add_task("taking it back", total=None)
                await restore_month(owner, month, actor=actor, reason=reason)

    run(restored())
    if as_json:
        print_json({"month": _text(month), "restored": True})
    else:
        print(f"{_text(month)} is back in the books")


@archive.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@json_option
def check(folder: Path, *, as_json: bool) -> None:
    """Prove an export in a FOLDER with nothing but its files; exit code 1 when it does not."""
    manifest = run(prove_export(folder))
    if as_json:
        print_json({"folder": str(folder), "manifest": manifest})
    else:
        rows = sum(each.last_sequence - each.first_sequence + 1 for each in manifest.books)
        print(f"{folder} proves {rows} entries of {len(manifest.books)} books in {manifest.month}")


@asynccontextmanager
async def _reading(count: int = 1) -> AsyncIterator[list[asyncpg.Connection]]:
    """Connections that may read and nothing else, where there is a login for that."""
    async with resolved(Settings.from_environment()) as settings, AsyncExitStack() as stack:
        dsn = settings.auditor_database_url or settings.database_url
        if dsn is None:
            raise SettingsInvalid("DATABASE_URL must be set, or nothing for the embedded servers")
        yield [await stack.enter_async_context(_logged_in(dsn)) for _ in range(count)]


@asynccontextmanager
async def _owning() -> AsyncIterator[asyncpg.Connection]:
    """A connection of the owner of the books."""
    async with resolved(Settings.from_environment()) as settings:
        if settings.database_owner_url is None:
            raise SettingsInvalid("DATABASE_OWNER_URL must be set: only the owner of the books moves months")
        async with _logged_in(settings.database_owner_url) as connection:
            yield connection


@asynccontextmanager
async def _logged_in(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Like all who lock the books it waits two seconds for others, no longer."""
    connection = await asyncpg.connect(dsn, server_settings=SESSION_SETTINGS)
    try:
        yield connection
    finally:
        await connection.close()


def _text(month: date) -> str:
    return f"{month:%Y-%m}"


def _document(each: ArchivedMonth) -> dict[str, Any]:
    return {
        "month": _text(each.month),
        "book": each.book_id,
        "first_sequence": each.first_sequence,
        "last_sequence": each.last_sequence,
        "head_hash": each.head_hash.hex(),
        "merkle_root": each.merkle_root.hex(),
        "manifest_hash": each.manifest_hash.hex(),
        "archived_at": each.archived_at,
        "rows_are_in": each.place.value,
    }
