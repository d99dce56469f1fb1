"""What the house does by itself: overdue holds are given free in every book."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from gateway import upkeep
from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from ledger.accounts import open_book
from ledger.balances import balances
from ledger.holds import place_hold
from ledger.posting import Ledger, post_entries
from tests.ledger.entries import AVAILABLE, DAY, PAYOUTS, posting, received


async def test_overdue_holds_of_every_book_are_given_free_and_others_stay(database) -> None:
    opened = await Database.open(database.app_dsn)
    ledger = Ledger(opened.ledger_pool)
    overdue, later = real_now() - timedelta(minutes=1), datetime(2999, 1, 1, tzinfo=UTC)
    async with opened.ledger_pool.acquire() as connection:
        for book in (1, 1000):
            await open_book(connection, book, code=f"book-{book}", mode="test" if book > 1 else "live")
            entries = [
                place_hold(
                    key=uuid4(), posting=posting(AVAILABLE, PAYOUTS, 10), effective_on=DAY, expires_at=expires_at
                )
                for expires_at in (overdue, later, None)
            ]
            await post_entries(connection, book, [received(100), *entries])
    assert await upkeep.expire_holds(opened, ledger) == 2
    assert await upkeep.expire_holds(opened, ledger) == 0
    async with opened.ledger_pool.acquire() as connection:
        for book in (1, 1000):
            assert (await balances(connection, book, [AVAILABLE]))[AVAILABLE].held_debits_minor == 20
    await ledger.close()
    await opened.close()
