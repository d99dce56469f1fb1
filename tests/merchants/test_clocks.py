"""A test book's clock only moves forward; live time cannot be moved at all."""

from datetime import timedelta

from gateway.foundation.clock import BookClock, real_now
from gateway.merchants.accounts import LIVE_BOOK_ID
from gateway.merchants.clocks import ClockRefusal, advance, clock_of


async def test_a_test_book_moves_forward_and_never_back(opened, account):
    book_id = account.test_book_id
    async with opened.transaction() as connection:
        assert await clock_of(connection, book_id) == BookClock()
        moved = await advance(connection, book_id, real_now() + timedelta(days=1))
        assert moved == BookClock(timedelta(days=1))
        assert await advance(connection, book_id, real_now()) is ClockRefusal.CLOCK_ONLY_MOVES_FORWARD
        too_far = real_now() + timedelta(days=4000)
        assert await advance(connection, book_id, too_far) is ClockRefusal.CLOCK_TOO_FAR_AHEAD
        assert await clock_of(connection, book_id) == moved


async def test_live_time_cannot_be_moved(opened, account):
    async with opened.transaction() as connection:
        refused = await advance(connection, LIVE_BOOK_ID, real_now() + timedelta(days=1))
        assert refused is ClockRefusal.BOOK_HAS_REAL_TIME
        assert await clock_of(connection, LIVE_BOOK_ID) == BookClock()
