"""`quickkub ledger feed, consumers, rewind`: following the books from outside, with a cursor that is kept in them."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from uuid import uuid4

import msgspec
import rich_click as click

from gateway.commands.ledger.common import (
    SEQUENCE,
    actor_option,
    book_option,
    connected,
    json_option,
    ledger,
    pooled,
    print_json,
    print_table,
    reason_option,
    run,
)
from gateway.commands.ledger.entries import entry_document
from ledger.consumers import LEASE_SECONDS, Consumer, claim, consume, consumers, rewind
from ledger.feed import RecordedEntry, head

NAME_BYTES_MAX = 100


@ledger.command()
@click.argument("name")
@book_option
@click.option("--start", type=SEQUENCE, default=0, show_default=True, help="A new NAME begins after this sequence.")
@click.option("--once", is_flag=True, help="End when nothing is new, instead of waiting for more.")
def feed(name: str, book: int, start: int, *, once: bool) -> None:
    """Every entry of a book, one JSON object a line, from where NAME was left, and what is posted from now on.

    The cursor of NAME lies in the database and moves when a batch was written out: after a crash up to 500 entries
    come again, none is left out. One process a NAME at a time. Ends on SIGINT and SIGTERM.
    """
    if not 1 <= len(name.encode()) <= NAME_BYTES_MAX:
        raise click.BadParameter("must have 1 to 100 bytes", param_hint="NAME")
    run(_feed(name, book, start, once=once))


async def _feed(name: str, book: int, start: int, *, once: bool) -> None:
    holder, stop, hint = uuid4(), asyncio.Event(), asyncio.Event()

    def end() -> None:
        stop.set()
        hint.set()

    async with pooled(book) as pool:
        async with pool.acquire() as connection:
            if start > await head(connection, book):
                raise click.BadParameter("is beyond the last entry of the book", param_hint="--start")
            if await claim(connection, book, name, holder=holder, start=start) is None:
                raise click.ClickException(
                    f"another process follows book {book} as {name}; one that died is forgotten after {LEASE_SECONDS} s"
                )
        with suppress(ValueError, RuntimeError):  # only a main thread can be told to stop
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, end)
        await consume(pool, book, name, _write, stop=stop, hint=hint, holder=holder, until_idle=once)


async def _write(entries: Sequence[RecordedEntry]) -> None:
    encoder = msgspec.json.Encoder()
    out = sys.stdout.buffer
    out.write(b"".join(encoder.encode(entry_document(entry)) + b"\n" for entry in entries))
    out.flush()


@ledger.command(name="consumers")
@book_option
@json_option
def consumers_(book: int, *, as_json: bool) -> None:
    """Who follows a book, and how far each has come."""

    async def read() -> list[Consumer]:
        async with connected(book) as connection:
            return await consumers(connection, book)

    found = run(read())
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "through>", "behind>", "turn until"),
        [
            (each.name, each.sequence, each.behind, each.leased_until and f"{each.leased_until:%Y-%m-%d %H:%M:%S}Z")
            for each in found
        ],
        empty=f"nobody follows book {book}",
    )


@ledger.command(name="rewind")
@click.argument("name")
@book_option
@click.option("--to", type=SEQUENCE, required=True, help="Last sequence that shall not come again.")
@actor_option
@reason_option
def rewind_(name: str, book: int, to: int, actor: str, reason: str) -> None:
    """Take the cursor of NAME back, so that entries come again; on the record."""

    async def act() -> bool:
        async with connected(book) as connection:
            return await rewind(connection, book, name, to=to, actor=actor, reason=reason)

    if not run(act()):
        raise click.ClickException(f"{name} of book {book} is not beyond {to}")
    print(f"{name} of book {book} goes on after {to}")
