"""`quickkub settlement`: settle a book, let payouts go, see the files that went to the bank."""

import asyncio
from datetime import date, datetime
from pathlib import Path

import rich_click as click
from sqlalchemy import select

from gateway.bootstrap import open_services
from gateway.commands import books
from gateway.commands.merchants import actor, open_desk
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.settings import Settings
from gateway.merchants.clocks import clock_of
from gateway.settlement.files import PayoutFiles
from gateway.settlement.payouts import IllegalMove, Payout
from gateway.settlement.runs import SettlementResult
from gateway.settlement.tables import payout_files
from ledger.money import to_text


@click.group()
def settlement() -> None:
    """Settlement of books and payouts to merchants."""


@settlement.command()
@click.argument("book_id", type=books.NUMBER)
@click.option("--on", type=click.DateTime(["%Y-%m-%d"]), help="Business date; the book's today if not given.")
def run(book_id: int, on: datetime | None) -> None:
    """Settle every merchant of a book and hand the payouts to the bank. Safe to repeat."""
    result = asyncio.run(_run(book_id, on.date() if on else None))
    print(f"settlements  {result.settlements}")
    print(f"available    {to_text(result.became_available_minor, 'THB')} THB")
    print(f"payouts      {result.payouts} of {to_text(result.payouts_minor, 'THB')} THB")
    print(f"refused      {result.payouts_refused}")
    print(f"files sent   {result.files_submitted}")


@settlement.command()
@click.argument("book_id", type=books.NUMBER)
@click.argument("payout_id")
@click.option("--reason", required=True, help="Why, for the record.")
def approve(book_id: int, payout_id: str, reason: str) -> None:
    """Let a live payout go to the bank with the next file."""
    try:
        payout = asyncio.run(_approve(book_id, payout_id, reason))
    except (IllegalMove, LookupError) as error:
        raise click.ClickException(str(error)) from error
    print(f"{payout.payout_id}  {payout.state}")


@settlement.command()
@click.argument("book_id", type=books.NUMBER)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
def files(book_id: int, out: Path) -> None:
    """Write the payout files of a book, opened, as the bank got them."""
    for path in asyncio.run(_files(book_id, out)):
        print(path)


async def _run(book_id: int, on: date | None) -> SettlementResult:
    async with resolved(Settings.from_environment()) as settings, open_services(settings) as services:
        await books.must_exist(services.database, book_id)
        async with services.database.read() as connection:
            today = (await clock_of(connection, book_id)).today()
        return await services.settlement.run(book_id, on or today)


async def _approve(book_id: int, payout_id: str, reason: str) -> Payout:
    async with resolved(Settings.from_environment()) as settings, open_services(settings) as services:
        return await services.settlement.payouts.approve(book_id, payout_id, actor=actor(), reason=reason)


async def _files(book_id: int, out: Path) -> list[Path]:
    async with open_desk() as desk:
        await books.must_exist(desk.database, book_id)
        f = payout_files.c
        statement = select(f.payout_file_id, f.message_id).where(f.book_id == book_id).order_by(f.payout_file_id)
        async with desk.database.read() as connection:
            found = list(await connection.execute(statement))
        opened = PayoutFiles(desk.database, desk.vault)
        contents = {f"{message_id}.xml": await opened.content(book_id, file_id) for file_id, message_id in found}
    return _written(contents, out)


def _written(contents: dict[str, bytes], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, content in contents.items():
        path = folder / name
        path.write_bytes(content)
        paths.append(path)
    return paths
