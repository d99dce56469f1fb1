"""A list of a hundred asks the database no more often than a list of one."""

import asyncio

import asyncpg
import pytest
from sqlalchemy import event, update

from gateway.merchants.tables import accounts
from gateway.providers.dispute_terms import DisputeTerms
from tests.api.test_payment_intents import CARD

ROWS = 100
AT_ONCE = 10


@pytest.fixture
def asked(services, monkeypatch):
    """Statements so far, whichever of the two ways they went to the server."""
    statements = []

    def note(_, __, statement, *___):
        statements.append(statement)

    event.listen(services.database.engine.sync_engine, "before_cursor_execute", note)
    plain = asyncpg.Connection._execute

    async def noted(self, query, *arguments, **options):
        statements.append(query)
        return await plain(self, query, *arguments, **options)

    monkeypatch.setattr(asyncpg.Connection, "_execute", noted)
    return statements


async def many(work):
    """`work(number)` a hundred times."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number):
        async with gate:
            return await work(number)

    return await asyncio.gather(*(one(number) for number in range(ROWS)))


async def test_lists_ask_as_often_for_one_row_as_for_a_hundred(client, services, merchant, asked):
    async with services.database.transaction() as connection:
        await connection.execute(update(accounts).values(rate_per_second=10_000, rate_burst=10_000))

    async def post(url, key, body):
        answer = await client.post(url, json=body, headers=merchant.money(key))
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()

    people = await many(lambda number: post("/v1/customers", f"c{number}", {"name": f"Customer {number}"}))
    paid = await many(
        lambda number: post("/v1/payment_intents", f"p{number}", CARD | {"customer": people[number]["id"]})
    )
    principal = await services.house.principal(merchant.account_id, merchant.book_id)
    await many(lambda number: post("/v1/refunds", f"r{number}", {"payment_intent": paid[number]["id"], "amount": 1_00}))
    await many(
        lambda number: services.house.dispute_acts.open(
            merchant.book_id,
            paid[number]["id"],
            DisputeTerms(reference=f"case {number}", evidence_due_at=principal.clock.now()),
            actor="cli:tester",
            reason="a test needs it",
        )
    )

    async def count(name, limit):
        before = len(asked)
        sign = "&" if "?" in name else "?"
        answer = await client.get(f"/v1/{name}{sign}limit={limit}", headers=merchant.headers())
        assert (answer.status_code, len(answer.json()["data"])) == (200, limit), name
        return len(asked) - before

    plain = ("payment_intents", "refunds", "events", "disputes", "balance_transactions", "customers")
    expanded = (
        "payment_intents?expand[]=data.customer&expand[]=data.refunds&expand[]=data.disputes",
        "refunds?expand[]=data.payment_intent.customer",
        "disputes?expand[]=data.payment_intent.customer",
    )
    for name in (*plain, *expanded):
        # The first time a pool opens connections, and those ask, too.
        await count(name, 1)
        assert await count(name, 1) == await count(name, ROWS) > 0, name
