"""Disputes as merchants and operators deal with them: look, answer, give in, and state what a letter said.

What a provider says changes a dispute through the applier (`dispute_case.py`). What the merchant decides is committed
here, under the intent's lock, before the provider is told; `dispute_upkeep.py` tells a provider that was not reached.
No money moves here: accepting a dispute only says that it will not be fought.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import ColumnElement, func, literal, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.merchants.data_keys import wrapped_key
from gateway.merchants.principals import MerchantPrincipal
from gateway.payments.calls import Calls
from gateway.payments.dispute_case import event_for, move_of, with_closing
from gateway.payments.dispute_records import DisputeRow, EvidenceRow, OwedAnswer, dispute_by_id
from gateway.payments.dispute_upkeep import DisputeUpkeep
from gateway.payments.errors import InvalidRequest, NotFound, Refused
from gateway.payments.facts import RecordEvents
from gateway.payments.listing import Page, read_page
from gateway.payments.records import add_moves, add_rows, lock_intents, replace_rows, rows_of
from gateway.payments.requests import SubmitEvidence, check_evidence
from gateway.payments.schedule import Schedule
from gateway.payments.states import ANSWERABLE_DISPUTES, DisputeStatus
from gateway.payments.tables import dispute_evidence, disputes
from gateway.payments.views import Dispute, dispute_view
from gateway.providers.dispute_terms import DisputeStage

Sort = Literal["newest", "deadline"]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence as it was handed in, at one stage."""

    object: Literal["dispute_evidence"] = "dispute_evidence"
    id: str
    dispute: str
    stage: DisputeStage
    text: dict[str, str]
    files: dict[str, str]
    submitted_at: datetime


class Disputes:
    """The use cases of disputes.

    Args:
        vault: seals evidence, which may tell of payers.
        upkeep: tells providers what was decided.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        calls: Calls,
        schedule: Schedule,
        upkeep: DisputeUpkeep,
        *,
        record_events: RecordEvents,
    ) -> None:
        self._database = database
        self._vault = vault
        self._calls = calls
        self._schedule = schedule
        self._upkeep = upkeep
        self._record_events = record_events

    async def get(self, principal: MerchantPrincipal, dispute_id: str) -> Dispute:
        """The dispute.

        Raises:
            NotFound: no dispute of this account has that id.
        """
        async with self._database.read() as connection:
            return dispute_view(await _own(connection, principal, dispute_id))

    async def list(
        self,
        principal: MerchantPrincipal,
        *,
        status: DisputeStatus | None = None,
        payment_intent: str | None = None,
        sort: Sort = "newest",
        limit: int = 10,
        starting_after: str | None = None,
        ending_before: str | None = None,
    ) -> Page[Dispute]:
        """A page of the account's disputes: newest first, or the next deadline first and those without one last.

        Raises:
            InvalidRequest: `cursor_invalid`.
        """
        c = disputes.c
        where = [c.book_id == principal.book_id, c.account_id == principal.account_id]
        if status is not None:
            where.append(c.status == status)
        if payment_intent is not None:
            where.append(c.intent_id == payment_intent)
        async with self._database.read() as connection:
            if sort == "deadline":
                page = await _page_by_deadline(connection, where, limit, starting_after, ending_before)
            else:
                page = await read_page(
                    connection,
                    disputes,
                    c.dispute_id,
                    DisputeRow,
                    *where,
                    limit=limit,
                    starting_after=starting_after,
                    ending_before=ending_before,
                )
        return Page(data=[dispute_view(row) for row in page.data], has_more=page.has_more)

    async def evidence(self, principal: MerchantPrincipal, dispute_id: str) -> Sequence[Evidence]:
        """What was handed in, oldest first.

        Raises:
            NotFound: no dispute of this account has that id.
            DataKeyDestroyed: nobody can read it any more.
        """
        async with self._database.read() as connection:
            row = await _own(connection, principal, dispute_id)
        return await self.evidence_of(row)

    async def evidence_of(self, dispute: DisputeRow) -> Sequence[Evidence]:
        """The same, for those who forward it."""
        return await self._upkeep.evidence_of(dispute, _opened)

    async def submit_evidence(
        self,
        principal: MerchantPrincipal,
        dispute_id: str,
        request: SubmitEvidence,
        *,
        evidence_id: str | None = None,
    ) -> Dispute:
        """Answer a dispute that waits for it, once a stage; then it is under review.

        Args:
            evidence_id: `claim.id_for("dev")`, so that a retry finds what an earlier run handed in.

        Raises:
            InvalidRequest: evidence beyond its limits.
            NotFound: no dispute of this account has that id.
            Refused: `dispute_not_open`, `evidence_deadline_passed`; nothing changed.
        """
        check_evidence(request)
        evidence_id = evidence_id or new_id("dev", livemode=principal.livemode)
        now = principal.clock.now()
        async with self._database.transaction() as connection:
            before = await _locked(connection, principal, dispute_id)
            if await _was_handed_in(connection, principal.book_id, evidence_id):
                return dispute_view(before)
            _check_waits(before)
            if before.evidence_due_at is not None and before.evidence_due_at <= now:
                raise Refused("evidence_deadline_passed", f"it ended {before.evidence_due_at}", subject_id=dispute_id)
            key = await wrapped_key(connection, principal.account_id)
            content = msgspec.json.encode(request)
            row = EvidenceRow(
                book_id=principal.book_id,
                evidence_id=evidence_id,
                dispute_id=dispute_id,
                stage=before.stage,
                sealed_evidence=self._vault.seal(key, content, context=f"dispute_evidence:{evidence_id}"),
                fields=len(request.text) + len(request.files),
                submitted_by=principal.key_id,
                submitted_at=now,
            )
            await add_rows(connection, dispute_evidence, [row])
            after = msgspec.structs.replace(before, evidence_submitted_at=now)
            after = await self._decide(
                connection, principal, after, DisputeStatus.UNDER_REVIEW, answer="evidence", now=now
            )
        await self._upkeep.tell(after, now)
        return await self.get(principal, dispute_id)

    async def accept(self, principal: MerchantPrincipal, dispute_id: str) -> Dispute:
        """Give in. What is held stays held until the provider takes it; accepting again changes nothing.

        Raises:
            NotFound: no dispute of this account has that id.
            Refused: `dispute_not_open`; nothing changed.
        """
        now = principal.clock.now()
        async with self._database.transaction() as connection:
            before = await _locked(connection, principal, dispute_id)
            if before.outcome is DisputeStatus.ACCEPTED:
                return dispute_view(before)
            _check_waits(before)
            after = await self._decide(connection, principal, before, DisputeStatus.ACCEPTED, answer="accept", now=now)
        await self._upkeep.tell(after, now)
        return await self.get(principal, dispute_id)

    async def _decide(
        self,
        connection: AsyncConnection,
        principal: MerchantPrincipal,
        before: DisputeRow,
        status: DisputeStatus,
        *,
        answer: OwedAnswer,
        now: datetime,
    ) -> DisputeRow:
        """Write what the merchant decided, and that the provider is to be told."""
        owed = answer if self._calls.takes_answers(before.provider) else None
        after = msgspec.structs.replace(
            before, status=status, outcome=status, version=before.version + 1, owed_answer=owed
        )
        after = with_closing(after, now)
        await replace_rows(connection, disputes, [after])
        await add_moves(
            connection, after.book_id, [move_of(before, after, actor=principal.account_id, reason=answer)], now
        )
        kind = "dispute.closed" if status is DisputeStatus.ACCEPTED else "dispute.updated"
        await self._record_events(connection, [event_for(after, kind, now)])
        if owed is not None:
            await _lease(connection, after, self._schedule, now)
        return after


def _check_waits(dispute: DisputeRow) -> None:
    if dispute.status not in ANSWERABLE_DISPUTES:
        raise Refused("dispute_not_open", f"the dispute is {dispute.status}", subject_id=dispute.dispute_id)


def _opened(row: EvidenceRow, content: bytes) -> Evidence:
    request = msgspec.json.decode(content, type=SubmitEvidence)
    return Evidence(
        id=row.evidence_id,
        dispute=row.dispute_id,
        stage=row.stage,
        text=request.text,
        files=request.files,
        submitted_at=row.submitted_at,
    )


async def _own(connection: AsyncConnection, principal: MerchantPrincipal, dispute_id: str) -> DisputeRow:
    row = await dispute_by_id(connection, principal.book_id, dispute_id)
    if row is None or row.account_id != principal.account_id:
        raise NotFound(f"no dispute {dispute_id}")
    return row


async def _locked(connection: AsyncConnection, principal: MerchantPrincipal, dispute_id: str) -> DisputeRow:
    """The dispute as it is under its intent's lock."""
    row = await _own(connection, principal, dispute_id)
    await lock_intents(connection, row.book_id, [row.intent_id])
    return await _own(connection, principal, dispute_id)


async def _was_handed_in(connection: AsyncConnection, book_id: int, evidence_id: str) -> bool:
    c = dispute_evidence.c
    found = await connection.execute(select(c.evidence_id).where(c.book_id == book_id, c.evidence_id == evidence_id))
    return found.first() is not None


async def _lease(connection: AsyncConnection, dispute: DisputeRow, schedule: Schedule, now: datetime) -> None:
    """The caller tells the provider now; whoever finds the lease lapsed does it in his place."""
    c = disputes.c
    await connection.execute(
        update(disputes)
        .where(c.book_id == dispute.book_id, c.dispute_id == dispute.dispute_id)
        .values(asks=0, due_at=now, leased_until=schedule.lease_end())
    )


async def _page_by_deadline(
    connection: AsyncConnection,
    where: list[ColumnElement[bool]],
    limit: int,
    starting_after: str | None,
    ending_before: str | None,
) -> Page[DisputeRow]:
    c = disputes.c
    deadline = func.coalesce(c.evidence_due_at, literal("infinity").cast(c.evidence_due_at.type))
    place = tuple_(deadline, c.dispute_id)
    cursor, param = (starting_after, "starting_after") if ending_before is None else (ending_before, "ending_before")
    statement = select(disputes).where(*where).limit(limit + 1)
    if cursor is not None:
        own = (await connection.execute(select(c.dispute_id).where(*where, c.dispute_id == cursor))).first()
        if own is None:
            raise InvalidRequest("cursor_invalid", f"{param} is not in this list", param=param)
        there = select(deadline, c.dispute_id).where(*where, c.dispute_id == cursor).scalar_subquery()
        statement = statement.where(place > there if ending_before is None else place < there)
    if ending_before is None:
        rows = await rows_of(connection, statement.order_by(deadline, c.dispute_id), DisputeRow)
        return Page(data=rows[:limit], has_more=len(rows) > limit)
    rows = await rows_of(connection, statement.order_by(deadline.desc(), c.dispute_id.desc()), DisputeRow)
    return Page(data=rows[:limit][::-1], has_more=len(rows) > limit)
