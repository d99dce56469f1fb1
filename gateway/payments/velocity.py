"""Velocity rules: how many payments, or how many declined attempts, one payer may make within so many seconds.

A payer's attempts are told by the marks that are written beside them. Whoever counts a payer holds that payer's lock
until its own mark is committed, so racing attempts of one payer are counted one after the other. Marks are kept no
longer than the longest window that a rule may have.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec
from sqlalchemy import Select, delete, func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.merchants.operators import record_act
from gateway.payments.errors import InvalidRequest, Refused
from gateway.payments.payers import Marks, PayerKind
from gateway.payments.records import AttemptRow, add_rows, rows_of
from gateway.payments.states import AttemptStatus
from gateway.payments.tables import attempts, payer_marks, velocity_rules

WINDOW_MAX: Final = timedelta(days=90)
FORGOTTEN_AT_ONCE: Final = 500


class Counting(StrEnum):
    """What a rule counts: payments that were tried, or attempts that were declined.

    An attempt whose provider has not answered yet counts as declined, else many at once would get past the rule.
    """

    PAYMENTS = "payments"
    DECLINES = "declines"


class VelocityRule(msgspec.Struct, frozen=True, kw_only=True):
    """At most `count_max` of what it counts for the same payer within the window; None = the rule is withdrawn."""

    payer_kind: PayerKind
    counting: Counting
    window_seconds: int
    count_max: int | None


class _Mark(msgspec.Struct, frozen=True, kw_only=True):
    book_id: int
    attempt_id: str
    kind: PayerKind
    account_id: str
    intent_id: str
    lookup: bytes
    created_at: datetime


class _RuleRow(VelocityRule, frozen=True, kw_only=True):
    book_id: int
    account_id: str
    version: int


class _NewRule(_RuleRow, frozen=True, kw_only=True):
    actor: str
    reason: str
    created_at: datetime


_DECLINED_OR_ASKED: Final = [AttemptStatus.DECLINED, AttemptStatus.SUBMITTED]

_NEWEST = text("""
    SELECT DISTINCT ON (payer_kind, counting, window_seconds)
           book_id, account_id, payer_kind, counting, window_seconds, version, count_max
    FROM gateway.velocity_rules
    WHERE book_id = :book_id AND account_id = :account_id
    ORDER BY payer_kind, counting, window_seconds, version DESC
""")
_LOCK_PAYERS = text("SELECT pg_advisory_xact_lock(payer) FROM unnest(CAST(:payers AS bigint[])) AS payer")


async def check(connection: AsyncConnection, account_id: str, attempt: AttemptRow, marks: Marks) -> None:
    """Refuse an attempt that one more of its payer would be too many; further attempts at one payment are one.

    Raises:
        Refused: `velocity_exceeded`.
    """
    rules = [rule for rule in await in_force(connection, attempt.book_id, account_id) if rule.payer_kind in marks]
    if not rules:
        return
    kinds = {rule.payer_kind for rule in rules}
    payers = sorted(_lock_number(attempt.book_id, account_id, kind, marks[kind]) for kind in kinds)
    await connection.execute(_LOCK_PAYERS, {"payers": payers})
    for rule in rules:
        assert rule.count_max is not None, "only rules in force are read"
        statement = _counted(rule, account_id, attempt, marks[rule.payer_kind])
        if (await connection.execute(statement)).scalar_one() >= rule.count_max:
            detail = (
                f"the same {rule.payer_kind} may have {rule.count_max} {rule.counting} "
                f"within {rule.window_seconds} seconds"
            )
            raise Refused("velocity_exceeded", detail, param="payer")


async def mark(connection: AsyncConnection, account_id: str, attempt: AttemptRow, marks: Marks) -> None:
    """Write beside the attempt whose it is."""
    rows = [
        _Mark(
            book_id=attempt.book_id,
            attempt_id=attempt.attempt_id,
            kind=kind,
            account_id=account_id,
            intent_id=attempt.intent_id,
            lookup=lookup,
            created_at=attempt.created_at,
        )
        for kind, lookup in marks.items()
    ]
    await add_rows(connection, payer_marks, rows)


async def in_force(connection: AsyncConnection, book_id: int, account_id: str) -> list[VelocityRule]:
    """The account's rules."""
    return [
        VelocityRule(**{name: getattr(row, name) for name in VelocityRule.__struct_fields__})
        for row in await _newest(connection, book_id, account_id)
        if row.count_max is not None
    ]


async def set_rule(
    connection: AsyncConnection, *, book_id: int, account_id: str, rule: VelocityRule, actor: str, reason: str
) -> int:
    """Put a rule in force instead of the one of the same kind and window, or withdraw it; returns its version.

    Raises:
        InvalidRequest: no window or one beyond 90 days, or fewer than none.
    """
    if not timedelta(0) < timedelta(seconds=rule.window_seconds) <= WINDOW_MAX:
        raise InvalidRequest("parameter_invalid", f"windows are of 1 second to {WINDOW_MAX.days} days")
    if rule.count_max is not None and rule.count_max < 0:
        raise InvalidRequest("parameter_invalid", "counts are of none or more")
    newest: Sequence[_RuleRow] = await _newest(connection, book_id, account_id)
    version = 1 + max((known.version for known in newest if _is_same(known, rule)), default=0)
    row = _NewRule(
        **msgspec.structs.asdict(rule),
        book_id=book_id,
        account_id=account_id,
        version=version,
        actor=actor,
        reason=reason,
        created_at=real_now(),
    )
    await add_rows(connection, velocity_rules, [row])
    subject = f"{account_id}/{book_id}/{rule.payer_kind}/{rule.counting}/{rule.window_seconds}/{version}"
    await record_act(connection, actor=actor, act="velocity_rule.set", subject=subject, reason=reason)
    return version


async def forget_old(database: Database) -> int:
    """Delete some marks that no rule can ask for any more; returns how many, 0 when none is left.

    In small batches, so that no lock and no dead rows pile up. Any number may do it at once.
    """
    c = payer_marks.c
    key = tuple_(c.book_id, c.attempt_id, c.kind)
    old = (
        select(c.book_id, c.attempt_id, c.kind)
        .where(c.created_at < real_now() - WINDOW_MAX)
        .order_by(c.created_at)
        .limit(FORGOTTEN_AT_ONCE)
    )
    async with database.transaction() as connection:
        return (await connection.execute(delete(payer_marks).where(key.in_(old)))).rowcount


async def _newest(connection: AsyncConnection, book_id: int, account_id: str) -> list[_RuleRow]:
    return await rows_of(connection, _NEWEST, _RuleRow, {"book_id": book_id, "account_id": account_id})


def _is_same(one: VelocityRule, other: VelocityRule) -> bool:
    return (one.payer_kind, one.counting, one.window_seconds) == (
        other.payer_kind,
        other.counting,
        other.window_seconds,
    )


def _counted(rule: VelocityRule, account_id: str, attempt: AttemptRow, lookup: bytes) -> Select[Any]:
    c = payer_marks.c
    since = attempt.created_at - timedelta(seconds=rule.window_seconds)
    mine = (
        c.book_id == attempt.book_id,
        c.account_id == account_id,
        c.kind == rule.payer_kind,
        c.lookup == lookup,
        c.created_at > since,
    )
    if rule.counting is Counting.PAYMENTS:
        return select(func.count(c.intent_id.distinct())).where(*mine, c.intent_id != attempt.intent_id)
    a = attempts.c
    joined = payer_marks.join(attempts, (a.book_id == c.book_id) & (a.attempt_id == c.attempt_id))
    return select(func.count()).select_from(joined).where(*mine, a.status.in_(_DECLINED_OR_ASKED))


def _lock_number(book_id: int, account_id: str, kind: PayerKind, lookup: bytes) -> int:
    name = f"{book_id}/{account_id}/{kind}/".encode() + lookup
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big", signed=True)
