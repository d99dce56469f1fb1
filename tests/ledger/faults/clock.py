"""The server's clock, moved: the posting functions are put in place with a clock that goes wrong, and put back.

Only what `clock_timestamp()` says is changed in their text, so everything they write is as they would write it then.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from ledger.checks_of_functions import functions_are_ours

OURS = """SELECT p.oid::regprocedure::text AS name, pg_get_functiondef(p.oid) AS text FROM pg_proc AS p
WHERE p.pronamespace = 'ledger'::regnamespace AND p.prosrc LIKE '%clock_timestamp()%'"""


@asynccontextmanager
async def server_clock(superuser: asyncpg.Connection, offset: str) -> AsyncIterator[None]:
    """The books' clock is off by an interval (`-1 day`) inside the block."""
    functions = await superuser.fetch(OURS)
    assert "post_entries_v1" in str([each["name"] for each in functions])
    for each in functions:
        moved = each["text"].replace("clock_timestamp()", f"(clock_timestamp() + interval '{offset}')")
        await superuser.execute(moved)
    try:
        yield
    finally:
        for each in functions:
            await superuser.execute(each["text"])
        assert await functions_are_ours(superuser) == []
