"""Blocklists: payers that an account, or the whole house, takes nothing from.

The value is kept as a keyed hash and its last characters. An entry is never removed and never rewritten: it ends.
Entries of an account follow its book's clock, the house's own list follows real time.
"""

from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.merchants.operators import record_act
from gateway.merchants.principals import MerchantPrincipal
from gateway.payments.errors import InvalidRequest, NotFound, PayerBlocked, Refused
from gateway.payments.listing import Page, read_page
from gateway.payments.payers import Marks, PayerKind, last_characters_of, lookup_of
from gateway.payments.records import IntentRow, add_rows, rows_of
from gateway.payments.tables import blocked_payers, house_blocks

BLOCKS_MAX: Final = 10_000
"""How many an account may have in force."""
HOUSE_REASON: Final = "blocked by QuickKub for all merchants; ask support"
"""What merchants read of the house's own list: its reasons may speak of another merchant's payers."""


class HouseBlock(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the house's own list, without the value."""

    block_id: str
    kind: PayerKind
    last_characters: str
    reason: str
    actor: str
    created_at: datetime
    expires_at: datetime | None
    ended_at: datetime | None
    ended_by: str | None


class Block(HouseBlock, frozen=True, kw_only=True):
    """An entry of an account's list, without the value."""

    book_id: int
    account_id: str
    livemode: bool


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    kind: PayerKind
    reason: str
    is_house: bool


class _NewHouseBlock(HouseBlock, frozen=True, kw_only=True):
    lookup: bytes


class _NewBlock(Block, frozen=True, kw_only=True):
    lookup: bytes


_IN_FORCE = text("""
    SELECT block.kind, block.reason, false AS is_house
    FROM unnest(CAST(:kinds AS text[]), CAST(:lookups AS bytea[])) AS payer (kind, lookup)
    JOIN gateway.blocked_payers AS block
      ON block.book_id = :book_id AND block.account_id = :account_id
     AND block.kind = payer.kind AND block.lookup = payer.lookup
    WHERE block.ended_at IS NULL AND (block.expires_at IS NULL OR block.expires_at > :book_now)
    UNION ALL
    SELECT block.kind, block.reason, true
    FROM unnest(CAST(:kinds AS text[]), CAST(:lookups AS bytea[])) AS payer (kind, lookup)
    JOIN gateway.house_blocks AS block ON block.kind = payer.kind AND block.lookup = payer.lookup
    WHERE block.ended_at IS NULL AND (block.expires_at IS NULL OR block.expires_at > :real_now)
    ORDER BY is_house, kind
    LIMIT 1
""")


async def check(connection: AsyncConnection, intent: IntentRow, marks: Marks, *, now: datetime) -> None:
    """Refuse a payer that is on the account's list or the house's; `now` is business time.

    Raises:
        PayerBlocked: with the reason of the entry.
    """
    parameters = {
        "book_id": intent.book_id,
        "account_id": intent.account_id,
        "kinds": [kind.value for kind in marks],
        "lookups": list(marks.values()),
        "book_now": now,
        "real_now": real_now(),
    }
    for found in await rows_of(connection, _IN_FORCE, _Found, parameters):
        reason = HOUSE_REASON if found.is_house else found.reason
        raise PayerBlocked(intent.intent_id, f"{found.kind}: {reason}")


async def block(
    connection: AsyncConnection,
    vault: Vault,
    principal: MerchantPrincipal,
    *,
    kind: PayerKind,
    value: str,
    reason: str,
    expires_at: datetime | None,
) -> Block:
    """Take nothing from this payer from now on.

    Raises:
        InvalidRequest: the value is not of that kind, or the end is past.
        Refused: `blocklist_full`.
    """
    now = principal.clock.now()
    _check_end(expires_at, now)
    c = blocked_payers.c
    mine = (c.book_id == principal.book_id, c.account_id == principal.account_id)
    in_force = (c.ended_at.is_(None), or_(c.expires_at.is_(None), c.expires_at > now))
    counted = select(func.count()).select_from(blocked_payers).where(*mine, *in_force)
    if (await connection.execute(counted)).scalar_one() >= BLOCKS_MAX:
        raise Refused("blocklist_full", f"an account blocks at most {BLOCKS_MAX} payers")
    row = _NewBlock(
        book_id=principal.book_id,
        account_id=principal.account_id,
        livemode=principal.livemode,
        block_id=new_id("blk", livemode=principal.livemode),
        kind=kind,
        lookup=lookup_of(vault, kind, value),
        last_characters=last_characters_of(kind, value),
        reason=reason,
        actor=principal.key_id,
        created_at=now,
        expires_at=expires_at,
        ended_at=None,
        ended_by=None,
    )
    await add_rows(connection, blocked_payers, [row])
    return await get(connection, principal, row.block_id)


async def end(connection: AsyncConnection, principal: MerchantPrincipal, block_id: str) -> Block:
    """End an entry; one that has ended stays as it ended.

    Raises:
        NotFound: the account has no such entry.
    """
    c = blocked_payers.c
    await connection.execute(
        update(blocked_payers)
        .where(c.book_id == principal.book_id, c.block_id == block_id, c.account_id == principal.account_id)
        .where(c.ended_at.is_(None))
        .values(ended_at=principal.clock.now(), ended_by=principal.key_id)
    )
    return await get(connection, principal, block_id)


async def get(connection: AsyncConnection, principal: MerchantPrincipal, block_id: str) -> Block:
    """An entry of the account's list.

    Raises:
        NotFound: the account has no such entry.
    """
    c = blocked_payers.c
    statement = select(blocked_payers).where(
        c.book_id == principal.book_id, c.block_id == block_id, c.account_id == principal.account_id
    )
    found = await rows_of(connection, statement, Block)
    if not found:
        raise NotFound(f"no blocklist entry {block_id}")
    return found[0]


async def page(
    connection: AsyncConnection,
    principal: MerchantPrincipal,
    *,
    limit: int,
    starting_after: str | None = None,
    ending_before: str | None = None,
) -> Page[Block]:
    """A page of the account's entries, those that have ended too, newest first.

    Raises:
        InvalidRequest: `cursor_invalid`.
    """
    c = blocked_payers.c
    return await read_page(
        connection,
        blocked_payers,
        c.block_id,
        Block,
        c.book_id == principal.book_id,
        c.account_id == principal.account_id,
        limit=limit,
        starting_after=starting_after,
        ending_before=ending_before,
    )


async def block_for_the_house(
    connection: AsyncConnection,
    vault: Vault,
    *,
    kind: PayerKind,
    value: str,
    expires_at: datetime | None,
    actor: str,
    reason: str,
) -> str:
    """Let no merchant take anything from this payer; returns the entry's id. For operators.

    Raises:
        InvalidRequest: as `block`.
    """
    now, block_id = real_now(), new_id("blk", livemode=True)
    _check_end(expires_at, now)
    row = _NewHouseBlock(
        block_id=block_id,
        kind=kind,
        lookup=lookup_of(vault, kind, value),
        last_characters=last_characters_of(kind, value),
        reason=reason,
        actor=actor,
        created_at=now,
        expires_at=expires_at,
        ended_at=None,
        ended_by=None,
    )
    await add_rows(connection, house_blocks, [row])
    await record_act(connection, actor=actor, act="payer.blocked", subject=block_id, reason=reason)
    return block_id


async def end_for_the_house(connection: AsyncConnection, block_id: str, *, actor: str, reason: str) -> bool:
    """End an entry of the house's list; whether there was one in force."""
    c = house_blocks.c
    ended = await connection.execute(
        update(house_blocks)
        .where(c.block_id == block_id, c.ended_at.is_(None))
        .values(ended_at=real_now(), ended_by=actor)
    )
    if ended.rowcount:
        await record_act(connection, actor=actor, act="payer.unblocked", subject=block_id, reason=reason)
    return ended.rowcount == 1


async def house_list(connection: AsyncConnection) -> list[HouseBlock]:
    """The house's entries that have not ended, newest first."""
    c = house_blocks.c
    statement = select(house_blocks).where(c.ended_at.is_(None)).order_by(c.block_id.desc())
    return await rows_of(connection, statement, HouseBlock)


def _check_end(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is None:
        return
    if expires_at.tzinfo is None:
        raise InvalidRequest("parameter_invalid", "a time needs its zone", param="expires_at")
    if expires_at <= now:
        raise InvalidRequest("parameter_invalid", "that time is over", param="expires_at")
