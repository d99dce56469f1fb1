"""`quickkub reconciliation`: bring statements in by hand, reconcile a book, see what does not agree."""

import asyncio
import csv
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import msgspec
import rich_click as click

from gateway.bootstrap import open_services
from gateway.commands import books
from gateway.commands.merchants import open_desk
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.settings import Settings
from gateway.merchants.clocks import clock_of
from ledger.money import to_text
from reconciliation.breaks import Break, listed
from reconciliation.errors import ReconciliationError
from reconciliation.importing import ImportResult, RawFile, rejected_lines
from reconciliation.runs import RunResult
from reconciliation.statements.base import RejectedLine
from reconciliation.statements.registry import FORMATS

_BREAKS_SHOWN = 1_000


@click.group()
def reconciliation() -> None:
    """Statements of others, held against our books."""


@reconciliation.command(name="import")
@click.argument("book_id", type=books.NUMBER)
@click.argument("source", type=click.Choice(sorted(FORMATS)))
@click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--rejects", type=click.Path(path_type=Path), help="Where; <file>.rejects.csv if not given.")
def import_(book_id: int, source: str, path: Path, rejects: Path | None) -> None:
    """Keep a statement file: all of it or nothing, and no line twice.

    A single line that cannot be read is rejected, with its place and reason, into a file beside the statement.
    """
    file = RawFile(source=source, name=path.name, content=path.read_bytes())
    try:
        result, rejected = asyncio.run(_import(book_id, file))
    except ReconciliationError as error:
        raise click.ClickException(f"{path}: {error}") from error
    print(f"{result.status.replace('_', ' ')}  {result.file_id}")
    print(f"lines       {result.lines}")
    print(f"duplicates  {result.duplicates}")
    print(f"rejected    {result.rejected}")
    if rejected:
        print(f"see         {_write_rejects(rejects or path.with_name(f'{path.name}.rejects.csv'), rejected)}")


@reconciliation.command()
@click.argument("book_id", type=books.NUMBER)
@click.option("--on", type=click.DateTime(["%Y-%m-%d"]), help="Business date; the book's today if not given.")
@click.option("--dry-run", is_flag=True, help="Say what a run would find; keep and post nothing.")
def run(book_id: int, on: datetime | None, *, dry_run: bool) -> None:
    """Match, settle, find breaks and tie out through a business date. Safe to repeat."""
    try:
        result = asyncio.run(_run(book_id, on.date() if on else None, dry_run=dry_run))
    except ReconciliationError as error:
        raise click.ClickException(str(error)) from error
    for source in result.sources:
        print(
            f"{source.source:<20} lines {source.lines.count}, matched {source.matched.count}, "
            f"unmatched {source.unmatched.count}, rejected {source.rejected.count}, "
            f"duplicates {source.duplicates.count}"
        )
    for group in result.groups:
        amount = to_text(group.bank_minor, group.currency)
        print(
            f"{group.kind:<20} {group.provider} {group.value_on} {amount} {group.currency} ({group.line_count} lines)"
        )
    for bank in result.banks:
        print(f"bank {bank.bank:<15} unexplained {to_text(bank.remainder_minor, bank.currency)} {bank.currency}")
    for provider in result.providers:
        unexplained = to_text(provider.remainder_minor, provider.currency)
        print(f"provider {provider.provider:<11} unexplained {unexplained} {provider.currency}")
    _show(result.breaks, result.business_on)


@reconciliation.command()
@click.argument("book_id", type=books.NUMBER)
def breaks(book_id: int) -> None:
    """What does not agree: age, kind, owner, amount, why. Oldest first."""
    found, today = asyncio.run(_breaks(book_id))
    _show(found, today)


def _show(found: Sequence[Break], today: date) -> None:
    print(f"breaks               {len(found)}")
    for each in found:
        amount = f"{to_text(each.amount_minor, each.currency)} {each.currency}"
        print(f"{each.break_id}  {each.age_days(today)} d  {each.kind}  {each.owner}  {amount}  {each.reason}")


def _write_rejects(path: Path, rejected: Sequence[RejectedLine]) -> Path:
    columns = [field.name for field in msgspec.structs.fields(RejectedLine)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([getattr(line, column) for column in columns] for line in rejected)
    return path


async def _import(book_id: int, file: RawFile) -> tuple[ImportResult, list[RejectedLine]]:
    async with resolved(Settings.from_environment()) as settings, open_services(settings) as services:
        await books.must_exist(services.database, book_id)
        result = await services.daily.import_file(book_id, file)
        async with services.database.ledger_pool.acquire() as connection:
            return result, await rejected_lines(connection, book_id=book_id, file_id=result.file_id)


async def _run(book_id: int, on: date | None, *, dry_run: bool) -> RunResult:
    async with resolved(Settings.from_environment()) as settings, open_services(settings) as services:
        await books.must_exist(services.database, book_id)
        async with services.database.read() as connection:
            today = (await clock_of(connection, book_id)).today()
        return await services.daily.reconcile(book_id, on or today, dry_run=dry_run)


async def _breaks(book_id: int) -> tuple[list[Break], date]:
    async with open_desk() as desk:
        await books.must_exist(desk.database, book_id)
        async with desk.database.read() as connection:
            today = (await clock_of(connection, book_id)).today()
        found: list[Break] = []
        async with desk.database.ledger_pool.acquire() as driver:
            after: Break | None = None
            while page := await listed(driver, book_id=book_id, after=after, limit=_BREAKS_SHOWN):
                found += page
                after = page[-1]
        return found, today
