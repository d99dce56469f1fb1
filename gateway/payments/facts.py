"""The applier: the one way that a payment changes once it exists. Locks intents in id order, then the book.

Handlers, inbox, janitor and statements hand in what they found and await it. What gathers while a transaction is in
flight goes into the next one (at most 500 findings, one transaction a book and process). In that one READ COMMITTED
transaction: intents are locked by their ids and by what providers call them; what belongs to them is read; facts that
are known are dropped, the rest folded (`deciding.py`); rows, moves and events are written; and – the last statement
before COMMIT – entries posted. So a status without its entry, an entry without its fact or an event without either
cannot exist. Each of these is one statement, however many findings there are.

Facts commute and are unique by (book, provider, kind, provider_transaction_id), so any number of appliers in any
number of processes may be handed the same fact. A batch that fails is halved until the poison finding stands alone;
its caller gets the error, its facts go to `fact_quarantine`, nobody else notices.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
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
from gateway.foundation.reads import Query, Reads
from gateway.merchants.clocks import OFFSET, clock_at
from gateway.merchants.fee_plans import plan_for
from gateway.merchants.operators import record_act
from gateway.payments import limits, record_statements
from gateway.payments.acceptances import accepted_of
from gateway.payments.claim_disputes import note_disputed
from gateway.payments.deciding import Case, Changes
from gateway.payments.dispute_case import DisputeCase
from gateway.payments.dispute_records import disputes_of
from gateway.payments.errors import EntryRefused, FactContradicts, FactError, PaymentError, UnknownReference
from gateway.payments.findings import Finding
from gateway.payments.folding import CHARGE_FACTS, DISPUTE_FACTS
from gateway.payments.held_receipts import returned_of
from gateway.payments.link_rooms import link_rooms
from gateway.payments.records import (
    AttemptRow,
    FactRow,
    IntentRow,
    RefundRow,
    RowWrites,
    Subject,
    lock_spoken_of,
    refunds_by_id,
)
from gateway.payments.tables import attempts, disputes, fact_quarantine, facts, intents, refunds
from gateway.providers.base import Fact, FactKind
from gateway.webhooks import events
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

_BELONGINGS: Final = Reads(
    attempts=Query(record_statements.ATTEMPTS_OF, AttemptRow),
    facts=Query(record_statements.FACTS_OF, FactRow),
    offset=OFFSET,
    endpoints=events.HEARING,
)
"""What belongs to some payments of a book, its clock, and who hears of them."""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a finding; the transaction is committed.

    Attributes:
        new_facts: how many of its facts nobody had told before; 0 = it was a duplicate.
        intent, latest: the payment as it stands since, and its latest attempt.
    """

    subject: Subject
    new_facts: int
    intent: IntentRow
    latest: AttemptRow

    @property
    def duplicate(self) -> bool:
        """Whether nothing in it was new."""
        return self.new_facts == 0


class _Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """The cases of locked intents, by their ids; who hears of them; business time."""

    cases: dict[str, Case]
    endpoints: list[events.Endpoint]
    now: datetime


class ApplierUnavailable(PaymentError):
    """The database could not be asked or did not answer; the same finding may be handed in again."""

    code = "applier_unavailable"
    retryable = True


class FactApplier:
    """Applies findings, coalescing the concurrent callers of this process."""

    def __init__(self, database: Database) -> None:
        self._database = database
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
            rows, subjects = await _locked(connection, book_id, findings)
            loaded = await _load(connection, book_id, rows, findings, subjects)
            cases, now = loaded.cases, loaded.now
            added = [_add(cases, finding, subject, now) for finding, subject in zip(findings, subjects, strict=True)]
            settled = {intent_id: case.settle(now) for intent_id, case in sorted(cases.items())}
            changes = list(settled.values())
            await self._write(connection, book_id, changes, _told(book_id, findings), loaded)
            await self._post(connection, book_id, [entry for change in changes for entry in change.entries])
        for change in changes:
            count_moved(change)
        return [
            new_facts if isinstance(new_facts, FactError) else _applied(subject, new_facts, settled)
            for subject, new_facts in zip(subjects, added, strict=True)
        ]

    async def _write(
        self,
        connection: AsyncConnection,
        book_id: int,
        changes: Sequence[Changes],
        told: Sequence[tuple[int, str, str, Subject]],
        loaded: _Loaded,
    ) -> None:
        """All rows but the entries, by one statement; leases of our own calls end with what they found."""
        answered = [subject_id for change in changes for subject_id in change.answered]
        ended = [subject_id for change in changes for subject_id in change.ended]
        writes = (
            RowWrites()
            .refer(told)
            .insert(facts, [row for change in changes for row in change.facts])
            .replace(intents, [change.intent for change in changes if change.is_intent_changed])
            .replace(attempts, [row for change in changes for row in change.attempts], answered=answered, ended=ended)
            .replace(refunds, [row for change in changes for row in change.refunds], answered=answered, ended=ended)
            .insert(disputes, [row for change in changes for row in change.disputes.new])
            .replace(disputes, [row for change in changes for row in change.disputes.changed])
            .move(book_id, [move for change in changes for move in change.moves], loaded.now)
        )
        events.add(writes, [event for change in changes for event in change.events], loaded.endpoints)
        limits.add_uses(writes, book_id, [use for change in changes for use in change.uses])
        await writes.send(connection)
        disputed = {row.intent_id for change in changes for row in (*change.disputes.new, *change.disputes.changed)}
        if disputed:
            await note_disputed(connection, book_id, disputed, loaded.now)
        for act, dispute_id in [done for change in changes for done in change.disputes.acts]:
            await record_act(connection, actor=act.actor, act=act.act, subject=dispute_id, reason=act.reason)

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


def _told(book_id: int, findings: Sequence[Finding]) -> list[tuple[int, str, str, Subject]]:
    """What our own calls heard their subjects be called."""
    return [
        (book_id, finding.provider, reference, finding.subject)
        for finding in findings
        if finding.subject is not None
        for reference in (*finding.references, *(fact.provider_reference for fact in finding.facts))
    ]


async def _locked(
    connection: AsyncConnection, book_id: int, findings: Sequence[Finding]
) -> tuple[list[IntentRow], list[Subject | None]]:
    """The intents of all findings, locked, and whom each finding is about."""
    told = {(provider, reference): subject for _, provider, reference, subject in _told(book_id, findings)}
    asked = {(finding.provider, finding.facts[0].provider_reference) for finding in findings if finding.subject is None}
    named = {finding.subject.intent_id for finding in findings if finding.subject is not None}
    rows, known = await lock_spoken_of(connection, book_id, named, asked)
    known = told | known
    subjects = [
        finding.subject or known.get((finding.provider, finding.facts[0].provider_reference)) for finding in findings
    ]
    wanted = {subject.intent_id for subject in subjects if subject is not None}
    return [row for row in rows if row.intent_id in wanted], subjects


def _spoken_of(
    findings: Sequence[Finding], subjects: Sequence[Subject | None], kinds: Collection[FactKind]
) -> set[str]:
    """The intents of which there is news of these kinds."""
    return {
        subject.intent_id
        for finding, subject in zip(findings, subjects, strict=True)
        if subject is not None and any(fact.kind in kinds for fact in finding.facts)
    }


async def _load(
    connection: AsyncConnection,
    book_id: int,
    rows: Sequence[IntentRow],
    findings: Sequence[Finding],
    subjects: Sequence[Subject | None],
) -> _Loaded:
    """All that belongs to the locked intents; read after the lock, not before.

    Disputes are read of those of which there is news: payments are many and disputes few. Links are asked for room only
    where money came, now or before, and the merchant has none of it yet.
    """
    disputed = _spoken_of(findings, subjects, DISPUTE_FACTS)
    paid = _spoken_of(findings, subjects, {FactKind.CAPTURED})
    wanted = [row.intent_id for row in rows]
    accounts = sorted({row.account_id for row in rows})
    all_attempts, all_facts, offsets, endpoints = await _BELONGINGS.ask(
        connection, {"of_book": book_id, "wanted": wanted, "book_id": book_id, "account_ids": accounts}
    )
    refund_ids = {subject.refund_id for subject in subjects if subject is not None and subject.refund_id is not None}
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
    cases = {
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
    return _Loaded(cases=cases, endpoints=endpoints, now=clock_at(offsets).now())


async def _disputes_of(connection: AsyncConnection, intent: IntentRow, known: Sequence[FactRow]) -> DisputeCase:
    """The disputes of a locked intent, and what the merchant's plan in force asks for one."""
    plan = None if intent.method is None else await plan_for(connection, intent.account_id, intent.method)
    return DisputeCase(
        await disputes_of(connection, intent.book_id, [intent.intent_id]),
        known,
        fee_minor=0 if plan is None else plan.dispute_fee_minor,
        returned=await returned_of(connection, intent.book_id, [intent.intent_id]) if intent.returned_minor else {},
    )


def _by_intent(rows: Iterable[Owned]) -> dict[str, list[Owned]]:
    grouped: dict[str, list[Owned]] = defaultdict(list)
    for row in rows:
        grouped[row.intent_id].append(row)
    return grouped


def _add(cases: dict[str, Case], finding: Finding, subject: Subject | None, now: datetime) -> int | FactError:
    """How many facts of the finding are new, or why it cannot be taken in."""
    if subject is None:
        return UnknownReference(f"{finding.provider} {finding.facts[0].provider_reference}")
    try:
        return cases[subject.intent_id].add(finding, subject, now)
    except FactError as error:
        return error


def _applied(subject: Subject | None, new_facts: int, settled: Mapping[str, Changes]) -> Applied:
    assert subject is not None, "only what is about something was taken in"
    change = settled[subject.intent_id]
    return Applied(subject=subject, new_facts=new_facts, intent=change.intent, latest=change.latest)


def _is_about(fact: Fact, subject: Subject) -> bool:
    return fact.kind not in DISPUTE_FACTS and (fact.kind in CHARGE_FACTS) == (subject.attempt_id is not None)


def count_moved(change: Changes) -> None:
    """Count the payment if it reached another status; for whoever has committed what a case came to."""
    if any(move.subject_id == change.intent.intent_id for move in change.moves):
        PAYMENT_INTENTS.labels(change.intent.method, change.latest.provider, change.intent.status).inc()
