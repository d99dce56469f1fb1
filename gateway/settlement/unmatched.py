"""Money that came and matches no payment, as operators see it, with totals that tie out with the ledger.

Held for payers: what came over, short, late or twice. Nobody's yet: receipts at our bank that a person noted. Marks:
what two people said and nobody proved. Lines: what statements show and no book has. The first three are, row by row,
the balances of `payer_refundable`, `payer_receivable` and `unidentified_receipts`; lines are in no account.
"""

from collections import Counter
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.database import Database, driver
from ledger.balances import all_balances
from ledger.chart_of_accounts import AccountKind


class UnmatchedReason(StrEnum):
    """Why money is nobody's, or not the merchant's.

    Attributes:
        OVER, SHORT, LATE, TWICE, OTHER_CURRENCY: of a payment, held for its payer.
        PAID_BACK_TWICE: went back to its payer, whose bank then took it as well, or the other way round: he owes it.
        UNIDENTIFIED: a receipt at our bank that a person noted; MARK: not proved yet, below zero what is missing.
        UNKNOWN_REFERENCE: a provider's statement shows a payment that our books do not have.
        UNKNOWN_LINE: a bank's statement shows a credit that nobody knows.
    """

    OVER = "over"
    SHORT = "short"
    LATE = "late"
    TWICE = "twice"
    OTHER_CURRENCY = "other_currency"
    PAID_BACK_TWICE = "paid_back_twice"
    UNIDENTIFIED = "unidentified"
    MARK = "mark"
    UNKNOWN_REFERENCE = "unknown_reference"
    UNKNOWN_LINE = "unknown_line"


_ACCOUNTS: Final = {
    "held": AccountKind.PAYER_REFUNDABLE,
    "owed": AccountKind.PAYER_RECEIVABLE,
    "waiting": AccountKind.UNIDENTIFIED_RECEIPTS,
}
_ROWS: Final = """
    SELECT fact.fact_id AS id, CASE WHEN left_of.amount_minor < 0 THEN 'owed' ELSE 'held' END AS place, CASE
            WHEN left_of.amount_minor < 0 THEN 'paid_back_twice'
            WHEN fact.captured_minor > 0 THEN 'over'
            WHEN fact.currency <> intent.currency THEN 'other_currency'
            WHEN intent.captured_minor > 0 THEN 'twice'
            WHEN fact.occurred_at > least(attempt.expires_at, intent.cancel_requested_at) THEN 'late'
            ELSE 'short' END AS reason,
        intent.account_id AS account, fact.intent_id AS subject, fact.provider,
        abs(left_of.amount_minor) AS amount_minor,
        fact.currency, fact.occurred_at AS since, claimed.state AS claim
    FROM gateway.facts AS fact
    JOIN gateway.payment_intents AS intent ON intent.book_id = fact.book_id AND intent.intent_id = fact.intent_id
    LEFT JOIN gateway.payment_attempts AS attempt
      ON attempt.book_id = fact.book_id AND attempt.attempt_id = fact.attempt_id
    LEFT JOIN LATERAL (
        SELECT sum(claim.amount_minor) FILTER (WHERE claim.state = 'paid')::bigint AS paid_minor,
               (array_agg(claim.state ORDER BY claim.claim_id DESC))[1] AS state
        FROM gateway.refund_claims AS claim
        WHERE claim.book_id = fact.book_id AND claim.intent_id = fact.intent_id AND claim.held_fact_id = fact.fact_id
    ) AS claimed ON true
    LEFT JOIN gateway.held_acceptances AS accepted
      ON accepted.book_id = fact.book_id AND accepted.fact_id = fact.fact_id
    LEFT JOIN LATERAL (
        SELECT sum(least(dispute.held_minor + dispute.withdrawn_minor, dispute.payer_minor))::bigint AS taken_minor
        FROM gateway.disputes AS dispute
        WHERE dispute.book_id = fact.book_id AND dispute.intent_id = fact.intent_id
          AND dispute.receipt_id = fact.fact_id
    ) AS disputed ON true
    CROSS JOIN LATERAL (
        SELECT fact.held_minor - coalesce(claimed.paid_minor, 0) - coalesce(accepted.amount_minor, 0)
               - coalesce(disputed.taken_minor, 0) AS amount_minor
    ) AS left_of
    WHERE fact.book_id = :book_id AND fact.held_minor > 0
    UNION ALL
    SELECT receipt.receipt_id, 'waiting', 'unidentified', NULL, receipt.line_id, receipt.bank, receipt.amount_minor,
        receipt.currency, receipt.paid_at, NULL
    FROM gateway.receipts AS receipt
    WHERE receipt.book_id = :book_id AND receipt.posted AND NOT EXISTS (
        SELECT FROM gateway.receipt_assignments AS assigned
        WHERE assigned.book_id = receipt.book_id AND assigned.receipt_id = receipt.receipt_id AND assigned.posted)
    UNION ALL
    SELECT mark.fact_id, 'waiting', 'mark', intent.account_id, mark.intent_id, mark.provider,
        coalesce(proved.proved_minor, 0) - mark.captured_minor, mark.currency, mark.occurred_at, NULL
    FROM gateway.facts AS mark
    JOIN gateway.payment_intents AS intent ON intent.book_id = mark.book_id AND intent.intent_id = mark.intent_id
    LEFT JOIN LATERAL (
        SELECT sum(proof.amount_minor - proof.captured_minor - proof.held_minor)::bigint AS proved_minor
        FROM gateway.facts AS proof
        WHERE proof.book_id = mark.book_id AND proof.intent_id = mark.intent_id AND proof.kind = 'captured'
          AND proof.attempt_id = mark.attempt_id AND proof.source <> 'operator'
    ) AS proved ON true
    WHERE mark.book_id = :book_id AND mark.source = 'operator' AND mark.kind = 'captured'
    UNION ALL
    SELECT mark.fact_id, 'waiting', 'mark', intent.account_id, mark.refund_id, mark.provider, mark.amount_minor,
        mark.currency, mark.occurred_at, NULL
    FROM gateway.facts AS mark
    JOIN gateway.payment_intents AS intent ON intent.book_id = mark.book_id AND intent.intent_id = mark.intent_id
    WHERE mark.book_id = :book_id AND mark.source = 'operator' AND mark.kind = 'refund_succeeded' AND NOT EXISTS (
        SELECT FROM gateway.facts AS said
        WHERE said.book_id = mark.book_id AND said.intent_id = mark.intent_id AND said.refund_id = mark.refund_id
          AND said.kind IN ('refund_succeeded', 'refund_failed') AND said.source <> 'operator')
    UNION ALL
    SELECT payout.payout_id, 'waiting', 'mark', payout.account_id, payout.payout_id, 'bank', payout.amount_minor,
        payout.currency, coalesce(payout.submitted_at, payout.requested_at), NULL
    FROM gateway.payouts AS payout
    WHERE payout.book_id = :book_id AND payout.state IN ('paid', 'returned') AND payout.bank_reference IS NULL
    UNION ALL
    SELECT line.line_id, 'nowhere', CASE line.side WHEN 'bank' THEN 'unknown_line' ELSE 'unknown_reference' END, NULL,
        line.line_id, coalesce(line.provider, line.source), line.amount_minor, line.currency,
        coalesce(line.occurred_at, line.value_on::timestamp AT TIME ZONE 'Asia/Bangkok'), NULL
    FROM reconciliation.open_lines AS line
    WHERE line.book_id = :book_id AND line.amount_minor > 0 AND NOT EXISTS (
            SELECT FROM gateway.receipts AS noted WHERE noted.book_id = line.book_id AND noted.line_id = line.line_id)
      AND ((line.side = 'bank' AND line.kind = 'credit' AND line.provider IS NULL)
        OR (line.side = 'provider' AND line.kind = 'payment'))
"""
_PAGE: Final = text(f"""
    SELECT * FROM ({_ROWS}) AS unmatched
    WHERE amount_minor <> 0
      AND (CAST(:reason AS text) IS NULL OR reason = :reason)
      AND (CAST(:account AS text) IS NULL OR account = :account)
      AND (CAST(:since_before AS timestamptz) IS NULL OR since < :since_before)
      AND right(id, 26) > right(CAST(:after AS text), 26)
    ORDER BY right(id, 26)
    LIMIT :most
""")
_SUMS: Final = text(f"""
    SELECT place, reason, currency, count(*) AS rows, sum(amount_minor)::bigint AS amount_minor
    FROM ({_ROWS}) AS unmatched WHERE amount_minor <> 0
    GROUP BY place, reason, currency ORDER BY place, reason, currency
""")


Place = Literal["held", "owed", "waiting", "nowhere"]


class UnmatchedRow(msgspec.Struct, frozen=True, kw_only=True):
    """Money that matches no payment, or not as it should.

    Attributes:
        place: `held` for a payer, `owed` by him, `waiting` to be identified or proved, or `nowhere` in our books.
        account: the merchant's, where it is of a payment, refund or payout: the subject.
        amount_minor: what is left of it, signed as the account's balance.
        claim: of held money the state of the latest claim by which it goes back.
    """

    id: str
    place: Place
    reason: UnmatchedReason
    account: str | None
    subject: str
    provider: str
    amount_minor: int
    currency: str
    since: datetime
    claim: str | None


class UnmatchedSum(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one reason and currency."""

    place: Place
    reason: UnmatchedReason
    currency: str
    rows: int
    amount_minor: int


class TieOut(msgspec.Struct, frozen=True, kw_only=True):
    """The rows against the ledger, both of one moment; a difference was posted by hand or is our bug."""

    account_kind: str
    currency: str
    rows_minor: int
    ledger_minor: int

    @property
    def difference_minor(self) -> int:
        """What the ledger has and no row explains."""
        return self.ledger_minor - self.rows_minor


class Unmatched(msgspec.Struct, frozen=True, kw_only=True):
    """A page of rows, oldest first, and the sums of all rows of the book, whatever the page shows."""

    rows: list[UnmatchedRow]
    has_more: bool
    sums: list[UnmatchedSum]
    tie_outs: list[TieOut]


async def unmatched(
    database: Database,
    book_id: int,
    *,
    reason: UnmatchedReason | None = None,
    account: str | None = None,
    since_before: datetime | None = None,
    after: str = "",
    limit: int = 100,
) -> Unmatched:
    """What matches no payment in a book: of one reason, of one merchant, older than a moment, where those are named."""
    wanted = {"reason": reason, "account": account, "since_before": since_before, "after": after, "most": limit + 1}
    async with database.snapshot() as connection:
        rows = (await connection.execute(_PAGE, {"book_id": book_id, **wanted})).mappings().all()
        sums = (await connection.execute(_SUMS, {"book_id": book_id})).mappings().all()
        totals = [msgspec.convert(dict(row), UnmatchedSum) for row in sums]
        return Unmatched(
            rows=[msgspec.convert(dict(row), UnmatchedRow) for row in rows[:limit]],
            has_more=len(rows) > limit,
            sums=totals,
            tie_outs=await _tied_out(connection, book_id, totals),
        )


async def _tied_out(connection: AsyncConnection, book_id: int, sums: list[UnmatchedSum]) -> list[TieOut]:
    ledger: Counter[tuple[AccountKind, str]] = Counter()
    for balance in await all_balances(driver(connection), book_id):
        if balance.account.kind in _ACCOUNTS.values():
            ledger[balance.account.kind, balance.account.currency] += balance.balance_minor
    rows: Counter[tuple[AccountKind, str]] = Counter()
    for each in sums:
        if each.place in _ACCOUNTS:
            rows[_ACCOUNTS[each.place], each.currency] += each.amount_minor
    return [
        TieOut(
            account_kind=kind.name.lower(),
            currency=currency,
            rows_minor=rows[kind, currency],
            ledger_minor=ledger[kind, currency],
        )
        for kind, currency in sorted({*ledger, *rows})
    ]
