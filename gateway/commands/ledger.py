"""`quickkub ledger`: look into the books and prove them. Nothing here writes."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg
import rich_click as click
from rich.progress import Progress

from gateway.commands import books
from gateway.foundation.database import SESSION_SETTINGS
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.settings import Settings, SettingsInvalid
from ledger.accounts import LIVE_BOOK
from ledger.balances import Balance, TrialBalanceRow, all_balances, trial_balance
from ledger.errors import BookNotFound
from ledger.feed import RecordedEntry, read_entries
from ledger.journal import AccountRef
from ledger.money import to_text
from ledger.verification import VerificationReport, verify

book_option = click.option(
    "--book", type=books.NUMBER, default=LIVE_BOOK, show_default=True, help="Number of the book."
)
date_type = click.DateTime(["%Y-%m-%d"])


@click.group()
def ledger() -> None:
    """The books: balances, trial balance, entries, verification."""


@ledger.command(name="verify")
@book_option
def verify_(book: int) -> None:
    """Re-add a book by another road; exit code 1 when anything is not as it should be."""
    try:
        report = asyncio.run(_verify(book))
    except BookNotFound as error:
        raise click.ClickException(str(error)) from error
    for check in report.checks:
        print(f"{'ok    ' if check.passed else 'BROKEN'}  {check.name:<20} {check.rows:>10} rows  {check.detail}")
    print(f"book {book}, head {report.head}, {report.head_hash.hex()}: {'verified' if report.passed else 'BROKEN'}")
    sys.exit(0 if report.passed else 1)


@ledger.command()
@book_option
def balance(book: int) -> None:
    """Every account's balance now, on its normal side."""
    for each in asyncio.run(_balances(book)):
        amount = to_text(each.balance_minor, each.account.currency)
        print(f"{_name(each.account):<60} {amount:>20} {each.account.currency}")


@ledger.command(name="trial-balance")
@book_option
@click.option("--from", "from_on", type=date_type, help="First business date; none = from the beginning.")
@click.option("--to", "to_on", type=date_type, help="Last business date; none = no end.")
@click.option("--cut", type=books.NUMBER, help="Only entries up to this sequence.")
def trial_balance_(book: int, from_on: datetime | None, to_on: datetime | None, cut: int | None) -> None:
    """Opening, turnover and closing of every account by business date; debits must equal credits."""
    rows = asyncio.run(_trial_balance(book, from_on, to_on, cut))
    for row in rows:
        amounts = (row.opening_minor, row.debits_minor, row.credits_minor, row.closing_minor)
        columns = " ".join(f"{to_text(amount, row.account.currency):>16}" for amount in amounts)
        print(f"{row.code} {_name(row.account):<56} {columns} {row.account.currency}")
    for currency in sorted({row.account.currency for row in rows}):
        of_currency = [row for row in rows if row.account.currency == currency]
        debits = sum(row.closing_debit_minor for row in of_currency)
        credits_ = sum(row.closing_credit_minor for row in of_currency)
        print(f"closing {currency}: debit {to_text(debits, currency)}, credit {to_text(credits_, currency)}")


@ledger.command()
@book_option
@click.option(
    "--after", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Only entries after this sequence."
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many entries.")
def entries(book: int, after: int, limit: int) -> None:
    """Entries in order, with their postings."""
    for each in asyncio.run(_entries(book, after, limit)):
        references = " ".join(f"{reference.scheme}={reference.value}" for reference in each.references)
        print(f"{each.sequence} {each.kind.name.lower()} {each.effective_on} {each.key} {references}")
        for posting in each.postings:
            amount = to_text(posting.amount_minor, posting.debit.currency)
            print(f"    {_name(posting.debit)} ← {_name(posting.credit)}  {amount} {posting.debit.currency}")


@asynccontextmanager
async def _connected(book: int) -> AsyncIterator[asyncpg.Connection]:
    async with resolved(Settings.from_environment()) as settings:
        if settings.database_url is None:
            raise SettingsInvalid("DATABASE_URL must be set, or nothing for the embedded servers")
        connection = await asyncpg.connect(settings.database_url, server_settings=SESSION_SETTINGS)
        try:
            await books.opened_at(connection, book)
            yield connection
        finally:
            await connection.close()


async def _verify(book: int) -> VerificationReport:
    with Progress(transient=True) as shown:
        task = shown.add_task("verifying", total=None)
        async with _connected(book) as connection:
            return await verify(
                connection, book, progress=lambda done, total: shown.update(task, completed=done, total=total)
            )


async def _balances(book: int) -> list[Balance]:
    async with _connected(book) as connection:
        return await all_balances(connection, book)


async def _trial_balance(
    book: int, from_on: datetime | None, to_on: datetime | None, cut: int | None
) -> list[TrialBalanceRow]:
    async with _connected(book) as connection:
        return await trial_balance(
            connection, book, from_on=from_on and from_on.date(), to_on=to_on and to_on.date(), cut=cut
        )


async def _entries(book: int, after: int, limit: int) -> Sequence[RecordedEntry]:
    async with _connected(book) as connection:
        return await read_entries(connection, book, after=after, limit=limit)


def _name(account: AccountRef) -> str:
    return f"{account.kind.name.lower()}:{account.owner}"
