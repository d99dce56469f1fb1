"""Closing a date: a statement that is missing or wrong holds back nobody else's, and is asked for again."""

from collections.abc import Sequence
from datetime import date, timedelta

import pytest

from gateway import jobs
from gateway.foundation.clock import real_now
from gateway.jobs import Step
from gateway.merchants import provider_accounts
from gateway.payments.facts import FactApplier
from gateway.providers.base import StatementFile, StatementUnavailable
from gateway.settlement.daily import Daily
from tests.reconciliation.files import bill_file, mt940_statement
from tests.settlement.shops import MONDAY, TUESDAY

KBANK_HEAD = f"H,kbank_settlement,1,KB1,{MONDAY:%d/%m/%Y}"
QUIET = (KBANK_HEAD, "T,0,0.00,0.00,0.00,0.00")
PAID = (
    KBANK_HEAD,
    f"D,1,PAYMENT,QR,T1,order,,{MONDAY:%d/%m/%Y},09:00:00,100.00,0.80,0.06,99.14,",
    "T,1,100.00,0.80,0.06,99.14",
)


def kbank(records: Sequence[str]) -> StatementFile:
    content = "".join(f"{record}\r\n" for record in records).encode()
    return StatementFile(source="kbank_settlement", name="kbank.csv", content=content)


class Statements:
    """Somebody's statements; None: not there."""

    def __init__(self, file: StatementFile | None) -> None:
        self.file = file
        self.asked: list[date] = []

    async def statements(self, _: object, on: date) -> Sequence[StatementFile]:
        self.asked.append(on)
        if self.file is None:
            raise StatementUnavailable("http_503")
        return (self.file,)


class FakeProviders(dict[str, Statements]):
    """What the daily work needs of the adapters."""

    def __init__(self, bank: Statements, **others: Statements) -> None:
        super().__init__(others)
        self.bank = bank


@pytest.fixture
async def providers(shop):
    async with shop.database.read() as connection:
        account = await provider_accounts.for_book(connection, shop.vault, shop.book_id, "bank")
    statement = mt940_statement([], on=MONDAY, account=account.credentials["account_number"]).encode()
    return FakeProviders(
        bank=Statements(StatementFile(source="mt940", name="bank.sta", content=statement)),
        scb=Statements(StatementFile(source="thai_bill_payment", name="scb.txt", content=bill_file([]))),
        kbank=Statements(kbank(QUIET)),
    )


@pytest.fixture
def daily(shop, providers):
    return Daily(
        database=shop.database,
        ledger=shop.ledger,
        vault=shop.vault,
        providers=providers,
        applier=FactApplier(shop.database),
        settlement=shop.run,
        confirmations=shop.confirmations,
    )


async def work(shop, daily, *, now) -> str | None:
    """Claim and do the next job, as a worker does: its step, or what it waits for; None where none is due."""
    async with shop.database.transaction() as connection:
        job = await jobs.claim(connection, now=now)
    if job is None:
        return None
    try:
        result = await daily.run(job)
    except StatementUnavailable as error:
        async with shop.database.transaction() as connection:
            await jobs.postpone(connection, job, error=str(error), now=now)
        return str(error)
    async with shop.database.transaction() as connection:
        await jobs.finish(connection, job, result=result, now=now)
    return job.step.name


async def closed(shop, period: date) -> dict:
    async with shop.database.read() as connection:
        return await jobs.result_of(connection, shop.book_id, period, Step.CLOSE_DAY)


async def test_a_missing_statement_holds_back_nobody_and_is_asked_for_until_it_came(shop, daily, providers):
    providers["kbank"].file = None
    now = real_now()
    async with shop.database.transaction() as connection:
        due = [(MONDAY, Step.CLOSE_DAY), (TUESDAY, Step.SETTLE)]
        await jobs.enqueue(connection, shop.book_id, due, at=now)
    assert await work(shop, daily, now=now) == "CLOSE_DAY"
    assert (await closed(shop, MONDAY))["missing"] == {"kbank": "kbank: http_503"}
    assert (await closed(shop, MONDAY))["files"] == 2
    later = now + timedelta(minutes=1)
    assert await work(shop, daily, now=later) == "kbank: http_503"
    assert await work(shop, daily, now=later) == "SETTLE", "the late one holds back nothing"
    assert await work(shop, daily, now=later) is None
    providers["kbank"].file = kbank(PAID)
    assert await work(shop, daily, now=later + timedelta(minutes=10)) == "LATE_STATEMENTS"
    assert await work(shop, daily, now=later + timedelta(minutes=20)) is None
    assert [len(each.asked) for each in (providers["kbank"], providers["scb"], providers.bank)] == [3, 1, 1]
    async with shop.database.ledger_pool.acquire() as connection:
        found = await connection.fetch(
            "SELECT provider, run_on FROM reconciliation.statement_lines WHERE book_id = $1", shop.book_id
        )
    assert [tuple(row) for row in found] == [("kbank", MONDAY)]


async def test_a_statement_that_cannot_be_trusted_holds_back_nobody(shop, daily, providers):
    providers["kbank"].file = kbank(PAID[:-1])
    result = await daily.close(shop.book_id, MONDAY)
    assert result.files == 2
    assert set(result.missing) == {"kbank"}
    assert "cut_off" in result.missing["kbank"]
    async with shop.database.ledger_pool.acquire() as connection:
        (run,) = await connection.fetch("SELECT state FROM reconciliation.runs WHERE book_id = $1", shop.book_id)
    assert run["state"] == "finished"


async def test_the_closing_waits_where_no_statement_came_at_all(shop, daily, providers):
    for each in (*providers.values(), providers.bank):
        each.file = None
    with pytest.raises(StatementUnavailable, match="scb: http_503; kbank: http_503; bank: http_503"):
        await daily.close(shop.book_id, MONDAY)
    async with shop.database.ledger_pool.acquire() as connection:
        runs = "SELECT count(*) FROM reconciliation.runs WHERE book_id = $1"
        assert await connection.fetchval(runs, shop.book_id) == 0
