"""The applier: the one way that a payment changes once it exists. Locks intents in id order, then the book.

Handlers, inbox, janitor and statements hand in what they found and await it. What gathers while a transaction is in
flight goes into the next one (at most 500 findings, one transaction a book and process). In that one READ COMMITTED
transaction: references are looked up, intents locked, facts that are known dropped, the rest folded (`deciding.py`),
rows, moves and events written, and – the last statement before COMMIT – entries posted. So a status without its
entry, an entry without its fact or an event without either cannot exist.

Facts commute and are unique by (book, provider, kind, provider_transaction_id), so any number of appliers in any
number of processes may be handed the same fact. A batch that fails is halved until the poison finding stands alone;
its caller gets the error, its facts go to `fact_quarantine`, nobody else notices.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Final, TypeVar

import asyncpg
import msgspec
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import BookClock, real_now
from gateway.foundation.database import Database, driver, is_passing
from gateway.foundation.logs import get_logger
from gateway.foundation.metrics import PAYMENT_INTENTS
from gateway.merchants.fee_plans import plan_for
from gateway.merchants.operators import record_act
from gateway.payments import limits, schedule
from gateway.payments.acceptances import accepted_of
from gateway.payments.deciding import Case, Changes
from gateway.payments.dispute_case import DisputeCase
from gateway.payments.dispute_records import disputes_of
from gateway.payments.errors import EntryRefused, FactContradicts, FactError, PaymentError, UnknownReference
from gateway.payments.findings import Finding
from gateway.payments.folding import CHARGE_FACTS, DISPUTE_FACTS
from gateway.payments.link_rooms import link_rooms
from gateway.payments.records import (
    AttemptRow,
    FactRow,
    IntentRow,
    RefundRow,
    Subject,
    add_moves,
    add_rows,
    attempts_of,
    facts_of,
    lock_intents,
    refunds_by_id,
    register_references,
    replace_rows,
    subjects_of,
)
from gateway.payments.tables import attempts, disputes, fact_quarantine, facts, intents, refunds
from gateway.providers.base import Fact, FactKind
from gateway.webhooks.events import NewEvent
from ledger.coalescing import Coalescer
from ledger.encoding import AccountNumbers
from ledger.errors import LedgerError
from ledger.journal import JournalEntry, Posted
from ledger.posting import post_entries

FINDINGS_MAX: Final = 500
QUEUE_LIMIT: Final = 10_000
NO_CONNECTION: Final = (OSError, PoolTimeout, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What comes of connecting in vain; errors of statements come as `DBAPIError` and `LedgerError`."""

_log = get_logger("quickkub.payments")

Owned = TypeVar("Owned", AttemptRow, RefundRow, FactRow)

RecordEvents = Callable[[AsyncConnection, Sequence[NewEvent]], Awaitable[None]]
"""Writes events and their deliveries in the caller's transaction."""

ClockOf = Callable[[AsyncConnection, int], Awaitable[BookClock]]
"""The clock of a book."""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a finding; the transaction is committed.

    Attributes:
        new_facts: how many of its facts nobody had told before; 0 = it was a duplicate.
    """

    intent_id: str
    subject: Subject
    new_facts: int

    @property
    def duplicate(self) -> bool:
        """Whether nothing in it was new."""
        return self.new_facts == 0


class ApplierUnavailable(PaymentError):
    """The database could not be asked or did not answer; the same finding may be handed in again."""

    code = "applier_unavailable"
    retryable = True


class FactApplier:
    """Applies findings, coalescing the concurrent callers of this process.

    Args:
        record_events: writes events in the posting transaction.
        clock_of: business time of a book.
    """

    def __init__(self, database: Database, *, record_events: RecordEvents, clock_of: ClockOf) -> None:
        self._database = database
        self._record_events = record_events
        self._clock_of = clock_of
        self._numbers: defaultdict[int, AccountNumbers] = defaultdict(AccountNumbers)
        self._books: dict[int, Coalescer[Finding, Applied | FactError]] = {}

    async def apply(self, fact: Fact, *, book_id: int) -> Applied:
        """Apply one fact, to what its provider reference stands for.

        Raises:
            UnknownReference: nobody knows the reference (yet); nothing moved, try again later.
            FactError: the fact cannot be applied; it moved nothing and is quarantined.
            LedgerBusy: too much is waiting. ApplierUnavailable, LedgerError: infrastructure; try again.
        """
        return await self.report(Finding(provider=fact.provider, facts=(fact,)), book_id=book_id)

    async def report(self, finding: Finding, *, book_id: int) -> Applied:
        """Apply what was found about one subject, all of it in one transaction.

        An inquiry about a charge may tell of its refunds, too: such facts are applied by their own reference.

        Raises:
            FactError, LedgerError, ApplierUnavailable: as `apply`.
        """
        others: list[Fact] = []
        if finding.subject is not None:
            others = [fact for fact in finding.facts if not _is_about(fact, finding.subject)]
            finding = msgspec.structs.replace(
                finding, facts=tuple(fact for fact in finding.facts if _is_about(fact, finding.subject))
            )
        applied = await self._submit(finding, book_id)
        for fact in others:
            try:
                await self.apply(fact, book_id=book_id)
            except FactError as error:
                _log.warning("fact about another subject not applied", extra={"code": error.code})
        return applied

    async def close(self) -> None:
        """Refuse new findings and wait for those taken."""
        await asyncio.gather(*(coalescer.close() for coalescer in self._books.values()))

    async def _submit(self, finding: Finding, book_id: int) -> Applied:
        if book_id not in self._books:
            self._books[book_id] = Coalescer(self._flush_into(book_id), max_batch=FINDINGS_MAX, queue_limit=QUEUE_LIMIT)
        try:
            result = await self._books[book_id].submit(finding)
        except Exception as error:
            if not getattr(error, "retryable", False):
                await self._quarantine(finding, book_id, error)
            if isinstance(error, LedgerError | PaymentError):
                raise
            raise FactError(f"{type(error).__name__}: {error}") from error
        if isinstance(result, FactError):
            if not result.retryable:
                await self._quarantine(finding, book_id, result)
            raise result
        return result

    def _flush_into(self, book_id: int) -> Callable[[Sequence[Finding]], Awaitable[list[Applied | FactError]]]:
        async def flush(findings: Sequence[Finding]) -> list[Applied | FactError]:
            try:
                return await self._apply_all(book_id, findings)
            except DBAPIError as error:
                if is_passing(error):
                    raise ApplierUnavailable(str(error.orig)) from error
                raise FactContradicts(str(error.orig)) from error
            except NO_CONNECTION as error:
                raise ApplierUnavailable(str(error)) from error

        return flush

    async def _apply_all(self, book_id: int, findings: Sequence[Finding]) -> list[Applied | FactError]:
        async with self._database.transaction() as connection:
            subjects = await _subjects(connection, book_id, findings)
            known = [subject for subject in subjects if subject is not None]
            cases = await _locked_cases(
                connection,
                book_id,
                known,
                disputed=_spoken_of(findings, subjects, DISPUTE_FACTS),
                paid=_spoken_of(findings, subjects, {FactKind.CAPTURED}),
            )
            now = (await self._clock_of(connection, book_id)).now()
            results = [_add(cases, finding, subject, now) for finding, subject in zip(findings, subjects, strict=True)]
            changes = [case.settle(now) for _, case in sorted(cases.items())]
            await self._write(connection, book_id, changes, now)
            await _note_calls(connection, book_id, findings, results, changes)
            await self._post(connection, book_id, [entry for change in changes for entry in change.entries])
        for change in changes:
            count_moved(change)
        return results

    async def _write(
        self, connection: AsyncConnection, book_id: int, changes: Sequence[Changes], now: datetime
    ) -> None:
        await add_rows(connection, facts, [row for change in changes for row in change.facts])
        await replace_rows(connection, intents, [row for change in changes for row in change.intents])
        await replace_rows(connection, attempts, [row for change in changes for row in change.attempts])
        await replace_rows(connection, refunds, [row for change in changes for row in change.refunds])
        await add_rows(connection, disputes, [row for change in changes for row in change.disputes.new])
        await replace_rows(connection, disputes, [row for change in changes for row in change.disputes.changed])
        for act, dispute_id in [done for change in changes for done in change.disputes.acts]:
            await record_act(connection, actor=act.actor, act=act.act, subject=dispute_id, reason=act.reason)
        await add_moves(connection, book_id, [move for change in changes for move in change.moves], now)
        events = [event for change in changes for event in change.events]
        if events:
            await self._record_events(connection, events)
        await limits.count(connection, book_id, [use for change in changes for use in change.uses])

    async def _post(self, connection: AsyncConnection, book_id: int, entries: Sequence[JournalEntry]) -> None:
        """Post; the connection takes nothing but COMMIT after this.

        Raises:
            EntryRefused: an entry that only records was refused; the whole transaction is to be rolled back.
        """
        if not entries:
            return
        for result in await post_entries(driver(connection), book_id, entries, numbers=self._numbers[book_id]):
            if not isinstance(result, Posted):
                raise EntryRefused(f"{result.key}: {result.refusal.code}")
            if result.floor_breached:
                _log.error("a recorded fact took an account below its floor", extra={"entry_key": str(result.key)})

    async def _quarantine(self, finding: Finding, book_id: int, error: Exception) -> None:
        """Keep what could not be applied where an operator finds it."""
        code = getattr(error, "code", type(error).__name__)
        _log.error("finding quarantined", exc_info=error, extra={"book_id": book_id, "code": code})
        rows = [
            {
                "book_id": book_id,
                "quarantine_id": _quarantine_id(fact, code),
                "provider": fact.provider,
                "kind": fact.kind,
                "provider_reference": fact.provider_reference,
                "provider_transaction_id": fact.provider_transaction_id,
                "amount_minor": fact.amount_minor,
                "currency": fact.currency,
                "error_code": code,
                "error_detail": str(error),
                "quarantined_at": real_now(),
            }
            for fact in finding.facts
        ]
        if rows:
            async with self._database.transaction() as connection:
                await connection.execute(insert(fact_quarantine).on_conflict_do_nothing(), rows)


def _quarantine_id(fact: Fact, code: str) -> str:
    """The same for every arrival of the same trouble, so that a provider's retries fill no table."""
    name = "\x00".join((fact.provider, fact.kind, fact.provider_transaction_id, str(fact.amount_minor), code))
    return hashlib.sha256(name.encode()).hexdigest()


async def _subjects(connection: AsyncConnection, book_id: int, findings: Sequence[Finding]) -> list[Subject | None]:
    """Whom each finding is about; names that our own calls brought are noted."""
    told = [
        (finding.provider, reference, finding.subject)
        for finding in findings
        if finding.subject is not None
        for reference in (*finding.references, *(fact.provider_reference for fact in finding.facts))
    ]
    await register_references(connection, book_id, told)
    asked = {(finding.provider, finding.facts[0].provider_reference) for finding in findings if finding.subject is None}
    known = await subjects_of(connection, book_id, asked) if asked else {}
    return [
        finding.subject or known.get((finding.provider, finding.facts[0].provider_reference)) for finding in findings
    ]


def _spoken_of(
    findings: Sequence[Finding], subjects: Sequence[Subject | None], kinds: Collection[FactKind]
) -> set[str]:
    """The intents of which there is news of these kinds."""
    return {
        subject.intent_id
        for finding, subject in zip(findings, subjects, strict=True)
        if subject is not None and any(fact.kind in kinds for fact in finding.facts)
    }


async def _locked_cases(
    connection: AsyncConnection, book_id: int, subjects: Sequence[Subject], *, disputed: set[str], paid: set[str]
) -> dict[str, Case]:
    """The intents of the subjects, locked, with all that belongs to them; read after the lock, not before.

    Disputes are read of those in `disputed` only: payments are many and disputes few. Links are asked for room only
    where money came, in `paid` or before, and the merchant has none of it yet.
    """
    wanted = {subject.intent_id for subject in subjects}
    if not wanted:
        return {}
    rows = await lock_intents(connection, book_id, wanted)
    all_attempts = await attempts_of(connection, book_id, wanted)
    all_facts = await facts_of(connection, book_id, wanted)
    refund_ids = {subject.refund_id for subject in subjects if subject.refund_id is not None}
    all_refunds = await refunds_by_id(connection, book_id, refund_ids) if refund_ids else []
    accepted = await accepted_of(connection, book_id, [row.intent_id for row in rows if row.accepted_minor])
    its_attempts, its_refunds, its_facts = _by_intent(all_attempts), _by_intent(all_refunds), _by_intent(all_facts)
    links = {
        row.intent_id: row.payment_link_id
        for row in rows
        if row.payment_link_id is not None and not row.captured_minor and (row.held_minor or row.intent_id in paid)
    }
    rooms = await link_rooms(connection, book_id, set(links.values()))
    its_disputes = {
        row.intent_id: await _disputes_of(connection, row, its_facts[row.intent_id])
        for row in rows
        if row.intent_id in disputed
    }
    return {
        row.intent_id: Case(
            row,
            its_attempts[row.intent_id],
            its_refunds[row.intent_id],
            its_facts[row.intent_id],
            its_disputes.get(row.intent_id),
            room=rooms.get(links.get(row.intent_id, "")),
            accepted=accepted,
        )
        for row in rows
    }


async def _disputes_of(connection: AsyncConnection, intent: IntentRow, known: Sequence[FactRow]) -> DisputeCase:
    """The disputes of a locked intent, and what the merchant's plan in force asks for one."""
    plan = None if intent.method is None else await plan_for(connection, intent.account_id, intent.method)
    return DisputeCase(
        await disputes_of(connection, intent.book_id, [intent.intent_id]),
        known,
        fee_minor=0 if plan is None else plan.dispute_fee_minor,
    )


def _by_intent(rows: Iterable[Owned]) -> dict[str, list[Owned]]:
    grouped: dict[str, list[Owned]] = defaultdict(list)
    for row in rows:
        grouped[row.intent_id].append(row)
    return grouped


def _add(cases: dict[str, Case], finding: Finding, subject: Subject | None, now: datetime) -> Applied | FactError:
    if subject is None:
        return UnknownReference(f"{finding.provider} {finding.facts[0].provider_reference}")
    try:
        new_facts = cases[subject.intent_id].add(finding, subject, now)
    except FactError as error:
        return error
    return Applied(intent_id=subject.intent_id, subject=subject, new_facts=new_facts)


async def _note_calls(
    connection: AsyncConnection,
    book_id: int,
    findings: Sequence[Finding],
    results: Sequence[Applied | FactError],
    changes: Sequence[Changes],
) -> None:
    """Leases of our own calls end with what they found; what has ended is asked about no more."""
    answered = [
        result.subject
        for finding, result in zip(findings, results, strict=True)
        if finding.subject is not None and not finding.goes_on and isinstance(result, Applied)
    ]
    await schedule.finish(
        connection,
        attempts,
        book_id,
        [subject.attempt_id for subject in answered if subject.attempt_id is not None],
        [attempt_id for change in changes for attempt_id in change.ended_attempts],
    )
    await schedule.finish(
        connection,
        refunds,
        book_id,
        [subject.refund_id for subject in answered if subject.refund_id is not None],
        [refund_id for change in changes for refund_id in change.ended_refunds],
    )


def _is_about(fact: Fact, subject: Subject) -> bool:
    return fact.kind not in DISPUTE_FACTS and (fact.kind in CHARGE_FACTS) == (subject.attempt_id is not None)


def count_moved(change: Changes) -> None:
    """Count the payments that reached another status; for whoever has committed what a case came to."""
    for intent in change.intents:
        if any(move.subject_id == intent.intent_id for move in change.moves):
            PAYMENT_INTENTS.labels(intent.method, change.provider, intent.status).inc()
