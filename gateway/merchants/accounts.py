"""Merchant accounts: opened with everything that a first test payment needs.

A new account has its own test book, a data key, a test key and a live key, the list price for every method, and
accounts with the sandbox's providers. Live money of all merchants is in one live estate, book 1.
"""

from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database, driver
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.merchants import api_keys, bank_accounts, clocks, data_keys, fee_plans, operators, provider_accounts
from gateway.merchants.principals import RateLimit
from gateway.merchants.provider_accounts import SandboxRegistry
from gateway.merchants.tables import accounts
from gateway.merchants.tables import data_keys as data_key_rows
from ledger.accounts import new_book_id, open_book

LIVE_BOOK_ID: Final = 1
"""The live estate. A merchant that outgrows it gets a book of its own."""


class CreatedAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A new account with its first keys, shown this once."""

    account_id: str
    test_book_id: int
    test_key: api_keys.NewKey
    live_key: api_keys.NewKey


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account as an operator sees it; name and e-mail are None after the data key was destroyed."""

    account_id: str
    test_book_id: int
    live_book_id: int
    name: str | None
    email: str | None
    created_at: datetime


async def create_account(
    database: Database,
    vault: Vault,
    *,
    name: str,
    email: str,
    actor: str,
    reason: str,
    sandbox_url: str,
    public_url: str,
    sandbox: SandboxRegistry | None,
) -> CreatedAccount:
    """Open a merchant account, committed, then tell the sandbox of it.

    `actor` and `reason` are kept in `operator_acts`. Where `sandbox` is None or does not answer, the worker's
    `register_pending` tells it later.
    """
    async with database.transaction() as connection:
        created = await _create(connection, vault, name=name, email=email)
        await operators.record_act(
            connection, actor=actor, act="merchant.created", subject=created.account_id, reason=reason
        )
        await provider_accounts.create_test_accounts(
            connection, vault, book_id=created.test_book_id, sandbox_url=sandbox_url, public_url=public_url
        )
    if sandbox is not None:
        await provider_accounts.register_pending(
            database, vault, sandbox, sandbox_url=sandbox_url, public_url=public_url
        )
    return created


async def list_accounts(connection: AsyncConnection, vault: Vault) -> list[Account]:
    """All accounts, oldest first."""
    a = accounts.c
    statement = (
        select(
            *(a.account_id, a.test_book_id, a.live_book_id, a.sealed_name, a.sealed_email, a.created_at),
            data_key_rows.c.wrapped_key,
        )
        .select_from(accounts.outerjoin(data_key_rows, data_key_rows.c.account_id == a.account_id))
        .order_by(a.account_id)
    )
    return [
        Account(
            account_id=row.account_id,
            test_book_id=row.test_book_id,
            live_book_id=row.live_book_id,
            name=_opened(vault, row.wrapped_key, row.sealed_name, _name_of(row.account_id)),
            email=_opened(vault, row.wrapped_key, row.sealed_email, _email_of(row.account_id)),
            created_at=row.created_at,
        )
        for row in await connection.execute(statement)
    ]


async def books_of(connection: AsyncConnection, account_id: str) -> tuple[int, int] | None:
    """The test book and the live book of an account; None where there is no such account."""
    a = accounts.c
    statement = select(a.test_book_id, a.live_book_id).where(a.account_id == account_id)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else (row.test_book_id, row.live_book_id)


async def _create(connection: AsyncConnection, vault: Vault, *, name: str, email: str) -> CreatedAccount:
    account_id = new_id("acct", livemode=True)
    key = await data_keys.new_data_key(connection, vault, account_id)
    test_book_id = await new_book_id(driver(connection))
    await open_book(driver(connection), test_book_id, code=account_id, mode="test")
    await open_book(driver(connection), LIVE_BOOK_ID, code="live", mode="live")
    await clocks.open_clock(connection, test_book_id)
    limit = RateLimit()
    await connection.execute(
        insert(accounts).values(
            account_id=account_id,
            test_book_id=test_book_id,
            live_book_id=LIVE_BOOK_ID,
            sealed_name=vault.seal(key, name.encode(), context=_name_of(account_id)),
            sealed_email=vault.seal(key, email.encode(), context=_email_of(account_id)),
            email_lookup=vault.lookup(email.strip().casefold(), purpose="email"),
            rate_per_second=limit.per_second,
            rate_burst=limit.burst,
            created_at=real_now(),
        )
    )
    for plan in fee_plans.DEFAULT_PLANS:
        await fee_plans.set_plan(connection, account_id, plan)
    await bank_accounts.set_bank_account(
        connection,
        vault,
        account_id=account_id,
        book_id=test_book_id,
        livemode=False,
        bank_code="014",
        number="9990000001",
        name="TEST PAYEE",
    )
    return CreatedAccount(
        account_id=account_id,
        test_book_id=test_book_id,
        test_key=await api_keys.create(connection, vault, account_id, livemode=False),
        live_key=await api_keys.create(connection, vault, account_id, livemode=True),
    )


def _opened(vault: Vault, key: bytes | None, sealed: bytes, context: str) -> str | None:
    return None if key is None else vault.open(key, sealed, context=context).decode()


def _name_of(account_id: str) -> str:
    return f"account_name:{account_id}"


def _email_of(account_id: str) -> str:
    return f"account_email:{account_id}"
