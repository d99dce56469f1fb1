"""Accounts with the invented providers, and who stands behind a credential or a token: remembered for a second.

Every request asks, and the answer hardly ever changes. What this process registers counts at once, what another one
does – new credentials, a token's end – a second later. That there is no such account or token is not remembered.
"""

import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

from gateway.foundation.clock import real_now
from gateway.foundation.remembering import Remembered

_OF_WORLD: Final = "SELECT provider, credentials, callback_url FROM sandbox.provider_accounts WHERE world = $1"
_BY_IDENTIFIER: Final = "SELECT world FROM sandbox.identifiers WHERE provider = $1 AND name = $2 AND value = $3"
_BY_TOKEN: Final = "SELECT world, expires_at FROM sandbox.access_tokens WHERE token_sha256 = $1"  # noqa: S105 - SQL
_GRANT: Final = "INSERT INTO sandbox.access_tokens (token_sha256, world, expires_at) VALUES ($1, $2, $3)"
_REGISTER: Final = (
    "INSERT INTO sandbox.provider_accounts (world, provider, credentials, callback_url) VALUES ($1, $2, $3, $4)"
    " ON CONFLICT (world, provider) DO UPDATE SET credentials = $3, callback_url = $4"
)
_IDENTIFY: Final = (
    "INSERT INTO sandbox.identifiers (world, provider, name, value) VALUES ($1, $2, $3, $4)"
    " ON CONFLICT (world, provider, name) DO UPDATE SET value = $4"
)

Found = TypeVar("Found")


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account of a world with a provider.

    Attributes:
        credentials: as the adapters name them.
        callback_url: where the provider calls; None: nowhere.
    """

    credentials: Mapping[str, str]
    callback_url: str | None


class Accounts:
    """All accounts of a sandbox."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        """`pool` belongs to the caller."""
        self._pool = pool
        self._known = Remembered[Any]()

    async def of_world(self, world: str, connection: PoolConnectionProxy | None = None) -> Mapping[str, Account]:
        """The accounts of a world, by provider; `connection`: one that the caller holds."""

        async def look_up() -> dict[str, Account]:
            return {
                row["provider"]: Account(credentials=row["credentials"], callback_url=row["callback_url"])
                for row in await (connection or self._pool).fetch(_OF_WORLD, world)
            }

        return await self._recall((world,), look_up) or {}

    async def find(self, provider: str, credential: str, value: str) -> str | None:
        """The world whose account with the provider has this credential, one of its identifiers."""

        async def look_up() -> str | None:
            name: str | None = await self._pool.fetchval(_BY_IDENTIFIER, provider, credential, value)
            return name

        return await self._recall((provider, credential, value), look_up)

    async def find_by_token(self, provider: str, token: str) -> str | None:
        """The world to which the provider has granted the token, while it lives; real time."""

        async def look_up() -> tuple[str, datetime] | None:
            row = await self._pool.fetchrow(_BY_TOKEN, _digest(provider, token))
            return None if row is None else (row["world"], row["expires_at"])

        found = await self._recall((provider, token), look_up)
        return found[0] if found is not None and found[1] > real_now() else None

    async def register(
        self,
        world: str,
        provider: str,
        credentials: Mapping[str, str],
        callback_url: str | None,
        identifiers: Collection[str],
    ) -> None:
        """Make the account or give it these addresses and credentials; `identifiers`: by which of them it is found.

        Raises:
            asyncpg.UniqueViolationError: another world is found by one of them.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_REGISTER, world, provider, credentials, callback_url)
            named = [(world, provider, name, credentials[name]) for name in sorted(identifiers)]
            await connection.executemany(_IDENTIFY, named)
        self._known.clear()

    async def _recall(self, key: tuple[str, ...], look_up: Callable[[], Awaitable[Found | None]]) -> Found | None:
        if (known := self._known.get(key)) is not None:
            remembered: Found = known
            return remembered
        found = await look_up()
        if found:
            self._known.put(key, found)
        return found


async def grant_token(connection: PoolConnectionProxy, world: str, provider: str, token: str, seconds: int) -> datetime:
    """Let the token open the world to its bearer; returns when it ends, by real time."""
    ends_at = real_now() + timedelta(seconds=seconds)
    await connection.execute(_GRANT, _digest(provider, token), world, ends_at)
    return ends_at


def _digest(provider: str, token: str) -> bytes:
    """Tokens of all providers share a table: one of another provider must not open this one."""
    return hashlib.sha256(f"{provider} {token}".encode()).digest()
