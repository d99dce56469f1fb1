"""The line is cut around COMMIT: the caller cannot know, so it asks by its key and gets the one truth.

Method: a proxy reads the protocol and cuts before, inside and after the posting call; what the server made of it is
then read past the proxy.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from ledger.errors import LedgerUnavailable, OutcomeUnknown
from ledger.feed import entry_by_key, head
from ledger.journal import JournalEntry, Posted, PostingResult
from ledger.posting import Ledger, post_entries
from ledger.verification import verify
from tests.ledger.entries import paid_out, received
from tests.ledger.faults.durable import DurableServer
from tests.ledger.faults.proxy import CuttingProxy, Moment, proxied

NEVER_ARRIVED = {Moment.BEFORE_IT_IS_SENT, Moment.HALF_SENT, Moment.HELD}


class Line:
    """A ledger that posts through the proxy, a connection past it, and a book."""

    def __init__(
        self, proxy: CuttingProxy, dsn: str, pool: asyncpg.Pool, direct: asyncpg.Connection, book: int
    ) -> None:
        self.proxy, self.dsn, self.direct, self.book = proxy, dsn, direct, book
        self.ledger = Ledger(pool)

    async def post(self, entry: JournalEntry) -> PostingResult:
        return await self.ledger.post(self.book, entry)

    async def assert_sound(self, *, entries: int) -> None:
        report = await verify(self.direct, self.book)
        assert [check for check in report.checks if not check.passed] == []
        assert report.head == entries


@pytest.fixture
async def line(durable: DurableServer, tmp_path: Path) -> AsyncIterator[Line]:
    book = await durable.new_book()
    async with (
        proxied(durable.app_dsn, durable.socket_folder, tmp_path) as (proxy, dsn),
        asyncpg.create_pool(dsn, min_size=0, max_size=2) as pool,
        durable.connected() as direct,
    ):
        yield Line(proxy, dsn, pool, direct, book)
        assert proxy.cuts == 0, "a cut was ordered and found nothing to cut"


@pytest.mark.parametrize("warm", [False, True], ids=["first call of a connection", "later call"])
@pytest.mark.parametrize("moment", Moment)
async def test_one_lost_answer_is_asked_for_again_before_the_caller_hears_of_it(
    line: Line, moment: Moment, warm: bool
) -> None:
    if warm:
        await line.post(received(1))
    line.proxy.cut(1, moment)
    result = await line.post(received(100))
    assert line.proxy.made == 1
    assert isinstance(result, Posted)
    assert result.sequence == 1 + warm
    if moment is not Moment.SENT:  # there the server may have been beaten by the second call
        assert result.replayed == (moment not in NEVER_ARRIVED)
    await line.assert_sound(entries=1 + warm)


@pytest.mark.parametrize("moment", Moment)
async def test_unknown_outcome_is_resolved_by_posting_the_same_entry_again(line: Line, moment: Moment) -> None:
    lost = received(100)
    line.proxy.cut(2, moment)
    with pytest.raises(OutcomeUnknown) as unknown:
        await line.post(lost)
    assert unknown.value.retryable
    again = await line.post(lost)
    assert isinstance(again, Posted)
    assert again.sequence == 1
    if moment is not Moment.SENT:
        assert again.replayed == (moment not in NEVER_ARRIVED)
    await line.assert_sound(entries=1)


@pytest.mark.parametrize("moment", Moment)
async def test_lost_authorisation_moves_the_money_once(line: Line, moment: Moment) -> None:
    """The balance suffices for one: were the second call not a replay it would be refused, or paid twice."""
    await line.post(received(100))
    lost = paid_out(60)
    line.proxy.cut(2, moment)
    with pytest.raises(OutcomeUnknown):
        await line.post(lost)
    assert isinstance(await line.post(lost), Posted)
    assert isinstance(await line.post(lost), Posted)
    await line.assert_sound(entries=2)


@pytest.mark.parametrize("moment", [Moment.BEFORE_IT_IS_SENT, Moment.SENT, Moment.ANSWERED])
async def test_caller_with_a_transaction_of_its_own_loses_all_of_it_or_nothing(line: Line, moment: Moment) -> None:
    """The applier's way: post on its own connection, then COMMIT, which is what gets lost."""
    lost = [received(1), received(2)]
    line.proxy.cut(1, moment, at_commit=True)
    connection = await asyncpg.connect(line.dsn)
    transaction = connection.transaction()
    await transaction.start()
    await post_entries(connection, line.book, lost)
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)):
        await transaction.commit()
    connection.terminate()
    results = await post_entries(line.direct, line.book, lost)
    replayed = {isinstance(each, Posted) and each.replayed for each in results}
    assert replayed == {moment is not Moment.BEFORE_IT_IS_SENT}
    await line.assert_sound(entries=2)


async def test_call_lost_inside_a_transaction_posted_nothing(line: Line) -> None:
    """Without COMMIT there is nothing unknown, so the caller is told that nothing was posted."""
    lost = received(5)
    for moment in Moment:
        line.proxy.cut(1, moment)
        connection = await asyncpg.connect(line.dsn)
        transaction = connection.transaction()
        await transaction.start()
        with pytest.raises(LedgerUnavailable):
            await post_entries(connection, line.book, [lost])
        connection.terminate()
        assert await entry_by_key(line.direct, line.book, lost.key) is None
        assert await head(line.direct, line.book) == 0
