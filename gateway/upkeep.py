"""What the house must have done for it now and then, by whichever worker comes first. Real time throughout."""

from datetime import timedelta
from typing import Final

from gateway.foundation.clock import business_date_of, real_now
from gateway.foundation.database import Database
from gateway.foundation.logs import get_logger
from gateway.foundation.metrics import LEDGER_MONTHS_AHEAD
from ledger import holds, months
from ledger.journal import Posted
from ledger.posting import Ledger

MONTHS_AHEAD: Final = 3
"""How far ahead a running house makes room in its books; a new one begins with as much."""

HOLDS_LOOKED_BACK: Final = timedelta(days=7)
"""What is overdue for longer is for `quickkub ledger expire-holds`: a worker away so long has a person with it."""

_log = get_logger("quickkub.upkeep")


async def make_months(database: Database) -> int:
    """Give the books room for the next months; returns how many months were new. Any number may do it at once."""
    async with database.ledger_pool.acquire() as connection:
        made = await months.make_months(connection, today=real_now().date(), ahead=MONTHS_AHEAD)
    if made:
        _log.info("months made ahead", extra={"months": made})
    await months_ahead(database)
    return made


async def expire_holds(database: Database, ledger: Ledger) -> int:
    """Give free, in every book, what is held beyond its time; returns how many holds. Any number may do it at once."""
    now, expired = real_now(), 0
    looked = {"since": now - HOLDS_LOOKED_BACK, "at": now}
    async with database.ledger_pool.acquire() as connection:
        for book_id in await holds.books_with_expired_holds(connection, **looked):
            on = business_date_of(now)
            results = await holds.expire_holds(connection, ledger, book_id, effective_on=on, **looked)
            expired += sum(isinstance(result, Posted) and not result.replayed for result in results)
    if expired:
        _log.info("holds expired", extra={"holds": expired})
    return expired


async def months_ahead(database: Database) -> int:
    """For how many months after this one the books have room, put on the dashboard too."""
    async with database.ledger_pool.acquire() as connection:
        ahead = await months.months_ahead(connection, today=real_now().date())
    LEDGER_MONTHS_AHEAD.set(ahead)
    return ahead
