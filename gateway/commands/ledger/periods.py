"""`quickkub ledger periods, close-period`: accounting periods, from open to closed."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import date
from itertools import count
from typing import Any
from uuid import UUID, uuid5

import asyncpg
import rich_click as click

from gateway.commands.ledger.common import (
    Day,
    account_document,
    account_text,
    actor_option,
    book_option,
    connected,
    json_option,
    ledger,
    print_json,
    print_table,
    reason_option,
    run,
)
from ledger.errors import MonthArchived
from ledger.feed import entry_by_key
from ledger.journal import JournalEntry, LinkedGroup, Posted
from ledger.money import to_text
from ledger.periods import (
    Period,
    PeriodRefusal,
    PeriodState,
    begin_closing,
    close_period,
    open_period,
    periods,
    reopen_period,
    year_end,
)
from ledger.posting import post_entries

YEAR_ENDS = UUID("8f3c1f4e-6b0b-5d4e-9d53-6f0f8a2f6d10")
"""Names the closing entries of a year, so that closing it twice posts them once."""
ACTS: dict[str, Callable[..., Awaitable[PeriodRefusal | None]]] = {
    "begin": begin_closing,
    "close": close_period,
    "reopen": reopen_period,
}


@ledger.command(name="periods")
@book_option
@json_option
def periods_(book: int, *, as_json: bool) -> None:
    """The accounting periods of a book."""

    async def read() -> list[Period]:
        async with connected(book) as connection:
            return await periods(connection, book)

    found = run(read())
    if as_json:
        print_json(found)
        return
    print_table(
        ("from", "to", "state", "since", "closed at>"),
        [
            (
                each.starts_on,
                each.ends_on,
                each.state.value,
                f"{each.changed_at:%Y-%m-%d %H:%M}Z",
                each.closed_at_sequence,
            )
            for each in found
        ],
        empty=f"book {book} has no periods: nothing of it can be closed (define-period makes the first)",
    )


@ledger.command(name="define-period")
@book_option
@click.option("--from", "starts_on", type=Day(), required=True, help="First business date.")
@click.option("--to", "ends_on", type=Day(), required=True, help="Last business date.")
@actor_option
@reason_option
@json_option
def define_period(book: int, starts_on: date, ends_on: date, actor: str, reason: str, *, as_json: bool) -> None:
    """Define the next period; it must follow the last one."""
    _act(
        book,
        open_period,
        f"{starts_on} … {ends_on} is open",
        as_json=as_json,
        starts_on=starts_on,
        ends_on=ends_on,
        actor=actor,
        reason=reason,
    )


@ledger.command(name="close-period")
@book_option
@click.option("--to", "ends_on", type=Day(), required=True, help="Last business date of the period.")
@click.option(
    "--step",
    type=click.Choice(list(ACTS)),
    required=True,
    help="begin: only adjusting entries from now on; close: none; reopen: the last one, on the record.",
)
@actor_option
@reason_option
@json_option
def close_period_(book: int, ends_on: date, step: str, actor: str, reason: str, *, as_json: bool) -> None:
    """Close a period in two steps, or reopen the last closed one. Late facts go to the first open day."""
    done = f"period through {ends_on}: {step} done"
    _act(book, ACTS[step], done, as_json=as_json, ends_on=ends_on, actor=actor, reason=reason)


@ledger.command(name="close-year")
@book_option
@click.option("--to", "ends_on", type=Day(), required=True, help="Last business date of the year.")
@click.option("--post", is_flag=True, help="Post the entries; without it they are only shown.")
@actor_option
@json_option
def close_year(book: int, ends_on: date, actor: str, *, post: bool, as_json: bool) -> None:
    """Show or post the entries that move income and expense into retained earnings; its last period must be closing."""

    async def closed() -> tuple[list[JournalEntry], list[Any]]:
        async with connected(book) as connection:
            if post and not any(
                each.ends_on == ends_on and each.state is PeriodState.CLOSING
                for each in await periods(connection, book)
            ):
                raise click.ClickException(f"refused: no period of book {book} that ends on {ends_on} is closing")
            key = await _free_key(connection, book, ends_on)
            entries = await year_end(connection, book, ends_on=ends_on, key=key, caller=actor)
            results = await post_entries(connection, book, [LinkedGroup(tuple(entries))]) if post and entries else []
            return list(entries), list(results)

    entries, results = run(closed())
    for result in results:
        if not isinstance(result, Posted):
            raise click.ClickException(f"refused: {result.refusal.code}")
    if as_json:
        lines = [
            {
                "debit": account_document(line.debit),
                "credit": account_document(line.credit),
                "amount_minor": line.amount_minor,
            }
            for entry in entries
            for line in entry.postings
        ]
        print_json({"postings": lines, "posted": [result.sequence for result in results]})
        return
    if not entries:
        print(f"book {book} has no income or expense through {ends_on}")
    for entry in entries:
        for line in entry.postings:
            amount = to_text(line.amount_minor, line.debit.currency)
            print(f"{account_text(line.debit)} ← {account_text(line.credit)}  {amount} {line.debit.currency}")
    for result in results:
        print(f"posted as entry {result.sequence}")


async def _free_key(connection: asyncpg.Connection, book: int, ends_on: date) -> UUID:
    """The first key of this year's end that is not taken: what is adjusted after an end is closed by another one.

    It is looked for before balances are read: of two who close at once, one gets a replay or nothing to close.
    """
    for number in count():
        key = uuid5(YEAR_ENDS, f"{book} {ends_on} {number}" if number else f"{book} {ends_on}")
        with suppress(MonthArchived):
            if await entry_by_key(connection, book, key) is None:
                return key
    raise AssertionError


def _act(
    book: int,
    act: Callable[..., Awaitable[PeriodRefusal | None]],
    done: str,
    *,
    as_json: bool,
    ends_on: date,
    **arguments: Any,
) -> None:
    async def acted() -> tuple[PeriodRefusal | None, list[Period]]:
        async with connected(book) as connection:
            refusal = await _called(act, connection, book, {"ends_on": ends_on, **arguments})
            return refusal, await periods(connection, book) if as_json else []

    refusal, found = run(acted())
    if refusal is not None:
        raise click.ClickException(f"refused: {refusal.code}")
    if as_json:
        print_json(next(each for each in found if each.ends_on == ends_on))
    else:
        print(f"book {book}: {done}")


async def _called(
    act: Callable[..., Awaitable[PeriodRefusal | None]],
    connection: asyncpg.Connection,
    book: int,
    arguments: dict[str, Any],
) -> PeriodRefusal | None:
    return await act(connection, book, **arguments)
