"""Payout files on their way to the bank. Locks a file, then its payouts and claims, never while it calls.

A file is handed over under its message id and, while the outcome is unknown, again as the very same bytes under the
very same message id – never under another: the bank knows the id and answers as it did the first time. A refusal that
is certain gives every merchant the money back.
"""

from datetime import datetime, timedelta
from typing import Final, Protocol

import msgspec
from sqlalchemy import Update, func, or_, select, union, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.logs import get_logger
from gateway.foundation.metrics import PAYOUT_FILES_UNANSWERED, PAYOUTS_IN_TRANSIT_MINOR
from gateway.merchants import provider_accounts
from gateway.merchants.clocks import clock_of
from gateway.providers.base import Accepted, Declined, NotAttempted, Outcome, ProviderAccount
from gateway.settlement.claim_transfers import ClaimTransfers
from gateway.settlement.files import BANK, FileState, content_context
from gateway.settlement.payouts import MOVES, SYSTEM, IllegalMove, Payouts, PayoutState, locked, move
from gateway.settlement.tables import payout_files, payouts

LEASE: Final = timedelta(minutes=2)
"""Longer than any call to the bank. `calling_until`: somebody is calling; `lease_until`: nobody is to call before."""
ASK_AGAIN_AFTER: Final = timedelta(minutes=5)

UNANSWERED_AFTER: Final = timedelta(hours=1)

_log = get_logger("quickkub.settlement")


class BankConnection(Protocol):
    """What `gateway/providers/bank.py` does for us."""

    async def submit_payment_file(self, account: ProviderAccount, *, message_id: str, content: bytes) -> Outcome:
        """Hand a payment file to the bank. Never raises for what a network or bank may do."""
        ...


class _File(msgspec.Struct, frozen=True, kw_only=True):
    book_id: int
    payout_file_id: str
    message_id: str
    sealed_content: bytes
    calling_until: datetime


async def measure_unanswered(connection: AsyncConnection) -> int:
    """How many files were handed over more than an hour ago and the bank has not said what it did; put on show.

    Of a file that was withdrawn for one payout nobody asks any more; it counts while another in it is unknown.
    """
    f, p = payout_files.c, payouts.c
    before = real_now() - UNANSWERED_AFTER
    unanswered = union(
        select(f.book_id, f.payout_file_id).where(f.state == FileState.SENT, f.sent_at < before),
        select(p.book_id, p.payout_file_id).where(p.state == PayoutState.UNKNOWN, p.submitted_at < before),
    ).subquery()
    count: int = (await connection.execute(select(func.count()).select_from(unanswered))).scalar_one()
    PAYOUT_FILES_UNANSWERED.set(count)
    return count


async def measure_in_transit(connection: AsyncConnection) -> int:
    """How much baht of live books is on its way to merchants, or perhaps on its way; put on show."""
    p = payouts.c
    on_the_way = [PayoutState.SUBMITTED, PayoutState.UNKNOWN, PayoutState.IN_TRANSIT]
    statement = select(func.coalesce(func.sum(p.amount_minor), 0)).where(p.state.in_(on_the_way), p.livemode)
    amount_minor = int((await connection.execute(statement)).scalar_one())
    PAYOUTS_IN_TRANSIT_MINOR.set(amount_minor)
    return amount_minor


class Submission:
    """Hands the files of a book to the bank."""

    def __init__(
        self, *, database: Database, vault: Vault, payouts: Payouts, claims: ClaimTransfers, bank: BankConnection
    ) -> None:
        """`payouts` and `claims` give the money back where the bank refuses a file."""
        self._database = database
        self._vault = vault
        self._payouts = payouts
        self._claims = claims
        self._bank = bank

    async def submit_due(self, book_id: int) -> int:
        """Hand over every file of the book that waits for it and that nobody else holds; returns how many.

        One with a claim that was disputed since it was built is withheld; its other claims wait for the next file.
        """
        count = 0
        while (file := await self._claim(book_id)) is not None:
            count += 1
            content = self._vault.open_house(file.sealed_content, context=content_context(file.payout_file_id))
            async with self._database.read() as connection:
                account = await provider_accounts.for_book(connection, self._vault, book_id, BANK)
            assert account is not None, "the file names this account"
            outcome = await self._bank.submit_payment_file(account, message_id=file.message_id, content=content)
            await self._record(file, outcome)
        return count

    async def _claim(self, book_id: int) -> _File | None:
        """Mark one file as sent *before* the call, so that a crash in it is seen as unknown and not as never sent."""
        while True:
            async with self._database.transaction() as connection:
                found = await self._free(connection, book_id)
                if found is None:
                    return None
                file_id, state = found
                business_now = (await clock_of(connection, book_id)).now()
                if state is FileState.BUILT and await self._claims.taken_out(connection, book_id, file_id):
                    await connection.execute(
                        _file(book_id, file_id).values(state=FileState.REJECTED, answered_at=business_now)
                    )
                    continue
                return await self._marked_sent(connection, book_id, file_id, business_now)

    async def _free(self, connection: AsyncConnection, book_id: int) -> tuple[str, FileState] | None:
        """A file that is to be handed over, locked, and its state."""
        now = real_now()
        f = payout_files.c
        free = (
            select(f.payout_file_id, f.state)
            .where(
                f.book_id == book_id,
                f.state.in_([FileState.BUILT, FileState.SENT]),
                or_(f.lease_until.is_(None), f.lease_until < now),
            )
            .order_by(f.built_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        row = (await connection.execute(free)).one_or_none()
        return None if row is None else (row[0], FileState(row[1]))

    async def _marked_sent(
        self, connection: AsyncConnection, book_id: int, file_id: str, business_now: datetime
    ) -> _File:
        f, lease_end = payout_files.c, real_now() + LEASE
        claimed = (
            _file(book_id, file_id)
            .values(
                state=FileState.SENT,
                sent_at=func.coalesce(f.sent_at, business_now),
                lease_until=lease_end,
                calling_until=lease_end,
            )
            .returning(*(f[name] for name in _File.__struct_fields__))
        )
        row = (await connection.execute(claimed)).mappings().one()
        await self._move_all(
            connection, book_id, file_id, PayoutState.SUBMITTED, reason="handed to the bank", at=business_now
        )
        return _File(**row)

    async def _record(self, file: _File, outcome: Outcome) -> None:
        match outcome:
            case Accepted(provider_references=references):
                reference = references[0] if references else None
                await self._answered(file, FileState.ACKED, PayoutState.IN_TRANSIT, "the bank took the file", reference)
            case Declined(failure_code=code):
                for payout_id in await self._members(file):
                    await self._refused(file, payout_id, code)
                await self._claims.reject_all(
                    file.book_id, file.payout_file_id, reason="the bank refused the file", code=code
                )
                await self._answered(file, FileState.REJECTED, None, "the bank refused the file", None)
            case NotAttempted():
                await self._unanswered(file, None)
            case _:
                await self._unanswered(file, PayoutState.UNKNOWN)

    async def _refused(self, file: _File, payout_id: str, code: str) -> None:
        """Give one payout's money back; one that is held to be paid must not keep the others' money from them."""
        try:
            await self._payouts.reject(
                file.book_id, payout_id, actor=SYSTEM, reason="the bank refused the file", reject_code=code
            )
        except IllegalMove as error:
            _log.error(
                "the bank refused the file of a payout that is held to be paid",
                extra={"payout": payout_id, "payout_file": file.payout_file_id, "detail": str(error)},
            )

    async def _answered(
        self, file: _File, state: FileState, payout_state: PayoutState | None, reason: str, reference: str | None
    ) -> None:
        async with self._database.transaction() as connection:
            now = (await clock_of(connection, file.book_id)).now()
            f = payout_files.c
            answered = await connection.execute(
                _of(file)
                .where(f.state == FileState.SENT)
                .values(state=state, bank_reference=reference, answered_at=now, lease_until=None, calling_until=None)
            )
            if not answered.rowcount:
                mine = (f.book_id == file.book_id, f.payout_file_id == file.payout_file_id)
                known = (await connection.execute(select(f.state).where(*mine))).scalar_one()
                if known != state:
                    extra = {"payout_file": file.payout_file_id, "known": known, "answer": state}
                    _log.error("the bank's answer contradicts what is known of a payout file", extra=extra)
            # What the bank says is true of those that nobody has decided about, whatever became of the file.
            if payout_state is not None:
                await self._move_all(connection, file.book_id, file.payout_file_id, payout_state, reason=reason, at=now)

    async def _unanswered(self, file: _File, payout_state: PayoutState | None) -> None:
        """Keep that nobody knows; somebody else who is calling by now keeps the file."""
        f = payout_files.c
        async with self._database.transaction() as connection:
            await connection.execute(
                _of(file)
                .where(f.state == FileState.SENT, f.calling_until == file.calling_until)
                .values(lease_until=real_now() + ASK_AGAIN_AFTER, calling_until=None)
            )
            if payout_state is not None:
                now = (await clock_of(connection, file.book_id)).now()
                await self._move_all(
                    connection, file.book_id, file.payout_file_id, payout_state, reason="no answer", at=now
                )

    async def _members(self, file: _File) -> list[str]:
        p = payouts.c
        statement = select(p.payout_id).where(p.book_id == file.book_id, p.payout_file_id == file.payout_file_id)
        async with self._database.read() as connection:
            return list((await connection.execute(statement.order_by(p.payout_id))).scalars())

    async def _move_all(
        self, connection: AsyncConnection, book_id: int, file_id: str, to: PayoutState, *, reason: str, at: datetime
    ) -> None:
        """Move what a file holds and has not got further by another road (the statement may be first)."""
        p = payouts.c
        statement = (
            select(p.payout_id)
            .where(p.book_id == book_id, p.payout_file_id == file_id, p.state.in_(list(_states_before(to))))
            .order_by(p.payout_id)
        )
        for payout_id in list((await connection.execute(statement)).scalars()):
            payout = await locked(connection, book_id, payout_id)
            if payout.state in _states_before(to):
                submitted = {"submitted_at": at} if to is PayoutState.SUBMITTED else {}
                await move(connection, payout, to, actor=SYSTEM, reason=reason, **submitted)
        await self._claims.move_all(connection, book_id, file_id, to, reason=reason, at=at)


def _states_before(to: PayoutState) -> frozenset[PayoutState]:
    return frozenset(state for state, targets in MOVES.items() if to in targets)


def _of(file: _File) -> Update:
    return _file(file.book_id, file.payout_file_id)


def _file(book_id: int, file_id: str) -> Update:
    f = payout_files.c
    return update(payout_files).where(f.book_id == book_id, f.payout_file_id == file_id)
