"""A world: everything that the invented providers know of one test book, under one lock and one clock.

`Worlds.open` locks the world until the operation's transaction ends and first lets the days pass that have
passed. The lock is an advisory one, so an operation that only looks has nothing for its COMMIT to write; one that is a
single statement can go without. Business time of a world is real time plus its offset; it only moves forward.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import chain
from typing import Annotated, Any, Final, Literal
from weakref import WeakValueDictionary

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

from gateway.foundation.clock import business_date_of, real_now
from gateway.foundation.database import BY_KEYS
from gateway.sandbox.accounts import Account, Accounts
from gateway.sandbox.wire import Row

POOL_SIZE: Final = 8
LOCK_CLASS: Final = 0x77726C64
"""First half of the key of a world's advisory lock; the second is a hash of its name."""
TOGETHER_MAX: Final = 8
"""So many writes go into one statement."""
_PARAMETER: Final = re.compile(r"\$(\d+)")

HAS_WORK: Final = """(
    EXISTS (SELECT FROM sandbox.charges c WHERE c.world = w.world AND c.status = 'pending'
      AND c.expires_at <= $1::timestamptz + make_interval(secs => w.offset_seconds))
    OR EXISTS (SELECT FROM sandbox.refunds r WHERE r.world = w.world AND r.status = 'pending'
      AND r.fails_at <= $1::timestamptz + make_interval(secs => w.offset_seconds))
    OR EXISTS (SELECT FROM sandbox.acquired_charges a WHERE a.world = w.world
      AND a.status IN ('pending', 'authorized')
      AND a.expires_at <= $1::timestamptz + make_interval(secs => w.offset_seconds))
    OR EXISTS (SELECT FROM sandbox.acquired_movements m WHERE m.world = w.world AND m.status = 'pending'
      AND m.ends_at <= $1::timestamptz + make_interval(secs => w.offset_seconds)))"""
"""Whether something in the world `w` is due by the real time `$1`."""

_OPEN: Final = f"""
    SELECT w.world, w.settings::text, w.offset_seconds, w.opened_on, w.rolled_to_on, {HAS_WORK} AS has_work,
      EXISTS (SELECT FROM sandbox.faults f WHERE f.world = w.world AND f.remaining > 0) AS has_faults
    FROM sandbox.worlds w WHERE w.world = $2"""

Days = Annotated[int, msgspec.Meta(ge=0, le=365)]
AmountMinor = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
RatePpm = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
RetrySeconds = Annotated[int, msgspec.Meta(ge=0, le=3600)]


class WorldSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a merchant agreed with the invented providers; all amounts in satang, all rates in parts per million.

    Attributes:
        omise_hold_days: calendar days until the money of a charge can be transferred.
        omise_transfer_interval: `daily`: everything transferable goes out at the start of each day.
        omise_transfer_bank_days: calendar days from a transfer to its arrival on the bank account.
        scb_fee_minor: for each bill payment; charged with its VAT as a lump at the end of the day.
        bank_opening_minor: balance of the bank account before its first day.
        scb_callback_retry_seconds: real seconds between the up to three repeats of an unanswered callback.
        omise_callback_retry_seconds: real seconds before the one repeat; callback_retry_seconds: of all others.
        acquirer_days: calendar days until an acquirer (`acquirer.py`) pays the net of a day to the bank account.
        acquirer_card_rate_ppm, acquirer_qr_rate_ppm, acquirer_wallet_rate_ppm: its fee, by method.
    """

    omise_hold_days: Days = 7
    omise_transfer_interval: Literal["daily", "manual"] = "daily"
    omise_transfer_bank_days: Days = 1
    omise_transfer_fee_minor: AmountMinor = 30_00
    omise_transfer_fee_vat_minor: AmountMinor = 2_10
    omise_card_rate_ppm: RatePpm = 36_500
    omise_promptpay_rate_ppm: RatePpm = 16_500
    vat_rate_ppm: RatePpm = 70_000
    scb_fee_minor: AmountMinor = 2_00
    bank_opening_minor: AmountMinor = 0
    scb_callback_retry_seconds: RetrySeconds = 12
    omise_callback_retry_seconds: RetrySeconds = 30
    callback_retry_seconds: RetrySeconds = 5
    acquirer_days: Days = 1
    acquirer_card_rate_ppm: RatePpm = 28_000
    acquirer_qr_rate_ppm: RatePpm = 8_000
    acquirer_wallet_rate_ppm: RatePpm = 20_000


@lru_cache
def settings_of(text: str) -> WorldSettings:
    """The settings in the text of their column; few texts are different."""
    return msgspec.json.decode(text, type=WorldSettings)


class World:
    """One world inside one operation: its connection, its settings, its time."""

    def __init__(
        self,
        connection: PoolConnectionProxy,
        row: Row,
        real_time: datetime,
        accounts: Mapping[str, Account],
        sandbox_url: str,
    ) -> None:
        """`row` is the world's as of `real_time`, see `_OPEN`; `sandbox_url` is where pictures are downloaded."""
        self.connection = connection
        self.sandbox_url = sandbox_url
        self.name: str = row["world"]
        self.settings = settings_of(row["settings"])
        self.offset = timedelta(seconds=row["offset_seconds"])
        self.opened_on: date = row["opened_on"]
        self.rolled_to_on: date = row["rolled_to_on"]
        self.now: datetime = real_time + self.offset
        """Business time of the operation: it stands still until the operation ends."""
        self.is_due: bool = row["has_work"] or self.rolled_to_on != self.today
        """Whether days have to pass, or something within the day."""
        self.has_faults: bool = row["has_faults"]
        """Whether any fault was ordered and not yet used up."""
        self.has_moved = False
        """Whether opening it has changed something."""
        self.calls_back = False
        """Whether the operation has queued a callback."""
        self.waiting: list[tuple[str, tuple[Any, ...]]] = []
        """Statements that wait for `write`, and their values."""
        self._accounts = accounts

    @property
    def today(self) -> date:
        """Business date (Asia/Bangkok)."""
        return business_date_of(self.now)

    def credentials(self, provider: str) -> dict[str, str]:
        """Credentials of the world's account with a provider; empty where there is none."""
        account = self._accounts.get(provider)
        return dict(account.credentials) if account else {}

    def callback_url(self, provider: str) -> str | None:
        """Where the provider calls the account back; None: nowhere, or there is no account."""
        account = self._accounts.get(provider)
        return account.callback_url if account else None

    def later(self, statement: str, *values: Any) -> None:
        """Write this when the operation ends, in one statement with all else that waits; until then nobody sees it.

        `{nth}` in the statement stands for its number among those of its kind in the same write.
        """
        self.waiting.append((statement, values))

    async def write(self) -> None:
        """Write what waits."""
        for start in range(0, len(self.waiting), TOGETHER_MAX):
            batch = self.waiting[start : start + TOGETHER_MAX]
            statement = _together(tuple(statement for statement, _ in batch))
            await self.connection.execute(statement, *chain.from_iterable(values for _, values in batch))
        self.waiting.clear()


@lru_cache
def _together(statements: tuple[str, ...]) -> str:
    """One statement that does what these constants do; its values are theirs one after the other."""
    parts, values_before = [], 0
    for number, statement in enumerate(statements):

        def renumbered(match: re.Match[str], before: int = values_before) -> str:
            return f"${before + int(match[1])}"

        nth = statements[:number].count(statement) + 1
        parts.append(_PARAMETER.sub(renumbered, statement.replace("{nth}", str(nth))))
        values_before += max(int(parameter) for parameter in _PARAMETER.findall(statement))
    *others, last = parts
    named = [f"write_{number} AS ({other})" for number, other in enumerate(others)]
    return "WITH " + ", ".join(named) + " " + last if named else last


class Worlds:
    """All worlds of a sandbox."""

    def __init__(self, pool: asyncpg.Pool, roll_forward: Callable[[World], Awaitable[None]], sandbox_url: str) -> None:
        """`roll_forward` lets the days pass that have passed since the world was last opened."""
        self.pool = pool
        self.accounts = Accounts(pool)
        self._sandbox_url = sandbox_url
        self._roll_forward = roll_forward
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def open(self, name: str, *, alone: bool = False) -> AsyncIterator[World]:
        """The world, locked until the block ends; what was done in it commits then.

        Args:
            name: of the world.
            alone: the block reads once or writes once, by `World.later`. It needs no lock and no transaction, unless
                something is due or a fault was ordered.

        Raises:
            LookupError: no such world.
        """
        if alone:
            async with self.pool.acquire() as connection:
                world = await self._read(connection, name)
                if not world.is_due and not world.has_faults:
                    yield world
                    await world.write()
                    return
        # First in line within this process: whoever waits for the world holds no connection that others could use.
        turn = self._turns.setdefault(name, asyncio.Lock())
        async with turn, self.pool.acquire() as connection, connection.transaction():
            # By itself, so that the next statement sees what the last operation has left.
            await connection.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", LOCK_CLASS, name)
            world = await self._read(connection, name)
            if world.is_due:
                await self._roll_forward(world)
                await world.write()
            yield world
            await world.write()

    async def _read(self, connection: PoolConnectionProxy, name: str) -> World:
        real_time = real_now()
        row = await connection.fetchrow(_OPEN, real_time, name)
        if row is None:
            raise LookupError(name)
        accounts = await self.accounts.of_world(name, connection)
        return World(connection, row, real_time, accounts, self._sandbox_url)

    async def create(self, name: str, settings: Mapping[str, Any]) -> None:
        """Make the world, or give an existing one these settings over those it has.

        Raises:
            msgspec.ValidationError: a setting is unknown or has the wrong type.
        """
        async with self.pool.acquire() as connection, connection.transaction():
            today = business_date_of(real_now())
            await connection.execute(
                "INSERT INTO sandbox.worlds (world, settings, opened_on, rolled_to_on) "
                "VALUES ($1, $2, $3, $3) ON CONFLICT (world) DO NOTHING",
                name,
                {},
                today,
            )
            row = await connection.fetchrow("SELECT settings FROM sandbox.worlds WHERE world = $1 FOR UPDATE", name)
            assert row is not None
            merged = msgspec.convert({**row["settings"], **settings}, WorldSettings)
            await connection.execute(
                "UPDATE sandbox.worlds SET settings = $2 WHERE world = $1", name, msgspec.to_builtins(merged)
            )


async def open_pool(dsn: str) -> asyncpg.Pool:
    """Connections with the sandbox's own role; `jsonb` arrives and leaves as Python values."""
    return await asyncpg.create_pool(
        dsn, min_size=1, max_size=POOL_SIZE, init=_prepare, reset=_keeps_nothing, server_settings=BY_KEYS
    )


async def _keeps_nothing(connection: asyncpg.Connection) -> None:
    """Nothing that a session is asked to forget, at four statements a time, is ever left in it."""


async def _prepare(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: msgspec.json.encode(value).decode(),
        decoder=msgspec.json.decode,
    )
