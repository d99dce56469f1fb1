"""What an override may settle: a payment's attempt, a refund or a payout whose outcome nobody knows."""

from datetime import datetime

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.payments.errors import NotFound
from gateway.payments.records import AttemptRow, IntentRow, RefundRow, attempts_by_id, lock_intents, refunds_by_id
from gateway.payments.states import AttemptStatus, RefundStatus
from gateway.payments.tables import refunds
from gateway.settlement.files import BANK
from gateway.settlement.override_records import SubjectKind
from gateway.settlement.payouts import Payout, PayoutState
from gateway.settlement.payouts import locked as locked_payout


class OverrideSubject(msgspec.Struct, frozen=True, kw_only=True):
    """A subject as it stands, its payment or itself locked.

    Attributes:
        since: business time at which it was begun; status: as it stands; is_unknown: whether nobody knows its outcome.
        may_succeed: whether it can be held to have succeeded; an authorisation cannot, which moves no money.
        row: what it is made of.
    """

    kind: SubjectKind
    subject_id: str
    intent_id: str | None
    account_id: str
    livemode: bool
    provider: str
    amount_minor: int
    currency: str
    since: datetime
    status: str
    is_unknown: bool
    may_succeed: bool
    row: AttemptRow | RefundRow | Payout


async def locked_subject(connection: AsyncConnection, book_id: int, subject_id: str) -> OverrideSubject:
    """The subject of that id, locked: a payment stands for its latest attempt, so does that attempt's own id.

    Raises:
        NotFound: the book has no such payment, refund or payout, or the payment was never tried.
    """
    match subject_id.partition("_")[0]:
        case "re":
            return await _refund(connection, book_id, subject_id)
        case "po":
            try:
                return _of_payout(await locked_payout(connection, book_id, subject_id))
            except LookupError as error:
                raise NotFound(str(error)) from error
        case "att":
            found = await attempts_by_id(connection, book_id, [subject_id])
            intent_id = found[0].intent_id if found else subject_id
            return await _attempt(connection, book_id, intent_id, attempt_id=subject_id)
        case _:
            return await _attempt(connection, book_id, subject_id, attempt_id=None)


async def _attempt(
    connection: AsyncConnection, book_id: int, intent_id: str, *, attempt_id: str | None
) -> OverrideSubject:
    intents = await lock_intents(connection, book_id, [intent_id])
    attempt_id = attempt_id or (intents[0].latest_attempt_id if intents else None)
    if not intents or attempt_id is None:
        raise NotFound(f"nothing of that id was tried: {intent_id}")
    [attempt] = await attempts_by_id(connection, book_id, [attempt_id])
    return _of_attempt(intents[0], attempt)


async def _refund(connection: AsyncConnection, book_id: int, refund_id: str) -> OverrideSubject:
    c = refunds.c
    statement = select(c.intent_id).where(c.book_id == book_id, c.refund_id == refund_id)
    intent_id = (await connection.execute(statement)).scalar_one_or_none()
    if intent_id is None:
        raise NotFound(f"no refund {refund_id}")
    await lock_intents(connection, book_id, [intent_id])
    [refund] = await refunds_by_id(connection, book_id, [refund_id])
    return OverrideSubject(
        kind="refund",
        subject_id=refund.refund_id,
        intent_id=refund.intent_id,
        account_id=refund.account_id,
        livemode=refund.livemode,
        provider=refund.provider,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        since=refund.created_at,
        status=refund.status,
        is_unknown=refund.status is RefundStatus.UNKNOWN,
        may_succeed=True,
        row=refund,
    )


def _of_attempt(intent: IntentRow, attempt: AttemptRow) -> OverrideSubject:
    return OverrideSubject(
        kind="attempt",
        subject_id=attempt.attempt_id,
        intent_id=intent.intent_id,
        account_id=intent.account_id,
        livemode=intent.livemode,
        provider=attempt.provider,
        amount_minor=attempt.amount_minor,
        currency=attempt.currency,
        since=attempt.created_at,
        status=attempt.status,
        is_unknown=attempt.status is AttemptStatus.UNKNOWN,
        may_succeed=not intent.capture_later,
        row=attempt,
    )


def _of_payout(payout: Payout) -> OverrideSubject:
    return OverrideSubject(
        kind="payout",
        subject_id=payout.payout_id,
        intent_id=None,
        account_id=payout.account_id,
        livemode=payout.livemode,
        provider=BANK,
        amount_minor=payout.amount_minor,
        currency=payout.currency,
        since=payout.submitted_at or payout.requested_at,
        status=payout.state,
        is_unknown=payout.state is PayoutState.UNKNOWN,
        may_succeed=True,
        row=payout,
    )
