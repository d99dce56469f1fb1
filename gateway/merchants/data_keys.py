"""A data key for each merchant, wrapped by the master key. Destroying it shreds what was sealed with it.

Books and proofs hold nothing that needs it, so they stay whole.
"""

from collections.abc import Collection
from typing import Final

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.encryption import Vault
from gateway.foundation.reads import any_of
from gateway.merchants.tables import data_keys

_WRAPPED_KEYS: Final = select(data_keys.c.account_id, data_keys.c.wrapped_key).where(
    data_keys.c.account_id == any_of("account_ids")
)


class DataKeyDestroyed(Exception):
    """The merchant's data key was destroyed; what it sealed cannot be read by anybody."""

    code = "data_key_destroyed"
    retryable = False


async def new_data_key(connection: AsyncConnection, vault: Vault, account_id: str) -> bytes:
    """Make and store the account's data key; returns it wrapped."""
    wrapped = vault.new_data_key()
    await connection.execute(
        insert(data_keys).values(account_id=account_id, wrapped_key=wrapped, created_at=real_now())
    )
    return wrapped


async def wrapped_key(connection: AsyncConnection, account_id: str) -> bytes:
    """The account's data key as stored, for `Vault.seal` and `Vault.open`.

    Raises:
        DataKeyDestroyed: there is none any more.
    """
    found = await find_wrapped_key(connection, account_id)
    if found is None:
        raise DataKeyDestroyed(account_id)
    return found


async def find_wrapped_key(connection: AsyncConnection, account_id: str) -> bytes | None:
    """The same; None where there is none any more."""
    statement = select(data_keys.c.wrapped_key).where(data_keys.c.account_id == account_id)
    row: bytes | None = (await connection.execute(statement)).scalar_one_or_none()
    return row


async def wrapped_keys(connection: AsyncConnection, account_ids: Collection[str]) -> dict[str, bytes]:
    """The same for many accounts.

    Raises:
        DataKeyDestroyed: one of them has none any more.
    """
    found = (await connection.execute(_WRAPPED_KEYS, {"account_ids": sorted(account_ids)})).all()
    wrapped = {account_id: bytes(key) for account_id, key in found}
    for account_id in account_ids:
        if account_id not in wrapped:
            raise DataKeyDestroyed(account_id)
    return wrapped


async def destroy(connection: AsyncConnection, account_id: str) -> bool:
    """Shred everything sealed for the account; false where that was done before."""
    result = await connection.execute(delete(data_keys).where(data_keys.c.account_id == account_id))
    return result.rowcount == 1
