"""The mark of a book spares adding up settled days and never hides money, however late it is recorded."""

from datetime import timedelta
from random import Random

import msgspec
import pytest

from gateway.settlement import marks
from gateway.settlement.settlements import open_due
from ledger.business_days import thai_banks
from ledger.feed import pending_by_day
from ledger.journal import Posting
from ledger.queries import QUERIES
from tests.settlement.shops import MONDAY, THURSDAY, TUESDAY, WEDNESDAY

DAYS = (MONDAY, TUESDAY, WEDNESDAY, THURSDAY)


async def looks(shop, through):
    """What is pending by the mark, and by adding up the whole book."""
    async with shop.database.read() as connection:
        mark = await marks.read(connection, shop.book_id)
    async with shop.database.ledger_pool.acquire() as connection:
        return [await pending_by_day(connection, shop.book_id, through=through, since=since) for since in (mark, None)]


@pytest.mark.parametrize("seed", range(4))
async def test_marked_and_whole_sums_agree_after_every_step_with_entries_of_any_age(shop, seed):
    random, captured, today = Random(seed), [], 0
    # So that every refund finds money on the account, whatever its own day has left.
    await shop.capture(10_000_00, available_on=THURSDAY + timedelta(days=30))
    for _ in range(30):
        match random.choice(["capture", "capture", "refund", "run", "tomorrow"]):
            case "capture":
                day = random.choice(DAYS)
                captured.append((day, await shop.capture(100_00, available_on=day)))
            case "refund" if captured:
                day, entry = captured.pop(random.randrange(len(captured)))
                await shop.refund(entry, random.choice([100_00, 40_00]), pending_until=day)
            case "run":
                await shop.run.run(shop.book_id, DAYS[today])
            case "tomorrow":
                today = min(today + 1, len(DAYS) - 1)
        for through in DAYS:
            marked, whole = await looks(shop, through)
            assert marked == whole


async def test_settled_day_is_not_added_up_again_until_a_late_entry_touches_it(shop):
    await shop.capture(1_000_00, available_on=MONDAY)
    await shop.run.run(shop.book_id, TUESDAY)
    await shop.run.run(shop.book_id, WEDNESDAY)

    async def days():
        async with shop.database.read() as connection:
            mark = await marks.read(connection, shop.book_id)
        async with shop.database.ledger_pool.acquire() as connection:
            values = (shop.book_id, THURSDAY, mark.cut, mark.through, list(mark.open_days))
            return [row["available_on"] for row in await connection.fetch(QUERIES["pending_days"], *values)]

    assert await days() == []
    await shop.capture(7_00, available_on=MONDAY)
    assert await days() == [MONDAY]
    result = await shop.run.run(shop.book_id, THURSDAY)
    assert result.became_available_minor == 7_00


async def test_money_that_no_settlement_takes_up_stays_in_sight(shop):
    entry = await shop.capture(500_00, available_on=MONDAY)
    other = [
        Posting(
            debit=msgspec.structs.replace(posting.debit, currency="USD"),
            credit=msgspec.structs.replace(posting.credit, currency="USD"),
            amount_minor=posting.amount_minor,
            available_on=posting.available_on,
        )
        for posting in entry.postings
    ]
    await shop.post(msgspec.structs.replace(entry, key=type(entry.key)(int=7), postings=tuple(other)))
    for day in (TUESDAY, WEDNESDAY):
        await shop.run.run(shop.book_id, day)
        marked, whole = await looks(shop, day)
        assert [(each.currency, each.available_on, each.amount_minor) for each in whole] == [("USD", MONDAY, 500_00)]
        assert marked == whole


async def test_run_that_dies_before_its_mark_leaves_the_mark_before(shop, monkeypatch):
    await shop.capture(500_00, available_on=MONDAY)

    async def dies(*_):
        raise ConnectionResetError

    with monkeypatch.context() as broken:
        broken.setattr(marks, "write", dies)
        with pytest.raises(ConnectionResetError):
            await open_due(
                shop.database, shop.vault, book_id=shop.book_id, business_date=TUESDAY, calendar=thai_banks()
            )
    await shop.run.run(shop.book_id, TUESDAY)
    assert (await shop.money())[2] == 500_00
    marked, whole = await looks(shop, TUESDAY)
    assert marked == whole == []
