"""What a payment reads does not grow with the payments that are there, whatever was planned while tables were empty."""

import asyncio
from datetime import timedelta

import asyncpg

from gateway.payments.requests import CreateIntent
from gateway.providers.base import FactKind, FactSource, Method
from tests.payments.conftest import Asked

QR_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.PROMPTPAY)
BEFORE, AFTER = 60, 60
"""Payments in the same sessions: until the tables are analysed, and from then on."""
ROWS_A_PAYMENT = {
    "payment_intents": 6,
    "payment_attempts": 6,
    "provider_references": 4,
    "facts": 2,
    "events": 2,
}
"""What one reads of each table at most, by index; no table is read as a whole."""


async def test_a_payment_reads_its_own_rows_only(house, merchant, database):
    for number in range(BEFORE):
        await _paid(house, merchant, number)
    superuser = await asyncpg.connect(database.superuser_dsn)
    await superuser.execute("ANALYZE")
    await asyncio.sleep(1.1)  # sessions tell what they have read at most once a second
    await _paid(house, merchant, BEFORE)
    before = await _read(superuser)
    for number in range(BEFORE + 1, BEFORE + 1 + AFTER):
        await _paid(house, merchant, number)
    await house.close()
    await house.database.close()
    read = await _read(superuser)
    await superuser.close()
    assert {name: whole for name, (whole, _) in read.items()} == dict.fromkeys(ROWS_A_PAYMENT, 0)
    more = {name: (by_index - before[name][1]) / AFTER for name, (_, by_index) in read.items()}
    assert {name: each for name, each in more.items() if each > ROWS_A_PAYMENT[name]} == {}


async def _paid(house, merchant, number):
    intent = await house.intents.create(merchant, QR_ASKED)
    (_, key), at = house.scb.calls[-1], intent.created_at + timedelta(seconds=5)
    asked = Asked(provider_key=key, amount_minor=intent.amount)
    paid = house.scb.fact(asked, FactKind.CAPTURED, at, transaction=f"txn_{number}", source=FactSource.CALLBACK)
    assert (await house.applier.apply(paid, book_id=merchant.book_id)).new_facts == 1


async def _read(superuser):
    """Rows that were read of each table: by reading all of it, and by index."""
    await asyncio.sleep(0.2)  # whoever has ended tells after its end
    await superuser.execute("SELECT pg_stat_clear_snapshot()")
    rows = await superuser.fetch(
        "SELECT relname, seq_tup_read, idx_tup_fetch FROM pg_stat_user_tables WHERE schemaname = 'gateway'"
    )
    return {
        row["relname"]: (row["seq_tup_read"], row["idx_tup_fetch"]) for row in rows if row["relname"] in ROWS_A_PAYMENT
    }
