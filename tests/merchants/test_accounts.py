"""A new account has everything that a first payment needs, and nothing readable of its owner is stored."""

import asyncio

from sqlalchemy import select, text

from gateway.foundation.database import Database, driver
from gateway.merchants import bank_accounts, data_keys
from gateway.merchants.accounts import LIVE_BOOK_ID, list_accounts
from gateway.merchants.fee_plans import FeePlan, plan_for, set_plan
from gateway.merchants.tables import accounts, operator_acts
from gateway.providers.base import Method
from ledger.accounts import new_book_id
from tests.merchants.conftest import new_account


async def test_each_account_has_its_own_test_book_and_shares_the_live_one(opened, vault):
    first = await new_account(opened, vault)
    second = await new_account(opened, vault, email="other@example.test")
    assert first.test_book_id != second.test_book_id
    assert LIVE_BOOK_ID not in {first.test_book_id, second.test_book_id}
    async with opened.read() as connection:
        rows = await list_accounts(connection, vault)
    assert [row.live_book_id for row in rows] == [LIVE_BOOK_ID, LIVE_BOOK_ID]
    assert [row.account_id for row in rows] == [first.account_id, second.account_id]


async def test_many_opened_at_once_wait_their_turn(database, vault):
    many = await Database.open(database.app_dsn, pool_size=12)
    try:
        async with many.transaction() as first:
            await first.execute(text("SELECT 1"))
            await new_book_id(driver(first))
            others = [asyncio.create_task(new_account(many, vault, email=f"{n}@example.test")) for n in range(40)]
            # Longer than a session waits for any other lock.
            await asyncio.sleep(2.5)
            assert not any(task.done() for task in others)
        created = await asyncio.gather(*others)
        assert sorted(account.test_book_id for account in created) == list(range(1000, 1040))
        async with many.read() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM gateway.accounts")) == 40
    finally:
        await many.close()


async def test_the_wait_for_ones_turn_ends_with_it(opened):
    async with opened.transaction() as connection:
        before = await connection.scalar(text("SELECT current_setting('lock_timeout')"))
        await new_book_id(driver(connection))
        assert await connection.scalar(text("SELECT current_setting('lock_timeout')")) == before == "2s"


async def test_name_and_email_are_readable_only_through_the_data_key(opened, vault, account):
    async with opened.read() as connection:
        sealed = (await connection.execute(select(accounts.c.sealed_name, accounts.c.sealed_email))).one()
        assert all(b"shop" not in bytes(value) for value in sealed)
        listed = await list_accounts(connection, vault)
    assert (listed[0].name, listed[0].email) == ("Test shop", "shop@example.test")

    async with opened.transaction() as connection:
        assert await data_keys.destroy(connection, account.account_id)
    async with opened.transaction() as connection:
        assert not await data_keys.destroy(connection, account.account_id)
        listed = await list_accounts(connection, vault)
    assert (listed[0].name, listed[0].email) == (None, None)


async def test_opening_an_account_is_on_the_record(opened, account):
    async with opened.read() as connection:
        acts = (await connection.execute(select(operator_acts))).mappings().all()
    assert [(act["actor"], act["act"], act["subject"], act["reason"]) for act in acts] == [
        ("cli:tests", "merchant.created", account.account_id, "a test needs it")
    ]


async def test_the_list_price_is_in_force_until_a_newer_version_is(opened, account):
    async with opened.transaction() as connection:
        card = await plan_for(connection, account.account_id, Method.CARD)
        promptpay = await plan_for(connection, account.account_id, Method.PROMPTPAY)
        assert card == FeePlan(
            method=Method.CARD, rate_ppm=36_500, fixed_minor=0, settlement_days=1, dispute_fee_minor=500_00, version=1
        )
        assert promptpay == FeePlan(method=Method.PROMPTPAY, rate_ppm=16_500, settlement_days=1, version=1)
        await set_plan(connection, account.account_id, FeePlan(method=Method.CARD, rate_ppm=30_000, fixed_minor=100))
        assert await plan_for(connection, account.account_id, Method.CARD) == FeePlan(
            method=Method.CARD, rate_ppm=30_000, fixed_minor=100, settlement_days=1, version=2
        )
        assert await plan_for(connection, account.account_id, Method.PROMPTPAY) == promptpay
        assert await plan_for(connection, "acct_none", Method.CARD) is None


async def test_payouts_go_to_the_bank_account_named_last(opened, vault, account):
    place = {"account_id": account.account_id, "book_id": account.test_book_id}
    async with opened.transaction() as connection:
        first = await bank_accounts.for_payout(connection, vault, **place)
        second = await bank_accounts.set_bank_account(
            connection, vault, **place, livemode=False, bank_code="004", number="9990000002", name="ร้านทดสอบ"
        )
        assert await bank_accounts.for_payout(connection, vault, **place) == second
        assert await bank_accounts.for_payout(connection, vault, **place, currency="USD") is None
        stored = (
            await connection.execute(text("SELECT string_agg(b::text, '') FROM gateway.bank_accounts b"))
        ).scalar()
    assert first is not None
    assert first.bank_code == "014"
    assert second.name == "ร้านทดสอบ"
    assert "9990000002" not in stored
    assert "9990000002" not in repr(second)
