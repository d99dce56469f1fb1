"""What the house must have done for it now and then, by whichever worker comes first. Real time throughout."""

from typing import Final

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.foundation.logs import get_logger
from gateway.foundation.metrics import LEDGER_MONTHS_AHEAD
from ledger import months

MONTHS_AHEAD: Final = 3
"""How far ahead a running house makes room in its books; a new one has a year from its first migration."""

_log = get_logger("quickkub.upkeep")


async def make_months(database: Database) -> int:
    """Give the books room for the next months; returns how many months were new. Any number may do it at once."""
    async with database.ledger_pool.acquire() as connection:
        made = await months.make_months(connection, today=real_now().date(), ahead=MONTHS_AHEAD)
    if made:
        _log.info("months made ahead", extra={"months": made})
    await months_ahead(database)
    return made


async def months_ahead(database: Database) -> int:
    """For how many months after this one the books have room, put on the dashboard too."""
    async with database.ledger_pool.acquire() as connection:
        ahead = await months.months_ahead(connection, today=real_now().date())
    LEDGER_MONTHS_AHEAD.set(ahead)
    return ahead
