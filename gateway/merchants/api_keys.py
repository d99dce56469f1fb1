"""Keys: `sk_test_…` and `sk_live_…` of merchants, `ok_…` of operators.

A key is shown once. What is stored is its HMAC under a key of ours, found by an index look-up: there is no
comparison whose time could tell how much of a guess was right. Prefix and last four stay readable so that a
person can tell keys apart.
"""

import secrets
import string
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import LargeBinary, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import BookClock, real_now
from gateway.foundation.database import Source, send
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.foundation.reads import any_of
from gateway.foundation.statements import Statement
from gateway.merchants.principals import (
    MERCHANT_SCOPES,
    MerchantPrincipal,
    OperatorPrincipal,
    Principal,
    RateLimit,
    Scope,
)
from gateway.merchants.tables import accounts, api_keys, book_clocks, operator_keys, operators

OPERATOR_PREFIX: Final = "ok_"
TEST_PREFIX: Final = "sk_test_"
LIVE_PREFIX: Final = "sk_live_"

_SECRET_ALPHABET: Final = string.ascii_letters + string.digits
_SECRET_LENGTH: Final = 40
_KEY_LENGTH_MAX: Final = 100
_LAST_USED_GRAIN: Final = timedelta(minutes=10)
"""`last_used_at` is for people who clean up keys; writing it at each request would double the cost of most."""


_KEY_HASHES: Final = any_of("key_hashes", LargeBinary)
_MERCHANTS: Final = Statement(
    select(
        *(
            api_keys.c[name]
            for name in (
                *("key_hash", "key_id", "account_id", "livemode", "scopes"),
                *("expires_at", "revoked_at", "last_used_at"),
            )
        ),
        *(accounts.c[name] for name in ("test_book_id", "live_book_id", "rate_per_second", "rate_burst")),
        book_clocks.c.offset_seconds,
    )
    .select_from(
        api_keys.join(accounts, accounts.c.account_id == api_keys.c.account_id).outerjoin(
            book_clocks, book_clocks.c.book_id == accounts.c.test_book_id
        )
    )
    .where(api_keys.c.key_hash == _KEY_HASHES)
)
_OPERATORS: Final = Statement(
    select(
        *(
            operator_keys.c[name]
            for name in ("key_hash", "key_id", "operator_id", "scopes", "expires_at", "revoked_at", "last_used_at")
        )
    )
    .select_from(operator_keys.join(operators, operators.c.operator_id == operator_keys.c.operator_id))
    .where(operator_keys.c.key_hash == _KEY_HASHES, operators.c.disabled_at.is_(None))
)


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key just made. `secret` is the whole key and is shown this once."""

    key_id: str
    secret: str
    livemode: bool
    expires_at: datetime | None

    def __repr__(self) -> str:
        """No secret reaches a log."""
        return f"NewKey({self.key_id})"


class KeySummary(msgspec.Struct, frozen=True, kw_only=True):
    """What may be shown of a key at any time."""

    key_id: str
    livemode: bool
    name: str
    prefix: str
    last_four: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


def new_secret(prefix: str) -> str:
    """A fresh key: prefix and 40 letters and digits (238 bits)."""
    return prefix + "".join(secrets.choice(_SECRET_ALPHABET) for _ in range(_SECRET_LENGTH))


def hash_of(vault: Vault, secret: str) -> bytes:
    """What is stored of a key."""
    return vault.lookup(secret, purpose="api_key")


async def create(
    connection: AsyncConnection,
    vault: Vault,
    account_id: str,
    *,
    livemode: bool,
    name: str = "default",
    scopes: Iterable[Scope] = MERCHANT_SCOPES,
    expires_at: datetime | None = None,
) -> NewKey:
    """Make a merchant's key.

    Raises:
        ValueError: a scope that only operators may hold.
    """
    wanted = frozenset(scopes)
    if not wanted <= MERCHANT_SCOPES:
        message = f"not for merchants: {sorted(wanted - MERCHANT_SCOPES)}"
        raise ValueError(message)
    prefix = LIVE_PREFIX if livemode else TEST_PREFIX
    secret, key_id = new_secret(prefix), new_id("key", livemode=livemode)
    await connection.execute(
        insert(api_keys).values(
            key_id=key_id,
            account_id=account_id,
            livemode=livemode,
            name=name,
            key_hash=hash_of(vault, secret),
            prefix=prefix,
            last_four=secret[-4:],
            scopes=sorted(wanted),
            created_at=real_now(),
            expires_at=expires_at,
        )
    )
    return NewKey(key_id=key_id, secret=secret, livemode=livemode, expires_at=expires_at)


async def roll(connection: AsyncConnection, vault: Vault, key_id: str, *, old_expires_at: datetime) -> NewKey | None:
    """A new key with the same name and scopes now; the old one dies at `old_expires_at`, or earlier if it was to.

    Locks the old key's row. None where there is no such key in force.
    """
    c = api_keys.c
    statement = select(c.account_id, c.livemode, c.name, c.scopes, c.expires_at).where(
        c.key_id == key_id, c.revoked_at.is_(None)
    )
    old = (await connection.execute(statement.with_for_update())).mappings().one_or_none()
    if old is None or _is_past(old["expires_at"], real_now()):
        return None
    ends_at = min(old_expires_at, old["expires_at"] or old_expires_at)
    await connection.execute(update(api_keys).where(c.key_id == key_id).values(expires_at=ends_at))
    return await create(
        connection,
        vault,
        old["account_id"],
        livemode=old["livemode"],
        name=old["name"],
        scopes=[Scope(scope) for scope in old["scopes"]],
        expires_at=old["expires_at"],
    )


async def revoke(connection: AsyncConnection, key_id: str) -> bool:
    """End a merchant's or an operator's key at once; false where there is none or it has ended already."""
    table = operator_keys if key_id.startswith("okey_") else api_keys
    statement = update(table).where(table.c.key_id == key_id, table.c.revoked_at.is_(None))
    result = await connection.execute(statement.values(revoked_at=real_now()))
    return result.rowcount == 1


async def list_keys(connection: AsyncConnection, account_id: str) -> list[KeySummary]:
    """Every key that the account ever had, oldest first."""
    columns = [api_keys.c[name] for name in KeySummary.__struct_fields__]
    statement = (
        select(*columns).where(api_keys.c.account_id == account_id).order_by(api_keys.c.created_at, api_keys.c.key_id)
    )
    rows = (await connection.execute(statement)).mappings()
    return [KeySummary(**{**row, "scopes": tuple(row["scopes"])}) for row in rows]


async def authenticate(connection: AsyncConnection, vault: Vault, presented: str) -> Principal | None:
    """Who presents this key, or None: unknown, expired, revoked, or its operator disabled.

    May write `last_used_at`, so `connection` must be able to.
    """
    principals, used = await look_up(connection, vault, [presented])
    if used:
        await note_use(connection, used)
    return principals[0]


async def look_up(source: Source, vault: Vault, presented: Sequence[str]) -> tuple[list[Principal | None], list[str]]:
    """Who presents each of many keys, and the ids of those whose use is to be noted: see `note_use`.

    One query for the keys of merchants and one for those of operators.
    """
    hashes = [hash_of(vault, secret) if len(secret) <= _KEY_LENGTH_MAX else b"" for secret in presented]
    pairs = list(zip(presented, hashes, strict=True))
    merchants = {found for secret, found in pairs if found and secret.startswith((TEST_PREFIX, LIVE_PREFIX))}
    ours = {found for secret, found in pairs if found and secret.startswith(OPERATOR_PREFIX)}
    principals: dict[bytes, Principal] = {}
    used: list[str] = []
    for key_hashes, statement, principal_of in (
        (merchants, _MERCHANTS, _merchant_of),
        (ours, _OPERATORS, _operator_of),
    ):
        if not key_hashes:
            continue
        for row in await send(source, statement, {"key_hashes": sorted(key_hashes)}):
            if _is_in_force(row):
                principals[row["key_hash"]] = principal_of(row)
                if _is_use_to_be_noted(row):
                    used.append(row["key_id"])
    return [principals.get(found) for found in hashes], used


def _merchant_of(row: Mapping[str, Any]) -> MerchantPrincipal:
    live: bool = row["livemode"]
    return MerchantPrincipal(
        account_id=row["account_id"],
        book_id=row["live_book_id"] if live else row["test_book_id"],
        livemode=live,
        key_id=row["key_id"],
        scopes=frozenset(row["scopes"]),
        clock=BookClock() if live else BookClock(timedelta(seconds=row["offset_seconds"] or 0)),
        rate_limit=RateLimit(per_second=row["rate_per_second"], burst=row["rate_burst"]),
    )


def _operator_of(row: Mapping[str, Any]) -> OperatorPrincipal:
    return OperatorPrincipal(operator_id=row["operator_id"], key_id=row["key_id"], scopes=frozenset(row["scopes"]))


def _is_in_force(row: Mapping[str, Any]) -> bool:
    return row["revoked_at"] is None and not _is_past(row["expires_at"], real_now())


def _is_use_to_be_noted(row: Mapping[str, Any]) -> bool:
    return row["last_used_at"] is None or real_now() - row["last_used_at"] > _LAST_USED_GRAIN


# Whoever else notes it at this moment notes the same: nobody waits for the row.
_NOTE_USE: Final = Statement(
    text("""
    WITH merchants AS (
        UPDATE gateway.api_keys SET last_used_at = :now
        WHERE key_id IN (
            SELECT key_id FROM gateway.api_keys WHERE key_id = ANY(CAST(:key_ids AS text[])) FOR UPDATE SKIP LOCKED))
    UPDATE gateway.operator_keys SET last_used_at = :now
    WHERE key_id IN (
        SELECT key_id FROM gateway.operator_keys WHERE key_id = ANY(CAST(:key_ids AS text[])) FOR UPDATE SKIP LOCKED)
""")
)


async def note_use(source: Source, key_ids: Sequence[str]) -> None:
    """Note that these keys, of merchants and of operators, were used just now; by one statement."""
    await send(source, _NOTE_USE, {"key_ids": list(key_ids), "now": real_now()})


def _is_past(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now
