"""Operators: us, by name, with keys that are scoped and expire. Every act keeps who did it and why."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.merchants.api_keys import OPERATOR_PREFIX, NewKey, hash_of, new_secret
from gateway.merchants.principals import OPERATOR_SCOPES, OPERATOR_SCOPES_GIVEN, Scope
from gateway.merchants.tables import operator_acts, operator_keys, operators

KEY_LIFE: Final = timedelta(days=90)
"""How long an operator's key lives unless told otherwise."""


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """An operator as listed."""

    operator_id: str
    name: str
    created_at: datetime
    disabled_at: datetime | None


async def create_operator(connection: AsyncConnection, vault: Vault, *, name: str) -> str:
    """Register an operator; returns the `op_…` id."""
    operator_id = new_id("op", livemode=True)
    sealed = vault.seal_house(name.encode(), context=_name_of(operator_id))
    await connection.execute(
        insert(operators).values(operator_id=operator_id, sealed_name=sealed, created_at=real_now())
    )
    return operator_id


async def create_key(
    connection: AsyncConnection,
    vault: Vault,
    operator_id: str,
    *,
    scopes: Iterable[Scope] = OPERATOR_SCOPES_GIVEN,
    life: timedelta = KEY_LIFE,
) -> NewKey:
    """Make an operator's key `ok_…`.

    Raises:
        ValueError: a scope that is not an operator's.
    """
    wanted = frozenset(scopes)
    if not wanted <= OPERATOR_SCOPES:
        message = f"not for operators: {sorted(wanted - OPERATOR_SCOPES)}"
        raise ValueError(message)
    now, secret, key_id = real_now(), new_secret(OPERATOR_PREFIX), new_id("okey", livemode=True)
    await connection.execute(
        insert(operator_keys).values(
            key_id=key_id,
            operator_id=operator_id,
            key_hash=hash_of(vault, secret),
            last_four=secret[-4:],
            scopes=sorted(wanted),
            created_at=now,
            expires_at=now + life,
        )
    )
    return NewKey(key_id=key_id, secret=secret, livemode=True, expires_at=now + life)


def is_second_person(proposed_by: str, decided_by: str) -> bool:
    """Whether these are two people for certain: two operators, or two logins of the machine, never one of each."""
    return decided_by != proposed_by and decided_by.startswith("op_") == proposed_by.startswith("op_")


async def record_act(connection: AsyncConnection, *, actor: str, act: str, subject: str, reason: str) -> None:
    """Keep what was done, in the transaction that does it.

    The actor is `op_…`, or `cli:` and the login of whoever ran the command on the machine; the act is
    `merchant.created` and so on, the subject the id of what it was done to, the reason never empty.
    """
    await connection.execute(
        insert(operator_acts).values(
            act_id=new_id("act", livemode=True),
            actor=actor,
            act=act,
            subject=subject,
            reason=reason,
            acted_at=real_now(),
        )
    )


async def list_operators(connection: AsyncConnection, vault: Vault) -> list[Operator]:
    """All operators, oldest first."""
    c = operators.c
    rows = await connection.execute(
        select(c.operator_id, c.sealed_name, c.created_at, c.disabled_at).order_by(c.operator_id)
    )
    return [
        Operator(
            operator_id=operator_id,
            name=vault.open_house(sealed_name, context=_name_of(operator_id)).decode(),
            created_at=created_at,
            disabled_at=disabled_at,
        )
        for operator_id, sealed_name, created_at, disabled_at in rows
    ]


def _name_of(operator_id: str) -> str:
    return f"operator_name:{operator_id}"
