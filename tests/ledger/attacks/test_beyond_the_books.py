"""What no check of the books alone can find, because the books are consistent: only something kept elsewhere tells.

Each of these says so in its name, and that the head's hash is another: that is what a published checkpoint holds.
"""

from datetime import UTC, datetime

import pytest

from ledger.months import month_after
from ledger.posting import post_entries
from ledger.verification import verify
from tests.ledger.attacks.conftest import Attackers
from tests.ledger.attacks.forging import recompute_chain
from tests.ledger.attacks.table import EDIT_LAST_AMOUNT, GUARD, RECOUNT, SWAP_AMOUNTS, TAIL, UNGUARD
from tests.ledger.entries import BOOK, received
from tests.ledger.faults.clock import server_clock


@pytest.mark.parametrize("change", [(EDIT_LAST_AMOUNT,), (SWAP_AMOUNTS,)], ids=["amount", "rows swapped"])
async def test_whole_chain_recomputed_by_a_superuser_is_not_found_without_a_published_checkpoint(
    attackers: Attackers, change: tuple[str, ...]
) -> None:
    before = await verify(attackers.app, BOOK)
    for statement in (UNGUARD, *change, RECOUNT):
        await attackers.superuser.execute(statement)
    assert not (await verify(attackers.app, BOOK)).passed
    await recompute_chain(attackers.superuser)
    await attackers.superuser.execute(GUARD)
    report = await verify(attackers.app, BOOK)
    assert [check for check in report.checks if not check.passed] == []
    assert report.head == before.head
    assert report.head_hash != before.head_hash


async def test_tail_removed_with_every_trace_is_not_found_without_a_published_checkpoint(attackers: Attackers) -> None:
    before = await verify(attackers.app, BOOK)
    for statement in (UNGUARD, *TAIL, RECOUNT, GUARD):
        await attackers.owner.execute(statement)
    report = await verify(attackers.app, BOOK)
    assert [check for check in report.checks if not check.passed] == []
    assert (before.head, report.head) == (5, 4)
    await post_entries(attackers.app, BOOK, [received(1)])
    report = await verify(attackers.app, BOOK)
    assert report.head == before.head
    assert report.head_hash != before.head_hash


async def test_month_dropped_and_made_again_is_found(attackers: Attackers) -> None:
    """The newest block is an old one then; what stands outside the months betrays the rest, before and after a post."""
    async with server_clock(attackers.superuser, "1 month"):
        await post_entries(attackers.app, BOOK, [received(3)])
        await post_entries(attackers.app, BOOK, [received(4)])
        following = month_after(datetime.now(UTC).date(), 1)
        for table in ("entries", "postings", "blocks"):
            await attackers.owner.execute(f"DROP TABLE ledger.{table}_{following:%Y_%m}")
        assert await attackers.app.fetchval("SELECT ledger.create_month_v1($1)", following)
        for head in (5, 6):
            report = await verify(attackers.app, BOOK)
            assert report.head == head
            assert {check.name for check in report.checks if not check.passed} >= {"account_totals", "keys"}
            await post_entries(attackers.app, BOOK, [received(5)])
