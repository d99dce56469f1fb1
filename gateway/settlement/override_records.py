"""Rows of overrides: what was proposed, what was decided of it, and whether that was carried out. All append-only.

The state follows from the rows and the time; nothing is ever rewritten. That whoever approves is another person than
whoever proposed is also a constraint of the table of decisions.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Select, and_, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.settlement.tables import override_decisions, override_results, overrides

PROPOSAL_LIFE: Final = timedelta(days=3)
"""How long a proposal may be approved: what was evidence then may be overtaken now."""

SubjectKind = Literal["attempt", "refund", "payout"]
OverrideOutcome = Literal["succeeded", "failed"]
Decision = Literal["approved", "rejected"]
Result = Literal["applied", "not_needed"]


class OverrideState(StrEnum):
    """How far a proposal got.

    Attributes:
        APPROVED: decided, and not carried out yet; it will be by itself.
        NOT_NEEDED: approved, and at that very moment settled by the provider: nothing was done.
    """

    OPEN = "open"
    EXPIRED = "expired"
    REJECTED = "rejected"
    APPROVED = "approved"
    APPLIED = "applied"
    NOT_NEEDED = "not_needed"


class OverrideRow(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal with what became of it, see `tables.overrides`.

    Attributes:
        subject_id: the attempt, refund or payout that it settles; intent_id: the payment of the first two.
        provider: who carries it; of a payout the bank's.
        evidence: what shows that it is so: a statement's line, the number of the provider's letter. No payer's data.
    """

    book_id: int
    override_id: str
    account_id: str
    livemode: bool
    subject_kind: SubjectKind
    subject_id: str
    intent_id: str | None
    provider: str
    outcome: OverrideOutcome
    amount_minor: int
    currency: str
    evidence: str
    reason: str
    proposed_by: str
    proposed_at: datetime
    expires_at: datetime
    decision: Decision | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    decision_reason: str | None = None
    result: Result | None = None

    def state_at(self, now: datetime) -> OverrideState:
        """Its state at that business time."""
        if self.decision is None:
            return OverrideState.EXPIRED if now >= self.expires_at else OverrideState.OPEN
        if self.decision == "rejected":
            return OverrideState.REJECTED
        match self.result:
            case "applied":
                return OverrideState.APPLIED
            case "not_needed":
                return OverrideState.NOT_NEEDED
            case None:
                return OverrideState.APPROVED


async def add_proposal(connection: AsyncConnection, row: OverrideRow) -> None:
    """Write a proposal; the caller has locked its subject."""
    values = msgspec.structs.asdict(row)
    await connection.execute(insert(overrides).values({column.name: values[column.name] for column in overrides.c}))


async def add_decision(
    connection: AsyncConnection, row: OverrideRow, decision: Decision, *, actor: str, reason: str, at: datetime
) -> None:
    """Write what was decided of an undecided proposal."""
    await connection.execute(
        insert(override_decisions).values(
            book_id=row.book_id,
            override_id=row.override_id,
            proposed_by=row.proposed_by,
            decision=decision,
            reason=reason,
            decided_by=actor,
            decided_at=at,
        )
    )


async def add_result(connection: AsyncConnection, row: OverrideRow, result: Result, *, at: datetime) -> None:
    """Write that an approved proposal was carried out, once."""
    known = await override_by_id(connection, row.book_id, row.override_id)
    if known is not None and known.result is None:
        values = {"book_id": row.book_id, "override_id": row.override_id, "result": result, "applied_at": at}
        await connection.execute(insert(override_results).values(values))


async def override_by_id(connection: AsyncConnection, book_id: int, override_id: str) -> OverrideRow | None:
    """The proposal with that id."""
    o = overrides.c
    found = await _read(connection, _joined().where(o.book_id == book_id, o.override_id == override_id))
    return found[0] if found else None


async def overrides_of(connection: AsyncConnection, book_id: int, subject_id: str) -> list[OverrideRow]:
    """Every proposal about a subject, oldest first."""
    o = overrides.c
    statement = _joined().where(o.book_id == book_id, o.subject_id == subject_id)
    return await _read(connection, statement.order_by(o.override_id))


async def overrides_page(
    connection: AsyncConnection, book_id: int, *, state: OverrideState | None, now: datetime, after: str, limit: int
) -> list[OverrideRow]:
    """Proposals of a book from the oldest, those that came after the id `after`, at most `limit`."""
    o = overrides.c
    statement = _joined().where(o.book_id == book_id, o.override_id > after)
    if state is not None:
        statement = statement.where(_is_in(state, now))
    return await _read(connection, statement.order_by(o.override_id).limit(limit))


async def unfinished(connection: AsyncConnection, *, after: str, limit: int) -> list[OverrideRow]:
    """Approved proposals of any book that were not carried out, in order of id, those after the id `after`."""
    o = overrides.c
    statement = _joined().where(
        override_decisions.c.decision == "approved", override_results.c.result.is_(None), o.override_id > after
    )
    return await _read(connection, statement.order_by(o.override_id).limit(limit))


def _is_in(state: OverrideState, now: datetime) -> Any:
    o, d, r = overrides.c, override_decisions.c, override_results.c
    match state:
        case OverrideState.OPEN:
            return and_(d.decision.is_(None), o.expires_at > now)
        case OverrideState.EXPIRED:
            return and_(d.decision.is_(None), o.expires_at <= now)
        case OverrideState.REJECTED:
            return d.decision == "rejected"
        case OverrideState.APPROVED:
            return and_(d.decision == "approved", r.result.is_(None))
        case _:
            return r.result == state.value


def _joined() -> Select[Any]:
    o, d, r = overrides.c, override_decisions.c, override_results.c
    return (
        select(
            overrides,
            d.decision,
            d.decided_by,
            d.decided_at,
            d.reason.label("decision_reason"),
            r.result,
        )
        .select_from(overrides)
        .outerjoin(override_decisions, and_(d.book_id == o.book_id, d.override_id == o.override_id))
        .outerjoin(override_results, and_(r.book_id == o.book_id, r.override_id == o.override_id))
    )


async def _read(connection: AsyncConnection, statement: Select[Any]) -> list[OverrideRow]:
    rows: Sequence[Any] = (await connection.execute(statement)).mappings().all()
    return [OverrideRow(**row) for row in rows]
