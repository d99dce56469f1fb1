"""`quickkub ledger hold, expire-holds`: money set aside."""

from uuid import UUID

import asyncpg
import rich_click as click

from gateway.commands.ledger.common import (
    account_document,
    account_text,
    book_option,
    connected,
    json_option,
    ledger,
    print_json,
    run,
)
from gateway.foundation.clock import business_date_of, real_now
from ledger.holds import Hold, expire_hold, expired_holds, hold_by_key
from ledger.journal import Posted
from ledger.money import to_text
from ledger.posting import post_entries

AT_ONCE = 1_000


@ledger.command()
@click.argument("key", type=click.UUID)
@book_option
@json_option
def hold(key: UUID, book: int, *, as_json: bool) -> None:
    """The hold that the entry with this key placed."""

    async def read() -> Hold | None:
        async with connected(book) as connection:
            return await hold_by_key(connection, book, key)

    found = run(read())
    if found is None:
        raise click.ClickException(f"book {book} has no hold {key}")
    state = found.resolved_by.name.lower() if found.resolved_by else "open"
    if as_json:
        names = ("key", "sequence", "amount_minor", "expires_at", "posted_minor")
        print_json(
            {name: getattr(found, name) for name in names}
            | {"debit": account_document(found.debit), "credit": account_document(found.credit), "state": state}
        )
        return
    amount = to_text(found.amount_minor, found.debit.currency)
    print(f"{account_text(found.debit)} ← {account_text(found.credit)}  {amount} {found.debit.currency}: {state}")
    print(f"expires {found.expires_at or 'never'}; posted {to_text(found.posted_minor, found.debit.currency)}")


@ledger.command(name="expire-holds")
@book_option
def expire_holds(book: int) -> None:
    """Give free what is overdue; the worker does the same now and then."""
    print(f"book {book}: {run(_expire(book))} holds expired")


async def _expire(book: int) -> int:
    async with connected(book) as connection:
        return await expire_overdue(connection, book)


async def expire_overdue(connection: asyncpg.Connection, book: int) -> int:
    """Expire what is overdue now; how many were."""
    now, expired = real_now(), 0
    while holds := await expired_holds(connection, book, at=now, limit=AT_ONCE):
        entries = [expire_hold(each, effective_on=business_date_of(now)) for each in holds]
        results = await post_entries(connection, book, entries)
        expired += sum(isinstance(result, Posted) and not result.replayed for result in results)
        if not any(isinstance(result, Posted) for result in results):
            break
    return expired
