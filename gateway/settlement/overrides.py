"""Manual override: two people settle a payment, refund or payout whose outcome stays unknown.

One proposes, with evidence and a reason; another approves, within three days. The provider is asked once more before,
and its word wins. The decision is committed first; what it means is then carried out under keys of the subject, by
whoever comes first: this call, or `run_once` after a crash. A mark moves no cash (`ledger/posting_rules/marks.py`),
and what the provider says later is booked as ever: it proves the mark, or the object is `conflicted` for a person.
Locks: the subject's payment, or the payout.
"""

from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.database import Database
from gateway.foundation.ids import new_id
from gateway.foundation.logs import get_logger
from gateway.merchants.clocks import clock_of
from gateway.merchants.operators import is_second_person, record_act
from gateway.payments.calls import Calls, subject_of
from gateway.payments.errors import NotFound, Refused
from gateway.payments.facts import FactApplier
from gateway.payments.findings import Finding
from gateway.payments.records import AttemptRow, RefundRow, facts_of
from gateway.providers.base import Fact, FactKind, FactSource, Inquiry
from gateway.settlement.files import withdraw
from gateway.settlement.override_records import (
    PROPOSAL_LIFE,
    Decision,
    OverrideOutcome,
    OverrideRow,
    OverrideState,
    add_decision,
    add_proposal,
    add_result,
    override_by_id,
    overrides_of,
    overrides_page,
    unfinished,
)
from gateway.settlement.override_subjects import OverrideSubject, locked_subject
from gateway.settlement.payouts import Payout, Payouts, PayoutState, find, locked, reject_locked
from gateway.settlement.rounds import AT_ONCE, Rounds

OVERRIDE_AFTER: Final = timedelta(hours=1)
"""For so long the provider is asked often; nobody may decide in its place."""
FAILURE_CODE: Final = "settled_as_failed"
"""Why it failed, where people said so."""
_KINDS: Final = {
    ("attempt", "succeeded"): FactKind.CAPTURED,
    ("attempt", "failed"): FactKind.DECLINED,
    ("refund", "succeeded"): FactKind.REFUND_SUCCEEDED,
    ("refund", "failed"): FactKind.REFUND_FAILED,
}

_log = get_logger("quickkub.overrides")


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator proposes.

    Attributes:
        subject: id of the payment, refund or payout.
        evidence: what shows that it is so; reason: why a person settles it. Neither names a payer.
    """

    subject: str
    outcome: OverrideOutcome
    evidence: str
    reason: str


class Overrides:
    """The use cases of overrides. `actor` is `op_…`, or `cli:` and a login of the machine."""

    def __init__(self, database: Database, applier: FactApplier, calls: Calls, payouts: Payouts) -> None:
        self._database = database
        self._applier = applier
        self._calls = calls
        self._payouts = payouts
        self._rounds = Rounds()

    async def propose(self, book_id: int, proposal: Proposal, *, actor: str) -> OverrideRow:
        """Propose how something unknown ended. Nothing moves.

        Raises:
            NotFound: the book has no such payment, refund or payout.
            Refused: `override_not_needed` (its outcome is known), `override_not_possible` (an authorisation cannot be
                held to have succeeded), `override_too_early`, `override_open` (another proposal waits); in this order.
        """
        async with self._database.transaction() as connection:
            subject = await locked_subject(connection, book_id, proposal.subject)
            now = (await clock_of(connection, book_id)).now()
            _check_subject(subject, proposal.outcome)
            if now < subject.since + OVERRIDE_AFTER:
                raise Refused("override_too_early", f"the provider is asked until {subject.since + OVERRIDE_AFTER}")
            for other in await overrides_of(connection, book_id, subject.subject_id):
                if other.state_at(now) in {OverrideState.OPEN, OverrideState.APPROVED}:
                    raise Refused("override_open", f"{other.override_id} waits to be decided")
            row = OverrideRow(
                book_id=book_id,
                override_id=new_id("ovr", livemode=subject.livemode),
                account_id=subject.account_id,
                livemode=subject.livemode,
                subject_kind=subject.kind,
                subject_id=subject.subject_id,
                intent_id=subject.intent_id,
                provider=subject.provider,
                outcome=proposal.outcome,
                amount_minor=subject.amount_minor,
                currency=subject.currency,
                evidence=proposal.evidence,
                reason=proposal.reason,
                proposed_by=actor,
                proposed_at=now,
                expires_at=now + PROPOSAL_LIFE,
            )
            await add_proposal(connection, row)
            await record_act(
                connection, actor=actor, act="override.proposed", subject=row.override_id, reason=row.reason
            )
        return row

    async def approve(self, book_id: int, override_id: str, *, actor: str, reason: str) -> OverrideRow:
        """Another person agrees, and it is done. Safe to repeat by the same person.

        Raises:
            NotFound: the book has no such proposal.
            Refused: `override_closed` (decided), `override_expired`, `second_person_required`,
                `override_not_needed` (the provider has spoken), `override_too_early` (the bank has the payout's file
                in hand: it is approved, and carried out after that); in this order.
        """
        row, _ = await self._undecided(book_id, override_id, actor, "approved")
        if row.decision is None:
            await self._ask_once_more(row)
            row = await self._decide(book_id, override_id, "approved", actor=actor, reason=reason)
        if row.result is None:
            await self._carry_out(row)
        return await self.get(book_id, override_id)

    async def reject(self, book_id: int, override_id: str, *, actor: str, reason: str) -> OverrideRow:
        """Somebody, be it who proposed it, does not agree: nothing is done. Safe to repeat by the same person.

        Raises:
            NotFound: the book has no such proposal.
            Refused: `override_closed`, `override_expired`.
        """
        return await self._decide(book_id, override_id, "rejected", actor=actor, reason=reason)

    async def get(self, book_id: int, override_id: str) -> OverrideRow:
        """The proposal.

        Raises:
            NotFound: the book has no such proposal.
        """
        async with self._database.read() as connection:
            row = await override_by_id(connection, book_id, override_id)
        if row is None:
            raise NotFound(f"no override {override_id}")
        return row

    async def seen(self, book_id: int, override_id: str) -> tuple[OverrideRow, datetime]:
        """The proposal, and the business time at which its state holds. Raises what `get` raises."""
        row = await self.get(book_id, override_id)
        async with self._database.read() as connection:
            return row, (await clock_of(connection, book_id)).now()

    async def list(
        self, book_id: int, *, state: OverrideState | None = None, after: str = "", limit: int = 100
    ) -> tuple[list[OverrideRow], datetime]:
        """Proposals of a book, oldest first, and the business time at which their states hold."""
        async with self._database.read() as connection:
            now = (await clock_of(connection, book_id)).now()
            return await overrides_page(connection, book_id, state=state, now=now, after=after, limit=limit), now

    async def run_once(self) -> int:
        """Carry out what was approved and not carried out, some a round; returns how many were tried."""
        async with self._database.read() as connection:
            rows = await unfinished(connection, after=self._rounds.after, limit=AT_ONCE)
        self._rounds.turn([row.override_id for row in rows])
        for row in rows:
            try:
                await self._carry_out(row)
            except Exception:  # noqa: BLE001 -- logged; one that cannot be carried out now must not hold back the others
                _log.exception("override could not be carried out", extra={"override": row.override_id})
        return len(rows)

    async def _undecided(
        self, book_id: int, override_id: str, actor: str, decision: Decision
    ) -> tuple[OverrideRow, datetime]:
        """The proposal, if it may be decided so by that person, or was by the same one."""
        async with self._database.read() as connection:
            row = await override_by_id(connection, book_id, override_id)
            now = (await clock_of(connection, book_id)).now()
        if row is None:
            raise NotFound(f"no override {override_id}")
        if row.decision is not None and (row.decision, row.decided_by) != (decision, actor):
            raise Refused("override_closed", f"it is {row.state_at(now)}")
        if row.state_at(now) is OverrideState.EXPIRED:
            raise Refused("override_expired", f"it was to be decided before {row.expires_at:%Y-%m-%d %H:%M} UTC")
        if decision == "approved" and not is_second_person(row.proposed_by, actor):
            raise Refused("second_person_required", f"it was proposed by {row.proposed_by}")
        return row, now

    async def _decide(
        self, book_id: int, override_id: str, decision: Decision, *, actor: str, reason: str
    ) -> OverrideRow:
        row, _ = await self._undecided(book_id, override_id, actor, decision)
        async with self._database.transaction() as connection:
            subject = await locked_subject(connection, book_id, row.subject_id)
            # Read again under the lock: somebody else may have decided meanwhile.
            found = await override_by_id(connection, book_id, override_id)
            assert found is not None, "a proposal stays"
            if found.decision is not None:
                if (found.decision, found.decided_by) != (decision, actor):
                    raise Refused("override_closed", f"it was {found.decision} meanwhile")
                return found
            if decision == "approved":
                _check_subject(subject, row.outcome)
            now = (await clock_of(connection, book_id)).now()
            await add_decision(connection, found, decision, actor=actor, reason=reason, at=now)
            await record_act(connection, actor=actor, act=f"override.{decision}", subject=override_id, reason=reason)
        return await self.get(book_id, override_id)

    async def _ask_once_more(self, row: OverrideRow) -> None:
        """Let the provider have the last word: what it says now is applied before anybody decides."""
        async with self._database.transaction() as connection:
            subject = (await locked_subject(connection, row.book_id, row.subject_id)).row
        if isinstance(subject, Payout):
            return
        if isinstance(subject, AttemptRow):
            answer = await self._calls.inquire(subject)
        else:
            answer = await self._calls.inquire_refund(subject)
        if isinstance(answer, Inquiry) and answer.facts:
            finding = Finding(provider=subject.provider, subject=subject_of(subject), facts=answer.facts, goes_on=True)
            await self._applier.report(finding, book_id=row.book_id)

    async def _carry_out(self, row: OverrideRow) -> None:
        """Do what was approved, unless the provider has spoken since. Safe to repeat."""
        async with self._database.transaction() as connection:
            subject = await locked_subject(connection, row.book_id, row.subject_id)
            now = (await clock_of(connection, row.book_id)).now()
            if not _is_waiting(subject, row):
                is_ours = await _is_done(connection, subject, row)
                await add_result(connection, row, "applied" if is_ours else "not_needed", at=now)
                return
        if isinstance(subject.row, Payout):
            await self._settle_payout(row)
        else:
            await self._state(row, subject.row)
        async with self._database.transaction() as connection:
            subject = await locked_subject(connection, row.book_id, row.subject_id)
            # The applier takes no mark of what the provider told meanwhile.
            is_ours = isinstance(subject.row, Payout) or await _is_done(connection, subject, row)
            await add_result(connection, row, "applied" if is_ours else "not_needed", at=now)
        if is_ours:
            names = {"override": row.override_id, "subject": row.subject_id, "outcome": row.outcome}
            _log.warning("settled by hand", extra=names)

    async def _state(self, row: OverrideRow, subject: AttemptRow | RefundRow) -> None:
        """Hand the applier what two people said, as a fact under the override's id; it takes it if nobody knows yet."""
        assert row.decided_at is not None, "only what is approved is carried out"
        fact = Fact(
            provider=subject.provider,
            kind=_KINDS[row.subject_kind, row.outcome],
            provider_reference=subject.provider_key,
            provider_transaction_id=row.override_id,
            amount_minor=subject.amount_minor,
            currency=subject.currency,
            occurred_at=row.decided_at,
            source=FactSource.OPERATOR,
            failure_code=FAILURE_CODE if row.outcome == "failed" else None,
        )
        finding = Finding(provider=subject.provider, subject=subject_of(subject), facts=(fact,))
        await self._applier.report(finding, book_id=row.book_id)

    async def _settle_payout(self, row: OverrideRow) -> None:
        """Mark or reject it. Safe to repeat.

        Raises:
            Refused: `override_too_early` (its file is with the bank now), `override_not_needed` (the bank has spoken).
        """
        actor, reason = row.decided_by or "", f"override {row.override_id}"
        if row.outcome == "succeeded":
            await self._payouts.mark_paid(row.book_id, row.subject_id, actor=actor, reason=reason)
            return
        assert row.decided_at is not None, "only what is approved is carried out"
        async with self._database.transaction() as connection:
            file_id = (await find(connection, row.book_id, row.subject_id)).payout_file_id
            assert file_id is not None, "what is unknown was handed over"
            # Nobody hands the file over once more, nor is doing so: the bank would pay what the merchant has again.
            if not await withdraw(connection, row.book_id, file_id, at=row.decided_at):
                raise Refused(
                    "override_too_early", "the bank is being asked at this moment; it is carried out after that"
                )
            payout = await locked(connection, row.book_id, row.subject_id)
            if payout.state is PayoutState.REJECTED:
                return
            if payout.state is not PayoutState.UNKNOWN:
                raise Refused("override_not_needed", f"{row.subject_id} is {payout.state}")
            await reject_locked(connection, payout, actor=actor, reason=reason, reject_code=FAILURE_CODE)


def _check_subject(subject: OverrideSubject, outcome: OverrideOutcome) -> None:
    """Refuse to settle what is known, or what cannot have ended so."""
    if not subject.is_unknown:
        raise Refused("override_not_needed", f"{subject.subject_id} is {subject.status}")
    if outcome == "succeeded" and not subject.may_succeed:
        raise Refused("override_not_possible", "an authorisation moves no money; it can be held to have failed")


def _is_waiting(subject: OverrideSubject, row: OverrideRow) -> bool:
    """Whether the subject is still to be settled; a payout that the bank took meanwhile may be held to be paid."""
    return subject.is_unknown or (subject.status == PayoutState.IN_TRANSIT and row.outcome == "succeeded")


async def _is_done(connection: AsyncConnection, subject: OverrideSubject, row: OverrideRow) -> bool:
    """Whether what was approved was carried out before."""
    if isinstance(subject.row, Payout):
        return subject.status == (PayoutState.PAID if row.outcome == "succeeded" else PayoutState.REJECTED)
    facts = await facts_of(connection, row.book_id, [row.intent_id or ""])
    return any(fact.provider_transaction_id == row.override_id for fact in facts)
