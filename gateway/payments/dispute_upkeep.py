"""What disputes need while nobody acts: providers told and asked, merchants reminded, deadlines kept.

Work is claimed with a lease and SKIP LOCKED, so any number may run. Deadlines are business time of the book.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

import msgspec
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.logs import get_logger
from gateway.foundation.writes import Writes
from gateway.merchants.data_keys import wrapped_key
from gateway.payments.calls import Calls
from gateway.payments.dispute_case import REMINDED_BEFORE, event_for, move_of, next_look, with_closing
from gateway.payments.dispute_records import CLAIM_DISPUTES, DisputeRow, EvidenceRow, dispute_by_id
from gateway.payments.errors import FactError
from gateway.payments.facts import ClockOf, FactApplier, RecordEvents
from gateway.payments.records import add_moves, lock_intents, replace_rows, rows_of
from gateway.payments.requests import SubmitEvidence
from gateway.payments.schedule import Schedule
from gateway.payments.states import ANSWERABLE_DISPUTES, DisputeStatus
from gateway.payments.tables import dispute_evidence, disputes
from gateway.providers.base import Accepted, Declined, Fact, Inquiry
from gateway.providers.disputes import DisputeAnswer

CLAIM_MAX: Final = 50
Opened = TypeVar("Opened")

_log = get_logger("quickkub.disputes")


class DisputeUpkeep:
    """Sees to disputes whose time has come.

    Args:
        applier: takes what providers say; calls: asks and tells them.
        schedule: at which pace an answer is sent that was not taken.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        applier: FactApplier,
        calls: Calls,
        *,
        schedule: Schedule,
        clock_of: ClockOf,
        record_events: RecordEvents,
    ) -> None:
        self._database = database
        self._vault = vault
        self._applier = applier
        self._calls = calls
        self._schedule = schedule
        self._clock_of = clock_of
        self._record_events = record_events

    async def run_once(self) -> int:
        """See to what is due, at most 50 disputes; returns how many."""
        parameters = {"now": real_now(), "most": CLAIM_MAX, "leased_until": self._schedule.lease_end()}
        claimed = await Writes().also("claimed", CLAIM_DISPUTES, parameters, DisputeRow).send(self._database)
        due: list[DisputeRow] = claimed["claimed"]
        await asyncio.gather(*(self._guarded(row) for row in due))
        return len(due)

    async def tell(self, dispute: DisputeRow, now: datetime) -> None:
        """Tell the provider what the merchant decided, if it is still to be told; the caller holds the lease."""
        if dispute.owed_answer is None:
            return
        if dispute.owed_answer == "accept":
            outcome = await self._calls.accept_dispute(dispute)
        else:
            outcome = await self._calls.answer_dispute(dispute, await self._answer(dispute))
        if isinstance(outcome, Declined):
            # It may be decided already, or have been told by this very request, in a call whose answer was lost.
            _log.warning("provider did not take an answer", extra={"code": outcome.provider_code})
            await self._ask(dispute)
        if isinstance(outcome, Accepted):
            await self._apply(dispute, outcome.facts)
        await self._told(dispute, now, is_told=isinstance(outcome, Accepted | Declined))

    async def evidence_of(self, dispute: DisputeRow, opened: Callable[[EvidenceRow, bytes], Opened]) -> list[Opened]:
        """The evidence of a dispute, oldest first, each opened.

        Raises:
            DataKeyDestroyed: nobody can read it any more.
        """
        c = dispute_evidence.c
        statement = select(dispute_evidence).where(c.book_id == dispute.book_id, c.dispute_id == dispute.dispute_id)
        async with self._database.read() as connection:
            rows = await rows_of(connection, statement.order_by(c.evidence_id), EvidenceRow)
            key = await wrapped_key(connection, dispute.account_id) if rows else b""
        return [
            opened(row, self._vault.open(key, row.sealed_evidence, context=f"dispute_evidence:{row.evidence_id}"))
            for row in rows
        ]

    async def _guarded(self, dispute: DisputeRow) -> None:
        """One dispute's trouble is not the others'; its lease lapses and it is seen to again."""
        try:
            await self._see_to(dispute)
        except Exception:  # noqa: BLE001 – logged; the loop must see to the others
            _log.exception("dispute could not be seen to", extra={"dispute_id": dispute.dispute_id})

    async def _see_to(self, dispute: DisputeRow) -> None:
        async with self._database.read() as connection:
            now = (await self._clock_of(connection, dispute.book_id)).now()
        if dispute.owed_answer is not None:
            await self.tell(dispute, now)
            return
        if self._calls.takes_answers(dispute.provider):
            await self._ask(dispute)
        async with self._database.transaction() as connection:
            await lock_intents(connection, dispute.book_id, [dispute.intent_id])
            current = await dispute_by_id(connection, dispute.book_id, dispute.dispute_id)
            assert current is not None, "disputes are never deleted"
            await self._keep_deadline(connection, current, now)
            await _postpone(connection, current, next_look(current, now), asks=0)

    async def _keep_deadline(self, connection: AsyncConnection, before: DisputeRow, now: datetime) -> None:
        """Remind of a deadline that comes near, and end a dispute that nobody answered before it."""
        due_at = before.evidence_due_at
        if before.status not in ANSWERABLE_DISPUTES or due_at is None:
            return
        if due_at <= now:
            expired = DisputeStatus.EXPIRED
            after = msgspec.structs.replace(before, status=expired, outcome=expired, version=before.version + 1)
            after = with_closing(after, now)
            await replace_rows(connection, disputes, [after])
            move = move_of(before, after, actor="system", reason="deadline")
            await add_moves(connection, after.book_id, [move], now)
            await self._record_events(connection, [event_for(after, "dispute.closed", now)])
        elif due_at - REMINDED_BEFORE <= now and before.reminded_at is None:
            await replace_rows(connection, disputes, [msgspec.structs.replace(before, reminded_at=now)])
            await self._record_events(connection, [event_for(before, "dispute.evidence_due", now)])

    async def _ask(self, dispute: DisputeRow) -> None:
        inquiry = await self._calls.inquire_dispute(dispute)
        if isinstance(inquiry, Inquiry):
            await self._apply(dispute, inquiry.facts)

    async def _apply(self, dispute: DisputeRow, facts: tuple[Fact, ...]) -> None:
        for fact in facts:
            try:
                await self._applier.apply(fact, book_id=dispute.book_id)
            except FactError as error:
                _log.warning("fact of a dispute not applied", extra={"code": error.code})

    async def _answer(self, dispute: DisputeRow) -> DisputeAnswer:
        """The latest evidence."""
        [*_, latest] = await self.evidence_of(
            dispute, lambda _, content: msgspec.json.decode(content, type=SubmitEvidence)
        )
        return DisputeAnswer(reference=dispute.provider_dispute_id, text=latest.text, files=latest.files)

    async def _told(self, dispute: DisputeRow, now: datetime, *, is_told: bool) -> None:
        """Note that the provider knows, or when it is to be told again."""
        async with self._database.transaction() as connection:
            await lock_intents(connection, dispute.book_id, [dispute.intent_id])
            current = await dispute_by_id(connection, dispute.book_id, dispute.dispute_id)
            assert current is not None, "disputes are never deleted"
            if is_told and (current.stage, current.owed_answer) == (dispute.stage, dispute.owed_answer):
                current = msgspec.structs.replace(current, owed_answer=None)
                await replace_rows(connection, disputes, [current])
            if current.owed_answer is None:
                await _postpone(connection, current, next_look(current, now), asks=0)
            else:
                due_at = self._schedule.next_due_at(current.asks, now, endless=True)
                await _postpone(connection, current, due_at, asks=current.asks + 1)


async def _postpone(connection: AsyncConnection, dispute: DisputeRow, due_at: datetime | None, *, asks: int) -> None:
    """Note when the dispute is seen to next; the lease ends."""
    c = disputes.c
    await connection.execute(
        update(disputes)
        .where(c.book_id == dispute.book_id, c.dispute_id == dispute.dispute_id)
        .values(asks=asks, due_at=due_at, leased_until=None)
    )
