"""Payout files: approved payouts gathered for the bank. Locks the payouts' rows while it writes.

A file is kept sealed, with its hash, count and control sum; `submission.py` hands it over.
"""

import hashlib
from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from itertools import groupby
from typing import Final

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.merchants import provider_accounts
from gateway.merchants.clocks import clock_of
from gateway.merchants.data_keys import DataKeyDestroyed, wrapped_key
from gateway.payments.claim_records import ClaimRow
from gateway.settlement.claim_transfers import ClaimTransfers
from gateway.settlement.payout_files import BankAccount, PayoutOrder, Transfer, pain_001
from gateway.settlement.payouts import Payout, PayoutState, destination_context, end_to_end_id, of_row
from gateway.settlement.tables import payout_files, payouts

FORMAT: Final = "pain.001.001.09"
PAYOUTS_IN_FILE_MAX: Final = 5_000
BANK: Final = "bank"
"""Provider name of the connection to the bank."""
DEBTOR_NAME: Final = "QUICKKUB"
DEBTOR_BANK_CODE: Final = "014"
"""Client money lies at SCB, whose connection `bank` is."""


class FileState(StrEnum):
    """`sent` was handed over, or was about to be, and no answer was understood yet; `rejected`: by the bank or us."""

    BUILT = "built"
    SENT = "sent"
    ACKED = "acked"
    REJECTED = "rejected"


class PayoutFiles:
    """Builds the files of a book and opens them again."""

    def __init__(self, database: Database, vault: Vault, claims: ClaimTransfers | None = None) -> None:
        """`claims`: what goes to payers; None where files are only read."""
        self._database = database
        self._vault = vault
        self._claims = claims

    async def build(self, book_id: int, execute_on: date) -> list[str]:
        """Gather the approved payouts that are in no file yet into one file a currency, and the claims into another.

        They wait where the book has no connection to a bank yet. Returns the ids of those that no file can ever
        hold, because their merchant's data was shredded: the caller gives the money back.
        """
        async with self._database.transaction() as connection:
            ours = await provider_accounts.for_book(connection, self._vault, book_id, BANK)
            if ours is None:
                return []
            debtor = BankAccount(
                bank_code=DEBTOR_BANK_CODE, account_number=ours.credentials["account_number"], holder=DEBTOR_NAME
            )
            transfers = {
                payout: await self._transfer(connection, payout) for payout in await _waiting(connection, book_id)
            }
            ready = [(payout, transfer) for payout, transfer in transfers.items() if transfer is not None]
            for _, group in groupby(ready, key=lambda each: each[0].currency):
                members = list(group)
                file_id = await self._write(connection, members, debtor=debtor, execute_on=execute_on)
                p = payouts.c
                await connection.execute(
                    update(payouts)
                    .where(p.book_id == book_id, p.payout_id.in_([payout.payout_id for payout, _ in members]))
                    .values(payout_file_id=file_id)
                )
            if self._claims is not None and (claimed := await self._claims.waiting(connection, book_id)):
                file_id = await self._write(connection, claimed, debtor=debtor, execute_on=execute_on)
                await self._claims.put_into(connection, [claim for claim, _ in claimed], file_id)
            return [payout.payout_id for payout, transfer in transfers.items() if transfer is None]

    async def content(self, book_id: int, payout_file_id: str) -> bytes:
        """The bytes of a file, opened.

        Raises:
            LookupError: there is no such file.
        """
        f = payout_files.c
        statement = select(f.sealed_content).where(f.book_id == book_id, f.payout_file_id == payout_file_id)
        async with self._database.read() as connection:
            sealed = (await connection.execute(statement)).scalar_one_or_none()
        if sealed is None:
            raise LookupError(f"no payout file {payout_file_id} in book {book_id}")
        return self._vault.open_house(sealed, context=content_context(payout_file_id))

    async def _write(
        self,
        connection: AsyncConnection,
        members: Sequence[tuple[Payout | ClaimRow, Transfer]],
        *,
        debtor: BankAccount,
        execute_on: date,
    ) -> str:
        """Write a file of transfers in one currency; returns its id."""
        first, _ = members[0]
        file_id = new_id("pf", livemode=first.livemode)
        order = PayoutOrder(
            message_id=end_to_end_id(file_id),
            created_at=(await clock_of(connection, first.book_id)).now(),
            execute_on=execute_on,
            debtor=debtor,
            transfers=tuple(transfer for _, transfer in members),
        )
        content = pain_001.write(order)
        await connection.execute(
            insert(payout_files).values(
                book_id=first.book_id,
                payout_file_id=file_id,
                message_id=order.message_id,
                format=FORMAT,
                currency=first.currency,
                execute_on=execute_on,
                sealed_content=self._vault.seal_house(content, context=content_context(file_id)),
                content_sha256=hashlib.sha256(content).digest(),
                count=order.count,
                control_minor=order.control_minor,
                state=FileState.BUILT,
                built_at=order.created_at,
            )
        )
        return file_id

    async def _transfer(self, connection: AsyncConnection, payout: Payout) -> Transfer | None:
        """The payout as a file holds it, or None where its destination cannot be read by anybody any more."""
        try:
            key = await wrapped_key(connection, payout.account_id)
        except DataKeyDestroyed:
            return None
        opened = self._vault.open(key, payout.sealed_destination, context=destination_context(payout.payout_id))
        return Transfer(
            end_to_end_id=payout.end_to_end_id,
            amount_minor=payout.amount_minor,
            currency=payout.currency,
            creditor=msgspec.json.decode(opened, type=BankAccount),
        )


async def withdraw(connection: AsyncConnection, book_id: int, payout_file_id: str, *, at: datetime) -> bool:
    """Lock a file and see to it that it is not handed over once more; False where somebody is handing it over now.

    Nothing is to be decided about a payout while its file is with the bank: it may be paying it. A file that the bank
    has answered stays as it is. Call it before the payouts of the file are locked, in that order.

    Args:
        connection: the transaction that decides.
        book_id, payout_file_id: the file.
        at: business time.
    """
    f = payout_files.c
    mine = (f.book_id == book_id, f.payout_file_id == payout_file_id)
    statement = select(f.state, f.calling_until).where(*mine).with_for_update()
    file = (await connection.execute(statement)).one()
    if file.state != FileState.SENT:
        return True
    if file.calling_until is not None and file.calling_until >= real_now():
        return False
    await connection.execute(
        update(payout_files)
        .where(*mine)
        .values(state=FileState.REJECTED, answered_at=at, lease_until=None, calling_until=None)
    )
    return True


async def _waiting(connection: AsyncConnection, book_id: int) -> list[Payout]:
    """Approved payouts that are in no file, locked; those that somebody else is gathering are left out."""
    p = payouts.c
    statement = (
        select(payouts)
        .where(p.book_id == book_id, p.state == PayoutState.APPROVED, p.payout_file_id.is_(None))
        .order_by(p.currency, p.payout_id)
        .limit(PAYOUTS_IN_FILE_MAX)
        .with_for_update(skip_locked=True)
    )
    return [of_row(row) for row in (await connection.execute(statement)).mappings()]


def content_context(payout_file_id: str) -> str:
    """What a file's content is sealed for."""
    return f"payout_file:{payout_file_id}"
