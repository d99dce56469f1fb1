"""What a caller is told holds: never "not posted" of what is posted, never "refused" of what is still coming."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from ledger.errors import OutcomeUnknown
from ledger.feed import entry_by_key, head
from ledger.journal import Posted, Refused
from ledger.posting import Ledger, post_entries
from ledger.verification import verify
from tests.ledger.entries import paid_out, received
from tests.ledger.faults.durable import DurableServer
from tests.ledger.faults.proxy import Moment, proxied


@pytest.mark.parametrize("moment", Moment)
async def test_call_that_commits_itself_is_of_unknown_outcome_when_the_line_is_lost(
    durable: DurableServer, tmp_path: Path, moment: Moment
) -> None:
    """`post_entries` outside a transaction: nobody may say that nothing was posted."""
    book, lost = await durable.new_book(), received(5)
    async with proxied(durable.app_dsn, durable.socket_folder, tmp_path) as (proxy, dsn), durable.connected() as direct:
        connection = await asyncpg.connect(dsn)
        proxy.cut(1, moment)
        with pytest.raises(OutcomeUnknown):
            await post_entries(connection, book, [lost])
        connection.terminate()
        [again] = await post_entries(direct, book, [lost])
        assert isinstance(again, Posted)
        assert await head(direct, book) == 1


async def test_refusal_is_final_although_the_lost_call_arrives_late(durable: DurableServer, tmp_path: Path) -> None:
    """The first call hangs between here and the server when the line is lost. The second one is refused for want of
    money; then money comes, and only then the first call arrives. Told "refused", the caller has let go of it, so it
    must not be posted.
    """
    book, lost = await durable.new_book(), paid_out(60)
    async with (
        proxied(durable.app_dsn, durable.socket_folder, tmp_path) as (proxy, dsn),
        asyncpg.create_pool(dsn, min_size=0, max_size=2) as pool,
        durable.connected() as direct,
    ):
        ledger = Ledger(pool)
        await ledger.post(book, received(1))
        proxy.cut(1, Moment.HELD)
        result = await ledger.post(book, lost)
        assert proxy.made == 1
        assert isinstance(result, Refused)
        await post_entries(direct, book, [received(100)])
        await proxy.let_held_go()
        await asyncio.sleep(0.1)
        assert await entry_by_key(direct, book, lost.key) is None
        report = await verify(direct, book)
        assert (report.passed, report.head) == (True, 2)
        await ledger.close()


async def test_acknowledged_entry_survives_a_crash_whatever_the_session_says_of_commits(durable: DurableServer) -> None:
    """`synchronous_commit = off`, set for a role or a session to make something else faster, is not for the books."""
    book, entries = await durable.new_book(), [received(amount) for amount in range(1, 21)]
    careless = await asyncpg.connect(durable.app_dsn, server_settings={"synchronous_commit": "off"})
    for each in entries:
        await post_entries(careless, book, [each])
    durable.kill()
    careless.terminate()
    await durable.restart()
    async with durable.connected() as direct:
        assert await head(direct, book) == 20
        assert (await verify(direct, book)).passed
