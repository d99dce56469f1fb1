"""Where the money of a dispute comes from, and its journal entries: pure.

A dispute is about one receipt. What that receipt left held for the payer, and the merchant never took, pays first: it
is the payer's own money that his bank takes back. The rest is the merchant's. How much is held is asked anew with each
fact that moves money, because between two stages a merchant may have taken what a won dispute gave back.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import msgspec

from gateway.payments.dispute_entries import (
    fee_entry,
    held_entry,
    reinstated_entry,
    released_entry,
    withdrawn_entry,
)
from gateway.payments.dispute_records import DisputeRow
from gateway.payments.entries import pending_until
from gateway.payments.records import FactRow
from gateway.providers.base import FactKind, FactSource
from gateway.providers.dispute_terms import DisputeStage
from ledger.journal import JournalEntry
from ledger.posting_rules.disputes import PayerShare, owed_minor

_STAGES = tuple(DisputeStage)


class Said(msgspec.Struct, frozen=True):
    """All that facts say of one dispute."""

    facts: tuple[FactRow, ...]

    def at(self, stage: DisputeStage, kind: FactKind) -> FactRow | None:
        """The fact of that kind at that stage."""
        return next((fact for fact in self.facts if (fact.dispute_stage, fact.kind) == (stage, kind)), None)

    def withdrawn(self) -> list[DisputeStage]:
        """The stages at which the provider took the money."""
        return [stage for stage in _STAGES if self.at(stage, FactKind.DISPUTE_FUNDS_WITHDRAWN)]

    def reinstated(self) -> list[DisputeStage]:
        """The stages at which it also gave it back."""
        return [stage for stage in self.withdrawn() if self.at(stage, FactKind.DISPUTE_WON)]

    def wanted_hold_minor(self, row: DisputeRow) -> int:
        """What is to be held: all of it while the provider has neither taken it nor decided for the merchant."""
        is_taken = row.stage in self.withdrawn()
        return 0 if is_taken or self.at(row.stage, FactKind.DISPUTE_WON) else row.amount_minor


class Receipts:
    """The receipts of a payment as its disputes find them, while disputes move money.

    Args:
        facts: of the payment, booked.
        accepted: what the merchant took of what each left held; returned: what went back to the payer by claims.
        available_on: by id of the attempt the day from which the money that it brought its merchant is available.
        disputes: of the payment, as they are in the books.
    """

    def __init__(
        self,
        facts: Iterable[FactRow],
        *,
        accepted: Mapping[str, int],
        returned: Mapping[str, int],
        available_on: Mapping[str, date],
        disputes: Iterable[DisputeRow],
    ) -> None:
        receipts = [fact for fact in facts if fact.kind is FactKind.CAPTURED and fact.captured_minor + fact.held_minor]
        self._receipts = {fact.fact_id: fact for fact in sorted(receipts, key=lambda fact: fact.fact_id)}
        self._held = {each.fact_id: each.held_minor - accepted.get(each.fact_id, 0) for each in receipts}
        self._available_on, self._returned = available_on, returned
        self._standing = {key: held_minor - returned.get(key, 0) for key, held_minor in self._held.items()}
        for row in disputes:
            if row.receipt_id is not None:
                self._standing[row.receipt_id] -= row.payer_taken_minor

    def pending_until(self, row: DisputeRow, today: date) -> date | None:
        """Until when the merchant's part of the disputed money is pending; None: it is available."""
        day = self._available_on.get(row.attempt_id)
        return None if day is None else pending_until(day, today)

    def placed(self, row: DisputeRow, others: Sequence[DisputeRow]) -> DisputeRow:
        """The dispute with its receipt: where none is known, one of its attempt that bears it and is not disputed yet.

        Of several the one whose money is still held for the payer: who paid twice and disputes it wants back what is
        his. What came to our own bank account no provider can take back, and what went back already he has.
        """
        if row.receipt_id is not None:
            return row
        taken = {other.receipt_id for other in others if other.disputed_minor}
        its = [
            fact
            for fact in self._receipts.values()
            if (fact.attempt_id, fact.currency) == (row.attempt_id, row.currency)
        ]

        def rank(fact: FactRow) -> tuple[bool, bool, bool, bool, bool]:
            brought_minor, standing_minor = fact.captured_minor + fact.held_minor, self._standing[fact.fact_id]
            is_ours, is_back = fact.source is FactSource.RECEIPT, brought_minor <= self._returned.get(fact.fact_id, 0)
            return is_ours, fact.fact_id in taken, brought_minor < row.amount_minor, is_back, standing_minor <= 0

        chosen = min(its, key=rank, default=None)
        return row if chosen is None else msgspec.structs.replace(row, receipt_id=chosen.fact_id)

    def payer_minor(self, row: DisputeRow, others: Sequence[DisputeRow]) -> int:
        """What of the dispute's amount is of money held for the payer, and of no other dispute's."""
        if row.receipt_id is None:
            return 0
        left_minor = self._held[row.receipt_id] - sum(
            other.disputed_held_minor for other in others if other.receipt_id == row.receipt_id
        )
        return max(0, min(row.amount_minor, left_minor))

    def take(self, row: DisputeRow, before: DisputeRow, after: DisputeRow) -> PayerShare:
        """The payer's part of what leads from one state of a dispute to the next, and of it what he owes."""
        taken_minor = after.payer_taken_minor - before.payer_taken_minor
        owed = 0
        if row.receipt_id is not None:
            owed = owed_minor(taken_minor, standing_minor=self._standing[row.receipt_id])
            self._standing[row.receipt_id] -= taken_minor
        return PayerShare(
            intent=row.intent_id,
            set_aside_minor=taken_minor,
            owed_minor=owed,
            taken_minor=after.payer_withdrawn_minor - before.payer_withdrawn_minor,
        )


class DisputeMoney:
    """The money of one dispute on its way from what was booked to what is to be.

    Args:
        row: the dispute as it was booked, in all that is not money as it is to be.
        payer_minor: what of its amount is of money held for the payer from now on.
        where: until when the merchant's part of the charge's money is pending.
    """

    def __init__(self, row: DisputeRow, receipts: Receipts, *, payer_minor: int, where: date | None) -> None:
        self.row = row
        self._receipts = receipts
        self._payer_minor = payer_minor
        self._where = where

    def moved(self, said: Said, before: Said, newest: FactRow, *, fee_minor: int) -> list[JournalEntry]:
        """The entries for what is said now and was not before; `newest` stands for what follows from all of it."""
        entries: list[JournalEntry] = []
        row, withdrawn = self.row, said.withdrawn()
        for stage in withdrawn:
            fact = said.at(stage, FactKind.DISPUTE_FUNDS_WITHDRAWN)
            if stage not in before.withdrawn() and fact is not None:
                held_minor = self.row.held_minor
                payer = self._to(0, self.row.withdrawn_minor + row.amount_minor)
                entries.append(withdrawn_entry(fact, row, held_minor, self._where, payer))
                if not before.withdrawn() and stage is withdrawn[0] and fee_minor:
                    entries.append(fee_entry(fact, row, fee_minor))
        for stage in said.reinstated():
            fact = said.at(stage, FactKind.DISPUTE_WON)
            if stage not in before.reinstated() and fact is not None:
                payer = self._to(self.row.held_minor, self.row.withdrawn_minor - row.amount_minor)
                entries.append(reinstated_entry(fact, row, self._where, payer))
        more_minor = said.wanted_hold_minor(row) - self.row.held_minor
        if more_minor:
            payer = self._to(self.row.held_minor + more_minor, self.row.withdrawn_minor)
            rule = held_entry if more_minor > 0 else released_entry
            entries.append(rule(newest, row, abs(more_minor), self._where, payer))
        # What is in the books stays as it was booked, until an entry moves it.
        if not entries and not self.row.held_minor + self.row.withdrawn_minor:
            self.row = msgspec.structs.replace(self.row, payer_minor=self._payer_minor)
        return entries

    def _to(self, held_minor: int, withdrawn_minor: int) -> PayerShare:
        after = msgspec.structs.replace(
            self.row, held_minor=held_minor, withdrawn_minor=withdrawn_minor, payer_minor=self._payer_minor
        )
        payer = self._receipts.take(self.row, self.row, after)
        self.row = after
        return payer
