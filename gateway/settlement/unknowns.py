"""What nobody knows the outcome of, and why it stays so: the list from which people settle (`overrides.py`).

Nothing is guessed of it. A payout whose file was withdrawn, because another payout in it was settled by hand, may be
paid all the same: the bank was handed the file at least once and did not say what it did. It is not handed over
again, so it stays unknown until the bank's statement shows it or two people settle it, too.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec
from sqlalchemy import text

from gateway.foundation.database import Database
from gateway.merchants.clocks import clock_of
from gateway.settlement.override_records import SubjectKind


class UnknownReason(StrEnum):
    """Why an outcome is not known.

    Attributes:
        PROVIDER_SILENT: the provider was asked and does not say; it is asked on.
        BANK_SILENT: the bank was handed the file and does not say; it is handed the same file again.
        FILE_WITHDRAWN: the same, but another payout of the file was settled by hand, so nobody asks any more.
    """

    PROVIDER_SILENT = "provider_silent"
    BANK_SILENT = "bank_silent"
    FILE_WITHDRAWN = "file_withdrawn"


class UnknownRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something of unknown outcome.

    Attributes:
        since: business time at which it was begun, or handed to the bank.
        payout_file_id: of a payout.
        override_id: the proposal about it that waits to be decided, if there is one.
    """

    subject_kind: SubjectKind
    subject_id: str
    intent_id: str | None
    account_id: str
    provider: str
    amount_minor: int
    currency: str
    since: datetime
    reason: UnknownReason
    payout_file_id: str | None
    override_id: str | None


_PAGE: Final = text("""
    WITH unknown AS (
        SELECT 'attempt' AS subject_kind, attempt.attempt_id AS subject_id, attempt.intent_id, intent.account_id,
            attempt.provider, attempt.amount_minor, attempt.currency, attempt.created_at AS since,
            'provider_silent' AS reason, NULL AS payout_file_id
        FROM gateway.payment_attempts AS attempt
        JOIN gateway.payment_intents AS intent
          ON intent.book_id = attempt.book_id AND intent.intent_id = attempt.intent_id
        WHERE attempt.book_id = :book_id AND attempt.status = 'unknown'
        UNION ALL
        SELECT 'refund', refund.refund_id, refund.intent_id, refund.account_id, refund.provider, refund.amount_minor,
            refund.currency, refund.created_at, 'provider_silent', NULL
        FROM gateway.refunds AS refund
        WHERE refund.book_id = :book_id AND refund.status = 'unknown'
        UNION ALL
        SELECT 'payout', payout.payout_id, NULL, payout.account_id, 'bank', payout.amount_minor, payout.currency,
            coalesce(payout.submitted_at, payout.requested_at),
            CASE WHEN file.state = 'sent' THEN 'bank_silent' ELSE 'file_withdrawn' END, payout.payout_file_id
        FROM gateway.payouts AS payout
        JOIN gateway.payout_files AS file
          ON file.book_id = payout.book_id AND file.payout_file_id = payout.payout_file_id
        WHERE payout.book_id = :book_id AND payout.state = 'unknown')
    SELECT unknown.*, (
        SELECT proposal.override_id
        FROM gateway.overrides AS proposal
        LEFT JOIN gateway.override_decisions AS decided
          ON decided.book_id = proposal.book_id AND decided.override_id = proposal.override_id
        WHERE proposal.book_id = :book_id AND proposal.subject_id = unknown.subject_id
          AND decided.override_id IS NULL AND proposal.expires_at > :now
        ORDER BY proposal.override_id DESC LIMIT 1) AS override_id
    FROM unknown
    WHERE right(subject_id, 26) > right(CAST(:after AS text), 26)
    ORDER BY right(subject_id, 26)
    LIMIT :most
""")


async def unknowns(database: Database, book_id: int, *, after: str = "", limit: int = 100) -> list[UnknownRow]:
    """What is unknown in a book, oldest first, those that came after the id `after`."""
    async with database.snapshot() as connection:
        now = (await clock_of(connection, book_id)).now()
        wanted = {"book_id": book_id, "now": now, "after": after, "most": limit}
        rows = (await connection.execute(_PAGE, wanted)).mappings().all()
        return [msgspec.convert(dict(row), UnknownRow) for row in rows]
