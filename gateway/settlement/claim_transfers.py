"""Claimed money on its way to payers, with the same files as payouts: into a file, to the bank, onto the statement.

Moves in step with the payouts of `files.py` and `submission.py`; a file holds payouts or claims, never both. What the
bank statement says is the only proof, as of payouts (`confirmations.py`): in one transaction payment and claim are
locked, claim and refund moved, the merchant told, and the entry posted under a key of the claim.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import business_date_of
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import entry_key
from gateway.foundation.logs import get_logger
from gateway.merchants.clocks import clock_of
from gateway.payments.claim_disputes import AT_THE_BANK, disputed_claims
from gateway.payments.claim_records import ClaimRow
from gateway.payments.entries import INTENT_SCHEME, REFUND_SCHEME, metadata_of, pending_until
from gateway.payments.errors import EntryRefused, Refused
from gateway.payments.held_receipts import held_receipts
from gateway.payments.records import IntentRow, RefundRow, replace_rows, rows_of
from gateway.payments.refund_changes import change_refund
from gateway.payments.states import CLAIM_MOVES, ClaimState, RefundStatus
from gateway.payments.tables import intents, refund_claims
from gateway.settlement.confirmations import BANK_LINE_SCHEME, Confirmation
from gateway.settlement.payout_files import Transfer
from gateway.settlement.payouts import PAYOUT_SCHEME, SYSTEM, PayoutState, post_with
from gateway.settlement.refund_claims import RefundClaims, advance, locked, opened_destination, refund_of
from gateway.webhooks.events import record
from ledger.journal import ExternalReference, JournalEntry, LinkedGroup
from ledger.posting import Ledger
from ledger.posting_rules.payments import payer_money_came_back, payer_money_returned
from ledger.posting_rules.refunds import refund_came_back, refund_failed, refund_paid
from reconciliation.breaks import SentTransfer
from reconciliation.runs import PayoutSeen

CLAIMS_IN_FILE_MAX: Final = 5_000
RETURNED_CODE: Final = "transfer_returned"
_log = get_logger("quickkub.settlement")


class ClaimTransfers:
    """Takes claims to the bank and the bank's answers to claims."""

    def __init__(self, database: Database, ledger: Ledger, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self.claims = RefundClaims(database, ledger, vault)

    async def waiting(self, connection: AsyncConnection, book_id: int) -> list[tuple[ClaimRow, Transfer]]:
        """Approved claims that are in no file, locked; those that somebody else is gathering are left out.

        So are those of charges that were disputed since, until the dispute is won.
        """
        c, after, ready = refund_claims.c, "", list[ClaimRow]()
        waits = (c.book_id == book_id, c.state == ClaimState.APPROVED, c.payout_file_id.is_(None))
        while len(ready) < CLAIMS_IN_FILE_MAX:
            statement = select(refund_claims).where(*waits, c.claim_id > after).order_by(c.claim_id)
            some = statement.limit(CLAIMS_IN_FILE_MAX - len(ready)).with_for_update(skip_locked=True)
            found = await rows_of(connection, some, ClaimRow)
            if not found:
                break
            disputed, after = await disputed_claims(connection, found), found[-1].claim_id
            ready += [claim for claim in found if claim.claim_id not in disputed]
        return [(claim, self._transfer(claim)) for claim in ready]

    async def put_into(self, connection: AsyncConnection, claims: Sequence[ClaimRow], file_id: str) -> None:
        """Note in which file the claims go; the caller has them from `waiting`."""
        c = refund_claims.c
        await connection.execute(
            update(refund_claims)
            .where(c.book_id == claims[0].book_id, c.claim_id.in_([claim.claim_id for claim in claims]))
            .values(payout_file_id=file_id)
        )

    async def taken_out(self, connection: AsyncConnection, book_id: int, file_id: str) -> bool:
        """Whether a claim of a file that was never handed over is disputed: then all its claims wait for another.

        The file's bytes are sealed, so that the whole of it is given up. Its claims stay locked until it is noted as
        handed over, and whoever writes a dispute locks them, too: it is seen here, or it finds the claim at the bank.
        """
        c = refund_claims.c
        its = select(refund_claims).where(c.book_id == book_id, c.payout_file_id == file_id).order_by(c.claim_id)
        claims = await rows_of(connection, its.with_for_update(), ClaimRow)
        disputed = await disputed_claims(connection, claims)
        if disputed:
            free = [msgspec.structs.replace(claim, payout_file_id=None) for claim in claims]
            await replace_rows(connection, refund_claims, free)
            extra = {"payout_file": file_id, "claims": sorted(disputed)}
            _log.warning("a payout file is withheld: claims in it are disputed", extra=extra)
        return bool(disputed)

    async def move_all(
        self, connection: AsyncConnection, book_id: int, file_id: str, to: PayoutState, *, reason: str, at: datetime
    ) -> None:
        """Move the claims of a file that have not got further by another road."""
        c, state = refund_claims.c, ClaimState(to.value)
        before = [each for each, targets in CLAIM_MOVES.items() if state in targets]
        statement = (
            select(refund_claims)
            .where(c.book_id == book_id, c.payout_file_id == file_id, c.state.in_(before))
            .order_by(c.claim_id)
            .with_for_update()
        )
        submitted = {"submitted_at": at} if state is ClaimState.SUBMITTED else {}
        for claim in await rows_of(connection, statement, ClaimRow):
            await advance(connection, claim, state, at, actor=SYSTEM, reason=reason, **submitted)

    async def reject_all(self, book_id: int, file_id: str, *, reason: str, code: str) -> None:
        """The bank refused the file: every claim in it comes to nothing."""
        c = refund_claims.c
        statement = select(c.claim_id).where(c.book_id == book_id, c.payout_file_id == file_id)
        async with self._database.read() as connection:
            members = list((await connection.execute(statement.order_by(c.claim_id))).scalars())
        for claim_id in members:
            try:
                await self.claims.reject(book_id, claim_id, reason=reason, code=code)
            except Refused as error:
                # One that the statement showed to be paid must not keep the others' money from them.
                extra = {"claim": claim_id, "payout_file": file_id, "detail": str(error)}
                _log.error("the bank refused the file of a claim that has ended another way", extra=extra)

    async def confirm(self, book_id: int, seen: PayoutSeen) -> Confirmation:
        """Book what one line of the bank's statement proves. Safe to repeat.

        Raises:
            LedgerError: infrastructure; repeat it later.
        """
        c = refund_claims.c
        statement = select(c.claim_id).where(c.book_id == book_id, c.end_to_end_id == seen.end_to_end_id)
        async with self._database.read() as connection:
            claim_id = (await connection.execute(statement)).scalar_one_or_none()
        if claim_id is None:
            return Confirmation.NO_SUCH_PAYOUT
        try:
            async with self._database.transaction() as connection:
                return await _confirm(connection, *await locked(connection, book_id, claim_id), seen)
        except EntryRefused:
            # The key was used by another line: two lines claim the same transfer.
            return Confirmation.NOT_EXPECTED

    def _transfer(self, claim: ClaimRow) -> Transfer:
        return Transfer(
            end_to_end_id=claim.end_to_end_id,
            amount_minor=claim.amount_minor,
            currency=claim.currency,
            creditor=opened_destination(self._vault, claim),
        )


async def on_their_way(connection: AsyncConnection, book_id: int) -> list[SentTransfer]:
    """Claims that the bank was given, or may have been, and whose line its statement has not shown."""
    c = refund_claims.c
    statement = (
        select(c.claim_id, c.end_to_end_id, c.amount_minor, c.currency, c.submitted_at)
        .where(c.book_id == book_id, c.state.in_(AT_THE_BANK), c.submitted_at.is_not(None))
        .order_by(c.claim_id)
    )
    return [
        SentTransfer(
            subject=row.claim_id,
            end_to_end_id=row.end_to_end_id,
            amount_minor=row.amount_minor,
            currency=row.currency,
            sent_on=business_date_of(row.submitted_at),
        )
        for row in await connection.execute(statement)
    ]


async def _confirm(connection: AsyncConnection, intent: IntentRow, claim: ClaimRow, seen: PayoutSeen) -> Confirmation:
    """Take one line to a claim that the caller has locked with its payment, and post as the last statement.

    How a claim ends is decided by its state under the lock: the ends have keys of their own, so the ledger alone
    would book two of them.
    """
    to = ClaimState.RETURNED if seen.returned else ClaimState.PAID
    if (claim.amount_minor, claim.currency) != (seen.amount_minor, seen.currency):
        return Confirmation.AMOUNT_DIFFERS
    if to not in CLAIM_MOVES[claim.state]:
        by_this = claim.bank_reference == seen.line_id and not seen.returned
        is_known = by_this or (seen.returned and claim.state is to)
        return Confirmation.ALREADY_CONFIRMED if is_known else Confirmation.NOT_EXPECTED
    refund = await refund_of(connection, claim)
    entries = _entries(claim, refund, seen, owed_minor=await _owed_minor(connection, claim, seen))
    await _move(connection, intent, claim, refund, seen)
    await post_with(connection, LinkedGroup(tuple(entries)), book_id=claim.book_id)
    return Confirmation.CONFIRMED


async def _move(
    connection: AsyncConnection, intent: IntentRow, claim: ClaimRow, refund: RefundRow | None, seen: PayoutSeen
) -> None:
    """Say what the line shows of the claim, its refund and its payment."""
    now = (await clock_of(connection, claim.book_id)).now()
    reason = f"bank line {seen.line_id}"
    to = ClaimState.RETURNED if seen.returned else ClaimState.PAID
    changes = (
        {"failure_code": RETURNED_CODE}
        if seen.returned
        else {"value_on": seen.value_on, "bank_reference": seen.line_id}
    )
    claim = await advance(connection, claim, to, now, actor=SYSTEM, reason=reason, **changes)
    if refund is None:
        back_minor = -claim.amount_minor if seen.returned else claim.amount_minor
        changed = msgspec.structs.replace(
            intent, returned_minor=intent.returned_minor + back_minor, version=intent.version + 1
        )
        await replace_rows(connection, intents, [changed])
        return
    _, events = await change_refund(
        connection,
        intent,
        refund,
        RefundStatus.FAILED if seen.returned else RefundStatus.SUCCEEDED,
        now,
        actor=SYSTEM,
        reason=reason,
        failure_code=RETURNED_CODE if seen.returned else None,
    )
    await record(connection, events)


async def _owed_minor(connection: AsyncConnection, claim: ClaimRow, seen: PayoutSeen) -> int:
    """What of held money that went, or came back, a dispute took as well: its payer has it twice, and owes it."""
    if claim.held_fact_id is None:
        return 0
    held = await held_receipts(connection, claim.book_id, [claim.intent_id])
    sign = -1 if seen.returned else 1
    return sign * held[claim.held_fact_id].owed_minor(sign * claim.amount_minor)


def _entries(claim: ClaimRow, refund: RefundRow | None, seen: PayoutSeen, *, owed_minor: int) -> list[JournalEntry]:
    """The entries of one line, all or none; `owed_minor` of held money is the payer's debt."""
    key = entry_key(claim.claim_id, "returned" if seen.returned else "paid")
    references = (
        ExternalReference(PAYOUT_SCHEME, claim.end_to_end_id),
        ExternalReference(BANK_LINE_SCHEME, seen.line_id),
        ExternalReference(INTENT_SCHEME, claim.intent_id),
    )
    if refund is None:
        assert claim.held_fact_id is not None, "a claim pays a refund or returns held money"
        held_rule = payer_money_came_back if seen.returned else payer_money_returned
        entry = held_rule(
            key=key,
            held_key=entry_key(claim.held_fact_id, "held"),
            intent=claim.intent_id,
            bank=seen.bank,
            amount_minor=claim.amount_minor,
            currency=claim.currency,
            effective_on=seen.value_on,
            references=references,
            metadata=metadata_of(claim=claim.claim_id),
            caller=SYSTEM,
            owed_minor=owed_minor,
        )
        return [entry]
    rule = refund_came_back if seen.returned else refund_paid
    moved = rule(
        key=key,
        merchant=claim.account_id,
        bank=seen.bank,
        amount_minor=claim.amount_minor,
        currency=claim.currency,
        effective_on=seen.value_on,
        references=(*references, ExternalReference(REFUND_SCHEME, refund.refund_id)),
        metadata=metadata_of(claim=claim.claim_id, refund=refund.refund_id),
        caller=SYSTEM,
    )
    return [moved, _given_back(claim, refund, seen)] if seen.returned else [moved]


def _given_back(claim: ClaimRow, refund: RefundRow, seen: PayoutSeen) -> JournalEntry:
    """What came back is the merchant's again, where the charge's money is on the day of the bank's line."""
    return refund_failed(
        key=entry_key(refund.refund_id, "failed"),
        captured_key=refund.capture_key,
        merchant=refund.account_id,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        pending_until=pending_until(refund.available_on, seen.value_on),
        effective_on=seen.value_on,
        metadata=metadata_of(claim=claim.claim_id, refund=refund.refund_id),
        caller=SYSTEM,
    )
