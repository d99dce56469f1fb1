"""What an operator states of a dispute that reached us by letter, telephone or file.

It becomes a fact like any other, so it may be stated again, or come by another road as well, without moving money
twice. Who stated it and why is kept in the same transaction.
"""

from typing import Final

import msgspec
from sqlalchemy import select

from gateway.foundation.database import Database
from gateway.payments.disputable import disputable_receipts, the_one
from gateway.payments.dispute_case import Act
from gateway.payments.dispute_records import DisputeRow, dispute_by_id, disputes_of
from gateway.payments.errors import InvalidRequest, NotFound, Refused
from gateway.payments.facts import ClockOf, FactApplier
from gateway.payments.findings import Finding
from gateway.payments.records import AttemptRow, IntentRow, attempts_by_id, rows_of
from gateway.payments.tables import disputes, intents
from gateway.providers.base import Fact, FactKind, FactSource
from gateway.providers.dispute_terms import DisputeTerms

_DUE_YEARS: Final = range(2000, 3000)
"""Beyond them are slips of the pen, and at the ends of the calendar moments that nobody could read again."""


class Stated(msgspec.Struct, frozen=True, kw_only=True):
    """The dispute after an act; `is_news`: nobody had told of it before."""

    dispute: DisputeRow
    is_news: bool


class DisputeActs:
    """States facts of disputes in an operator's name."""

    def __init__(self, database: Database, applier: FactApplier, *, clock_of: ClockOf) -> None:
        self._database = database
        self._applier = applier
        self._clock_of = clock_of

    async def open(
        self,
        book_id: int,
        intent_id: str,
        terms: DisputeTerms,
        *,
        amount_minor: int | None = None,
        receipt: str | None = None,
        actor: str,
        reason: str,
    ) -> Stated:
        """A payment is disputed, or a known dispute has reached a later stage.

        Args:
            book_id: the book of the payment.
            intent_id: of the payment.
            terms: `reference` is the case number; the same one names the same dispute.
            amount_minor: how much of it; None = all that the receipt brought, or what the known dispute is of.
            receipt: which receipt a new dispute is about, by our id or the provider's; None: the only one that it can
                be about, one that is not disputed before one that is.
            actor: who states it; reason: why we may believe it.

        Raises:
            NotFound: the book has no such payment, or the payment no such receipt.
            Refused: `payment_not_captured`, `receipt_ambiguous`: a `ReceiptAmbiguous`, which lists them.
            InvalidRequest: an amount that cannot be disputed, a deadline in no year of ours, or another receipt than
                the known dispute's.
            FactError: it contradicts what is known.
        """
        if terms.evidence_due_at is not None and terms.evidence_due_at.year not in _DUE_YEARS:
            raise InvalidRequest("parameter_invalid", "the deadline is in no year of ours", param="evidence_due_at")
        async with self._database.read() as connection:
            c = intents.c
            found = await rows_of(
                connection, select(intents).where(c.book_id == book_id, c.intent_id == intent_id), IntentRow
            )
            if not found:
                raise NotFound(f"no payment intent {intent_id}")
            its = await disputes_of(connection, book_id, [intent_id])
            receipts = await disputable_receipts(connection, found[0], its)
            if not receipts:
                raise Refused("payment_not_captured", "nothing was paid that could be disputed", subject_id=intent_id)
            known = next((row for row in its if row.provider_dispute_id == terms.reference), None)
            if known is not None:
                [attempt] = await attempts_by_id(connection, book_id, [known.attempt_id])
        if known is not None:
            its_receipt = next((each for each in receipts if each.receipt_id == known.receipt_id), None)
            if receipt is not None and its_receipt is not None and receipt not in its_receipt.names:
                raise InvalidRequest("parameter_invalid", f"the case is about {its_receipt}", param="receipt")
            wanted_minor = known.amount_minor if amount_minor is None else amount_minor
            if receipt is not None and its_receipt is None:
                its_own = [each for each in receipts if each.attempt.attempt_id == known.attempt_id]
                its_receipt, _ = the_one(its_own or receipts, name=receipt, amount_minor=wanted_minor)
                receipt = its_receipt.receipt_id
        else:
            chosen, wanted_minor = the_one(receipts, name=receipt, amount_minor=amount_minor)
            attempt, receipt = chosen.attempt, chosen.receipt_id
        act = Act(actor=actor, act="dispute.opened", reason=reason, receipt_id=receipt)
        return await self._state(attempt, terms, FactKind.DISPUTE_OPENED, wanted_minor, act)

    async def record(self, book_id: int, dispute_id: str, kind: FactKind, *, actor: str, reason: str) -> Stated:
        """What became of a dispute at the stage that it has reached.

        Raises:
            NotFound: the book has no such dispute.
            FactError: it contradicts what is known.
        """
        async with self._database.read() as connection:
            dispute = await dispute_by_id(connection, book_id, dispute_id)
            if dispute is None:
                raise NotFound(f"no dispute {dispute_id}")
            [attempt] = await attempts_by_id(connection, book_id, [dispute.attempt_id])
        terms = DisputeTerms(
            reference=dispute.provider_dispute_id,
            stage=dispute.stage,
            reason_code=dispute.reason_code,
            provider_reason=dispute.provider_reason,
        )
        act = Act(actor=actor, act=f"dispute.{kind.removeprefix('dispute_')}", reason=reason)
        return await self._state(attempt, terms, kind, dispute.amount_minor, act)

    async def list(self, book_id: int) -> list[DisputeRow]:
        """The disputes of a book, the next deadline first."""
        c = disputes.c
        statement = select(disputes).where(c.book_id == book_id).order_by(c.evidence_due_at.nulls_last(), c.dispute_id)
        async with self._database.read() as connection:
            return await rows_of(connection, statement, DisputeRow)

    async def _state(
        self, attempt: AttemptRow, terms: DisputeTerms, kind: FactKind, amount_minor: int, act: Act
    ) -> Stated:
        async with self._database.read() as connection:
            now = (await self._clock_of(connection, attempt.book_id)).now()
        fact = Fact(
            provider=attempt.provider,
            kind=kind,
            provider_reference=attempt.provider_key,
            provider_transaction_id=terms.transaction_id,
            amount_minor=amount_minor,
            currency=attempt.currency,
            occurred_at=now,
            source=FactSource.OPERATOR,
            dispute=terms,
        )
        finding = Finding(provider=attempt.provider, facts=(fact,), act=act)
        applied = await self._applier.report(finding, book_id=attempt.book_id)
        c = disputes.c
        statement = select(disputes).where(
            c.book_id == attempt.book_id,
            c.provider == attempt.provider,
            c.provider_dispute_id == terms.reference,
        )
        async with self._database.read() as connection:
            [dispute] = await rows_of(connection, statement, DisputeRow)
        return Stated(dispute=dispute, is_news=not applied.duplicate)
