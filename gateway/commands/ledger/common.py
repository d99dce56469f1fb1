"""What the commands of the ledger share: the group, a connection to a book, tables and JSON."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg
import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from gateway.checkpoints import SigningKey, public_key_of
from gateway.commands import books
from gateway.commands.merchants import filled
from gateway.foundation.database import SESSION_SETTINGS
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.settings import Settings, SettingsInvalid
from ledger.account_listing import AccountFilter, accounts
from ledger.accounts import LIVE_BOOK
from ledger.chart_of_accounts import AccountKind
from ledger.errors import LedgerError
from ledger.feed import head
from ledger.journal import AccountRef
from ledger.money import CURRENCY_EXPONENTS

Result = TypeVar("Result")

book_option = click.option(
    "--book", type=books.NUMBER, default=LIVE_BOOK, show_default=True, help="Number of the book."
)
json_option = click.option("--json", "as_json", is_flag=True, help="As JSON; amounts are whole minor units.")
reason_option = click.option("--reason", required=True, callback=filled, help="Why, for the auditor; no personal data.")
actor_option = click.option("--actor", required=True, callback=filled, help="Who decided: an opaque id, such as op_….")
currency_option = click.option(
    "--currency", type=click.Choice(list(CURRENCY_EXPONENTS)), metavar="CODE", help="Only this currency, such as THB."
)
folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where checkpoints are published; else the setting.",
)
public_key_option = click.option(
    "--public-key",
    "public_key_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="PEM of the key that checkpoints are signed with; else that of CHECKPOINT_SIGNING_KEY.",
)
SEQUENCE: Final = click.IntRange(0, 2**63 - 1)
OWNER_BYTES_MAX: Final = 200
LINE_COLUMNS: Final = 200
"""Wide enough for a table in a file or a pipe, where no terminal says how wide it is."""


def iso_day(text: str) -> date | None:
    """The date that is written YYYY-MM-DD and in no other way."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if found.isoformat() == text else None


class Day(click.ParamType[date]):
    """A business date."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """YYYY-MM-DD and nothing else."""
        if isinstance(value, date):
            return value
        return iso_day(value) or self.fail(f"{value!r} is not a date such as 2026-11-23", param, ctx)


class AccountName(click.ParamType[AccountRef]):
    """An account by name: `kind:owner`, or `kind:owner:CURRENCY` where it is not THB."""

    name = "kind:owner[:currency]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> AccountRef:
        """The account that the words name."""
        if isinstance(value, AccountRef):
            return value
        kind, _, rest = value.partition(":")
        owner, currency = rest, "THB"
        if _ends_as_currency(rest):
            owner, currency = rest[:-4], rest[-3:]
            if currency not in CURRENCY_EXPONENTS:
                self.fail(f"{currency!r} is no currency; one of {', '.join(CURRENCY_EXPONENTS)}", param, ctx)
        if kind.upper() not in AccountKind.__members__:
            self.fail(f"{kind!r} is no kind of account; one of {', '.join(kind_names())}", param, ctx)
        if not owner:
            self.fail(f"{value!r} names no owner: {kind}:- is the house's own", param, ctx)
        if not owner.isprintable() or len(owner.encode()) > OWNER_BYTES_MAX:
            self.fail(f"an owner has at most {OWNER_BYTES_MAX} bytes, all of them to be read", param, ctx)
        return AccountRef(AccountKind[kind.upper()], owner, currency)


@click.group()
def ledger() -> None:
    """The books: accounts, entries, balances, periods; proving them and giving them out.

    The audit export with all columns, Beancount and hledger journals is `quickkub export`.
    """


def kind_names() -> list[str]:
    """The kinds of account as the command line writes them."""
    return [kind.name.lower() for kind in AccountKind]


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """The result; what the ledger cannot do is one sentence."""
    try:
        return asyncio.run(work)
    except LedgerError as error:
        raise click.ClickException(str(error)) from error


@asynccontextmanager
async def connected(book: int) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the app role, to a book that is there."""
    async with resolved(Settings.from_environment()) as settings:
        if settings.database_url is None:
            raise SettingsInvalid("DATABASE_URL must be set, or nothing for the embedded servers")
        connection = await asyncpg.connect(settings.database_url, server_settings=SESSION_SETTINGS)
        try:
            await books.opened_at(connection, book)
            yield connection
        finally:
            await connection.close()


async def must_be_there(connection: asyncpg.Connection, book: int, sequence: int) -> None:
    """What a book says at an entry never changes, so nothing is said of an entry that is not there yet.

    Raises:
        ClickException: the book does not go so far.
    """
    last = await head(connection, book)
    if sequence > last:
        raise click.ClickException(f"book {book} has entries through {last}; {sequence} is not there yet")


async def warn_of_unopened(connection: asyncpg.Connection, book: int, named: Iterable[AccountRef]) -> None:
    """An account that is not open has a balance of nothing; so has a mistyped one."""
    for account in named:
        wanted = AccountFilter(kinds=[account.kind], owner=account.owner, currency=account.currency)
        if not await accounts(connection, book, wanted, limit=1):
            click.echo(f"{account_text(account)} is not open: nothing was ever posted to it", err=True)


def public_key(settings: Settings, file: Path | None) -> bytes | None:
    """The key that checkpoints must be signed with: of the file, else of the settings; None where neither says.

    Raises:
        ClickException: the file holds no such key.
    """
    if file is not None:
        try:
            return public_key_of(file.read_bytes())
        except (TypeError, ValueError) as error:
            raise click.ClickException(f"{file} holds no Ed25519 public key in PEM") from error
    key = settings.checkpoint_signing_key
    return None if key is None else SigningKey(key).public_key


@asynccontextmanager
async def pooled(book: int) -> AsyncIterator[asyncpg.Pool]:
    """Connections of the app role, lent one at a time, to a book that is there."""
    async with resolved(Settings.from_environment()) as settings:
        if settings.database_url is None:
            raise SettingsInvalid("DATABASE_URL must be set, or nothing for the embedded servers")
        pool = asyncpg.create_pool(settings.database_url, min_size=1, max_size=1, server_settings=SESSION_SETTINGS)
        async with pool:
            async with pool.acquire() as connection:
                await books.opened_at(connection, book)
            yield pool


def account_text(account: AccountRef) -> str:
    """An account as `AccountName` reads it."""
    suffix = f":{account.currency}" if account.currency != "THB" or _ends_as_currency(account.owner) else ""
    return f"{account.kind.name.lower()}:{account.owner}{suffix}"


def _ends_as_currency(text: str) -> bool:
    """Whether it ends in a colon and three letters: `book:101`, an owner, does not."""
    return text[-4:-3] == ":" and text[-3:].isalpha()


def account_document(account: AccountRef) -> dict[str, str]:
    """An account in JSON."""
    return {"kind": account.kind.name.lower(), "owner": account.owner, "currency": account.currency}


def print_json(document: Any) -> None:
    """One line of JSON; dates and times in ISO 8601, ids as text."""
    print(msgspec.json.encode(document).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table; columns whose name ends in `>` stand on the right. Where there is no row, the sentence `empty`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.rstrip(">"), justify="right" if column.endswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    if not table.row_count:
        print(empty)
        return
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = LINE_COLUMNS
    console.print(table)
