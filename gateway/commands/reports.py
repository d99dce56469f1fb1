"""`quickkub reports` and `quickkub export`: figures that tie to the ledger, and the whole book for auditors."""

import asyncio
from datetime import date, datetime
from pathlib import Path

import asyncpg
import rich_click as click

from gateway.commands import books
from gateway.commands.merchants import open_desk
from gateway.foundation.clock import business_date_of, real_now
from gateway.merchants.clocks import clock_of
from gateway.settlement.reporting import write_finance_reports
from ledger.money import to_text
from reports.audit.export import AuditExport, EmptyBook
from reports.audit.export import export as export_book
from reports.identities import IdentityFailed

_OUT = click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
_DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def reports() -> None:
    """Financial reports; one that does not add up is not written."""


@reports.command()
@click.argument("book_id", type=books.NUMBER)
@_OUT
@click.option("--from", "from_on", type=_DAY, help="First business date; the book's first if not given.")
@click.option("--to", "to_on", type=_DAY, help="Last business date; the book's today if not given.")
def write(book_id: int, out: Path, from_on: datetime | None, to_on: datetime | None) -> None:
    """Trial balance, payouts, and every settlement and reconciliation run of a period, as CSV and JSON."""
    period = (from_on.date() if from_on else None, to_on.date() if to_on else None)
    try:
        paths = asyncio.run(_write(book_id, out, *period))
    except IdentityFailed as error:
        raise click.ClickException(str(error)) from error
    for path in paths:
        print(path)


@click.group()
def export() -> None:
    """Whole books, checkable without us."""


@export.command()
@click.argument("book_id", type=books.NUMBER)
@_OUT
@click.option("--cut", type=books.NUMBER, help="Last sequence; everything if not given.")
def audit(book_id: int, out: Path, cut: int | None) -> None:
    """Beancount and hledger journals, CSV of every column, the chain of blocks and a manifest."""
    try:
        exported = asyncio.run(_audit(book_id, out, cut))
    except (EmptyBook, IdentityFailed) as error:
        raise click.ClickException(str(error)) from error
    for path in exported.files:
        print(path)
    totals = ", ".join(f"{to_text(amount, currency)} {currency}" for currency, amount in exported.control_minor.items())
    print(f"{exported.entries} entries through sequence {exported.cut}, {totals}, chain {exported.chain_head[:16]}…")


async def _write(book_id: int, out: Path, from_on: date | None, to_on: date | None) -> list[Path]:
    async with open_desk() as desk:
        async with desk.database.ledger_pool.acquire() as driver:
            opened_at = await books.opened_at(driver, book_id)
        async with desk.database.read() as connection:
            today = (await clock_of(connection, book_id)).today()
        first_on, last_on = from_on or business_date_of(opened_at), to_on or today
        if first_on > last_on:
            raise click.ClickException(f"the period ends on {last_on}, before it begins on {first_on}")
        return await write_finance_reports(
            desk.database,
            desk.vault,
            book_id=book_id,
            folder=out,
            from_on=first_on,
            to_on=last_on,
            generated_at=real_now(),
        )


async def _audit(book_id: int, out: Path, cut: int | None) -> AuditExport:
    async with open_desk() as desk:
        await books.must_exist(desk.database, book_id)
        # The auditor's login sees the books and nothing of merchants; the app's does where there is no other.
        connection = await asyncpg.connect(desk.settings.auditor_database_url or desk.settings.database_url)
        try:
            return await export_book(connection, book_id, out, generated_at=real_now(), cut=cut)
        finally:
            await connection.close()
