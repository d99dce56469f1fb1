"""Concurrent histories: whatever several processes do to one book at once, the feed is one legal order of it.

Method: children post mixtures with entries that get refused. The feed is then replayed through the model, which must
accept every entry at its place and come to the same balances; what each child was told must be what the feed says.
"""

import asyncio
from contextlib import AsyncExitStack
from uuid import UUID

import pytest

from ledger.balances import all_balances
from ledger.feed import RecordedEntry, read_entries
from ledger.journal import Draw, JournalEntry, Posting
from ledger.verification import verify
from tests.ledger.faults.children import Child, child, everything
from tests.ledger.faults.durable import DurableServer
from tests.ledger.faults.scale import scaled
from tests.ledger.faults.workloads import mixture
from tests.ledger.model import Model

PROCESSES, ENTRIES, KILLS = scaled(3, long=6), scaled(400, long=5_000), scaled(1, long=8)


def entry_of(recorded: RecordedEntry, keys: dict[int, UUID]) -> JournalEntry:
    """What was handed in, as far as the feed says it."""
    draw = None
    if recorded.draws_on is not None and recorded.drawn_minor is not None:
        draw = Draw(keys[recorded.draws_on], recorded.drawn_minor)
    return JournalEntry(
        key=recorded.key,
        kind=recorded.kind,
        effective_on=recorded.effective_on,
        postings=tuple(
            Posting(
                debit=each.debit, credit=each.credit, amount_minor=each.amount_minor, available_on=each.available_on
            )
            for each in recorded.postings
        ),
        references=recorded.references,
        draw=draw,
        drawable_minor=recorded.drawable_minor,
        metadata=recorded.metadata,
        caller=recorded.caller,
    )


async def followed(durable: DurableServer, book: int, running: list[Child]) -> list[RecordedEntry]:
    """What a reader sees who follows with a cursor while the others post: it must miss nothing."""
    seen: list[RecordedEntry] = []
    async with durable.connected() as reader:
        while True:
            finished = all(each.process.returncode is not None for each in running)
            page = await read_entries(reader, book, after=seen[-1].sequence if seen else 0, limit=37)
            seen += page
            if finished and not page:
                return seen
            await asyncio.sleep(0 if page else 0.01)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kills", [0, KILLS], ids=["undisturbed", "server killed meanwhile"])
async def test_feed_of_several_processes_is_a_legal_history_and_is_what_they_were_told(
    durable: DurableServer, kills: int
) -> None:
    book = await durable.new_book()
    seeds = range(100, 100 + PROCESSES)
    async with AsyncExitStack() as children:
        running = [
            await children.enter_async_context(
                child(durable.app_dsn, book, seed, entries=ENTRIES, callers=25, workload="mixture")
            )
            for seed in seeds
        ]
        for _ in range(kills):
            await running[0].acknowledged(len(running[0].posted) + len(running[0].refused) + ENTRIES // (2 * KILLS))
            durable.kill()
            await durable.restart()
        following = asyncio.create_task(followed(durable, book, running))
        assert [await each.ended() for each in running] == [0] * PROCESSES
    assert all(each.done for each in running)
    assert [len(each.posted) + len(each.refused) for each in running] == [ENTRIES] * PROCESSES
    assert all(each.refused for each in running), "nothing was refused: the mixture is too tame"

    async with durable.connected() as connection:
        recorded = await everything(connection, book)
        found = await all_balances(connection, book)
        assert (await verify(connection, book)).passed
    assert await following == recorded
    assert {each.key: each.sequence for each in recorded} == {
        key: sequence for each in running for key, sequence in each.posted.items()
    }
    assert sum(len(each.posted) for each in running) == len(recorded)
    assert not {each.key for each in recorded} & {key for each in running for key in each.refused}

    model, keys, given = Model(), {each.sequence: each.key for each in recorded}, dict[UUID, JournalEntry]()
    for seed in seeds:
        given |= {entry.key: entry for entry in mixture(seed, ENTRIES)}
    for place in recorded:
        entry = entry_of(place, keys)
        assert entry == given[entry.key]
        result = model.post(entry)
        refusal, sequence, replayed = result.refusal, result.sequence, result.replayed
        assert (refusal, sequence, replayed) == (None, place.sequence, False)
    assert model.balances_after == [
        [(line.debit_balance_after, line.credit_balance_after) for line in each.postings] for each in recorded
    ]
    assert {each.account: each.balance_minor for each in found} == {
        account: model.balance(account) for account in model.state.debits.keys() | model.state.credits.keys()
    }
