"""A refund's reserve, taken from where the charge's money is: also between its date and that day's availability job.

On `available_on` the money is to be available, and stays pending until the settlement job of that day has moved it. A
reserve that available money cannot bear is then taken from the day's pending money; the job moves what is left.
"""

from typing import Final

from msgspec.structs import replace
from sqlalchemy import update

from gateway.foundation.clock import BookClock
from gateway.foundation.database import Database
from gateway.payments.entries import reserve_entry
from gateway.payments.records import RefundRow
from gateway.payments.states import RefundStatus
from gateway.payments.tables import refunds
from ledger import feed
from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, PostingResult, Refused
from ledger.posting import Ledger
from ledger.refusals import Refusal

TURNS_MAX: Final = 2
"""To the pending money, and back where the job moved it at that moment."""


async def post_reserve(database: Database, ledger: Ledger, refund: RefundRow, clock: BookClock) -> PostingResult:
    """Post the reserve; `Refused` where the merchant has the money neither available nor still pending for its day.

    Raises:
        LedgerError: the outcome is not known or it could not be posted; call again.
    """
    result = await ledger.post(refund.book_id, reserve_entry(refund))
    for _ in range(TURNS_MAX):
        if not isinstance(result, Refused) or result.refusal is not Refusal.BELOW_FLOOR:
            break
        turned = await _turned(database, refund, clock)
        if turned.reserve_pending_until == refund.reserve_pending_until:
            break
        refund = turned
        result = await ledger.post(refund.book_id, reserve_entry(refund))
    return result


async def _turned(database: Database, refund: RefundRow, clock: BookClock) -> RefundRow:
    """The refund that draws on where the money is by now, committed before it is posted: a retry posts the same."""
    r, day = refunds.c, refund.available_on
    if clock.today() < day:
        return refund
    pending = AccountRef(AccountKind.MERCHANT_PENDING, refund.account_id, refund.currency)
    async with database.ledger_pool.acquire() as connection:
        is_pending = await feed.pending_on(connection, refund.book_id, pending, day) > 0
    until = day if is_pending else None
    async with database.transaction() as connection:
        await connection.execute(
            update(refunds)
            .where(r.book_id == refund.book_id, r.refund_id == refund.refund_id, r.status == RefundStatus.REQUESTED)
            .values(reserve_pending_until=until)
        )
    return replace(refund, reserve_pending_until=until)
