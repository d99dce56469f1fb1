"""Where a merchant's payouts go. Name and number are sealed with the merchant's data key and never reach the ledger."""

from typing import Final

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.merchants.data_keys import wrapped_key
from gateway.merchants.tables import bank_accounts

PAYOUT_MINIMUM_MINOR: Final = 100_00
"""Smaller balances wait for the next day, so that a transfer is not made for a few baht."""


class BankAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A payout destination, opened.

    Attributes:
        bank_code: Bank of Thailand's three digits (`014`).
        payout_minimum_minor: available money below this waits.
    """

    bank_account_id: str
    account_id: str
    currency: str
    bank_code: str
    number: str
    name: str
    payout_minimum_minor: int

    def __repr__(self) -> str:
        """No name or number reaches a log."""
        return f"BankAccount({self.bank_account_id})"


async def set_bank_account(
    connection: AsyncConnection,
    vault: Vault,
    *,
    account_id: str,
    book_id: int,
    livemode: bool,
    bank_code: str,
    number: str,
    name: str,
    currency: str = "THB",
    payout_minimum_minor: int = PAYOUT_MINIMUM_MINOR,
) -> BankAccount:
    """Pay the account's money of this book and currency out to here from now on; the one before is disabled."""
    c = bank_accounts.c
    now, bank_account_id = real_now(), new_id("ba", livemode=livemode)
    key = await wrapped_key(connection, account_id)
    await connection.execute(
        update(bank_accounts)
        .where(c.book_id == book_id, c.account_id == account_id, c.currency == currency, c.disabled_at.is_(None))
        .values(disabled_at=now)
    )
    await connection.execute(
        insert(bank_accounts).values(
            bank_account_id=bank_account_id,
            account_id=account_id,
            book_id=book_id,
            currency=currency,
            bank_code=bank_code,
            sealed_number=vault.seal(key, number.encode(), context=_number_of(bank_account_id)),
            sealed_name=vault.seal(key, name.encode(), context=_name_of(bank_account_id)),
            last_four=number[-4:],
            payout_minimum_minor=payout_minimum_minor,
            created_at=now,
        )
    )
    return BankAccount(
        bank_account_id=bank_account_id,
        account_id=account_id,
        currency=currency,
        bank_code=bank_code,
        number=number,
        name=name,
        payout_minimum_minor=payout_minimum_minor,
    )


async def for_payout(
    connection: AsyncConnection, vault: Vault, *, book_id: int, account_id: str, currency: str = "THB"
) -> BankAccount | None:
    """The destination in use, or None where the merchant has named none.

    Raises:
        DataKeyDestroyed: the merchant's data was shredded.
    """
    c = bank_accounts.c
    statement = select(c.bank_account_id, c.bank_code, c.sealed_number, c.sealed_name, c.payout_minimum_minor).where(
        c.book_id == book_id, c.account_id == account_id, c.currency == currency, c.disabled_at.is_(None)
    )
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    key = await wrapped_key(connection, account_id)
    bank_account_id, bank_code, sealed_number, sealed_name, minimum = row
    return BankAccount(
        bank_account_id=bank_account_id,
        account_id=account_id,
        currency=currency,
        bank_code=bank_code,
        number=vault.open(key, sealed_number, context=_number_of(bank_account_id)).decode(),
        name=vault.open(key, sealed_name, context=_name_of(bank_account_id)).decode(),
        payout_minimum_minor=minimum,
    )


def _number_of(bank_account_id: str) -> str:
    return f"bank_account_number:{bank_account_id}"


def _name_of(bank_account_id: str) -> str:
    return f"bank_account_name:{bank_account_id}"
