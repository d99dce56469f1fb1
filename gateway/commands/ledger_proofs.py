"""`quickkub ledger checkpoint, checkpoints, prove, restored, public-key`: the chain to the outside."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec
import rich_click as click
from rich.console import Console
from rich.progress import Progress

from gateway import checkpoints as published
from gateway.commands import books
from gateway.commands.ledger import book_option, ledger
from gateway.commands.ledger.common import folder_option, public_key_option
from gateway.commands.ledger.common import public_key as trusted_key
from gateway.commands.merchants import actor, filled
from gateway.foundation.database import SESSION_SETTINGS
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.settings import Settings, SettingsInvalid
from ledger.checkpoint_format import SignedCheckpoint
from ledger.checkpoints import make_checkpoint, recorded_checkpoints
from ledger.checks import Problems
from ledger.checks_of_checkpoints import against
from ledger.errors import LedgerError
from ledger.proofs import prove
from ledger.restoring import Restoration, restored

__all__ = ["ledger"]

_JSON: Final = click.option("--json", "as_json", is_flag=True, help="As JSON on one line.")


@ledger.command()
@book_option
@folder_option
@_JSON
def checkpoint(book: int, folder: Path | None, *, as_json: bool) -> None:
    """Sign and publish what is new since the last checkpoint; nothing when nothing is."""
    with _said_plainly():
        made = asyncio.run(_checkpoint(book, folder))
    if as_json:
        _print_json(None if made is None else _as_document(made))
    elif made is None:
        print(f"nothing is new in book {book}")
    else:
        print(_line(made))


@ledger.command(name="checkpoints")
@book_option
@folder_option
@_JSON
@click.option(
    "--check", is_flag=True, help="Compare everything published with the books; exit code 1 if anything differs."
)
@public_key_option
def checkpoints_(book: int, folder: Path | None, public_key_file: Path | None, *, as_json: bool, check: bool) -> None:
    """The recorded checkpoints of a book."""
    with _said_plainly():
        recorded, problems = asyncio.run(_checkpoints(book, folder, public_key_file, check=check))
    if as_json:
        _print_json(
            {
                "checkpoints": [_as_document(each) for each in recorded],
                "problems": None if problems is None else problems.found,
            }
        )
    else:
        for each in recorded:
            print(_line(each))
        for found in problems.found if problems else ():
            print(f"BROKEN  {found}")
        if problems and not problems.count:
            print(f"ok      {problems.note}")
    raise SystemExit(1 if problems and problems.count else 0)


@ledger.command(name="prove")
@book_option
@click.option("--entry", type=books.NUMBER, help="Sequence of the one entry to prove.")
@click.option("--from", "first", type=books.NUMBER, help="First sequence of a range to prove complete.")
@click.option("--to", "last", type=books.NUMBER, help="Last sequence of the range.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write.")
@_JSON
def prove_(book: int, entry: int | None, first: int | None, last: int | None, out: Path, *, as_json: bool) -> None:
    """Write a proof that an entry is in the books, or that a range is all there is, for `verify_proof.py`."""
    if entry is not None and first is None and last is None:
        first = last = entry
    if first is None or last is None or (entry is not None and (first, last) != (entry, entry)):
        raise click.UsageError("say either --entry, or --from and --to")
    if last < first:
        raise click.UsageError(f"the range ends at {last}, before it begins at {first}")
    with _said_plainly():
        asyncio.run(_prove(book, first, last, out))
    if as_json:
        _print_json({"book": book, "first_sequence": first, "last_sequence": last, "file": str(out)})
    else:
        what = f"entry {first}" if first == last else f"entries {first} … {last}"
        print(f"{out} proves {what} of book {book}: python verify_proof.py {out} public_key.pem")


@ledger.command(name="restored")
@book_option
@folder_option
@click.option("--reason", required=True, callback=filled, help="Why, for the auditor; no personal data.")
@click.option(
    "--published-lost",
    "is_lost",
    is_flag=True,
    help="What was published is lost too: what the books recorded of it is published again.",
)
@_JSON
def restored_(book: int, folder: Path | None, reason: str, *, is_lost: bool, as_json: bool) -> None:
    """Put on the record that a book was restored from a backup, and what of what was published is lost.

    Before anything is posted again, and only then: it cannot be taken back.
    """
    with _said_plainly():
        act = asyncio.run(_restored(book, folder, reason, is_lost=is_lost))
    if as_json:
        _print_json(msgspec.structs.asdict(act))
        return
    print(f"book {book} goes on in incarnation {act.incarnation}")
    if act.published is None:
        print("nothing was published of it")
    elif act.last_lost_sequence is None:
        print(f"nothing that was published is lost; the last published checkpoint is {act.published}")
    else:
        print(
            f"entries {act.first_lost_sequence} … {act.last_lost_sequence} are lost, through checkpoint {act.published}"
        )


@ledger.command(name="public-key")
@_JSON
def public_key(*, as_json: bool) -> None:
    """The public key of the checkpoints, in PEM: give it to whoever is to check proofs, not with the proofs."""
    key = asyncio.run(_public_key())
    if as_json:
        _print_json({"public_key": key.public_key.hex(), "pem": key.public_key_pem})
    else:
        print(key.public_key_pem, end="")


@asynccontextmanager
async def _opened(book: int, folder: Path | None = None) -> AsyncIterator[tuple[asyncpg.Connection, Settings]]:
    """A connection of the app role, and the settings with the folder of the command; the book is there."""
    async with resolved(Settings.from_environment()) as settings:
        if settings.database_url is None:
            raise SettingsInvalid("DATABASE_URL must be set, or nothing for the embedded servers")
        connection = await asyncpg.connect(settings.database_url, server_settings=SESSION_SETTINGS)
        try:
            await books.opened_at(connection, book)
            yield connection, msgspec.structs.replace(settings, checkpoint_folder=folder or settings.checkpoint_folder)
        finally:
            await connection.close()


async def _checkpoint(book: int, folder: Path | None) -> SignedCheckpoint | None:
    async with _opened(book, folder) as (connection, settings):
        signer, sink = published.signing_key(settings), published.folder(settings)
        with _progress() as shown:
            shown.add_task("reading blocks", total=None)
            return await make_checkpoint(connection, book, signer=signer, sink=sink)


async def _checkpoints(
    book: int, folder: Path | None, public_key_file: Path | None, *, check: bool
) -> tuple[list[SignedCheckpoint], Problems | None]:
    async with _opened(book, folder) as (connection, settings):
        recorded = await recorded_checkpoints(connection, book)
        if not check:
            return recorded, None
        keys = [trusted_key(settings, public_key_file) or published.signing_key(settings).public_key]
        with _progress() as shown:
            shown.add_task("comparing", total=None)
            return recorded, await against(published.folder(settings), keys)(connection, book, 0)


async def _prove(book: int, first: int, last: int, out: Path) -> None:
    """Written aside and moved into place: a file under the name is a whole proof."""
    part = out.with_name(f"{out.name}.part")
    async with _opened(book) as (connection, _):
        with _progress() as shown:
            task = shown.add_task("proving", total=last - first + 1)
            pieces = prove(connection, book, first, last, progress=lambda done, _: shown.update(task, completed=done))
            try:
                with part.open("wb") as file:
                    async for piece in pieces:
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(out)
            finally:
                part.unlink(missing_ok=True)


async def _restored(book: int, folder: Path | None, reason: str, *, is_lost: bool) -> Restoration:
    async with _opened(book, folder) as (connection, settings):
        key, sink = published.signing_key(settings).public_key, published.folder(settings)
        known = await recorded_checkpoints(connection, book)
        if known and not is_lost and not await sink.published(book):
            raise click.ClickException(
                f"{sink.folder} has none of the {len(known)} checkpoints of book {book}:"
                " name the right --folder, or say --published-lost"
            )
        for each in known if is_lost else ():  # what the books still hold is published again, as it was signed
            await sink.publish(book, each.checkpoint.name, each.to_bytes())
        with _progress() as shown:
            shown.add_task("comparing", total=None)
            return await restored(connection, book, sink=sink, public_key=key, actor=actor(), reason=reason)


async def _public_key() -> published.SigningKey:
    async with resolved(Settings.from_environment()) as settings:
        return published.signing_key(settings)


@contextmanager
def _said_plainly() -> Iterator[None]:
    """What the ledger says no to is one sentence."""
    try:
        yield
    except LedgerError as error:
        raise click.ClickException(str(error)) from error


def _progress() -> Progress:
    return Progress(console=Console(stderr=True), transient=True)


def _as_document(made: SignedCheckpoint) -> dict[str, Any]:
    fields = {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in msgspec.structs.asdict(made.checkpoint).items()
    }
    return {**fields, "hash": made.checkpoint.hash.hex(), "signature": made.signature.hex()}


def _line(made: SignedCheckpoint) -> str:
    each = made.checkpoint
    return (
        f"checkpoint {each.name} of book {each.book}: blocks {each.first_block} … {each.last_block},"
        f" entries through {each.last_sequence}, {each.recorded_at:%Y-%m-%d %H:%M:%S} UTC, {each.hash.hex()[:16]}…"
    )


def _print_json(document: Any) -> None:
    print(msgspec.json.encode(document).decode())
