"""Claims that are disputed once they are in a file: withheld while that is possible, and never silently paid."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from gateway.payments.claim_disputes import claims_disputed
from gateway.payments.claim_records import claim_view
from gateway.providers.base import FactKind
from gateway.settlement.confirmations import Confirmation
from tests.settlement.desk import ACCOUNT, OTHER, TWO_PAID
from tests.settlement.test_refund_claims import disputed


@pytest.fixture
async def two(desk, paid):
    """Two claimed refunds of 400 baht, of two payments."""
    other = await desk.paid()
    refunds = [await desk.refund(intent) for intent in (paid, other)]
    for refund, account in zip(refunds, (ACCOUNT, OTHER), strict=True):
        await desk.claims.claim(refund.claim_token, account)
    return paid, refunds


async def state_of(desk, refund):
    row = await desk.row(refund.claim)
    return row["state"], row["payout_file_id"] is not None, row["disputed_at"] is not None


async def files(desk):
    rows = await desk.house.rows(
        "SELECT state FROM gateway.payout_files WHERE book_id = $1 ORDER BY built_at, payout_file_id", desk.book_id
    )
    return [row["state"] for row in rows]


async def submit(desk):
    return await desk.run._submission.submit_due(desk.book_id)


async def test_a_file_that_was_not_handed_over_yet_is_withheld_and_its_other_claims_go_with_the_next(desk, two):
    intent, (questioned, fine) = two
    await desk.run.files.build(desk.book_id, desk.merchant.clock.today())
    assert [await state_of(desk, each) for each in (questioned, fine)] == [("approved", True, False)] * 2
    await disputed(desk, intent)
    before = await desk.balances()
    assert (await submit(desk), desk.bank.files, await files(desk)) == (0, [], ["rejected"])
    assert await desk.balances() == before
    assert await state_of(desk, questioned) == ("approved", False, True)
    assert await state_of(desk, fine) == ("approved", False, False)
    assert (await desk.sent(), await files(desk)) == (1, ["rejected", "acked"])
    assert await state_of(desk, questioned) == ("approved", False, True)
    assert await state_of(desk, fine) == ("in_transit", True, False)
    await disputed(desk, intent, FactKind.DISPUTE_WON)
    assert await desk.sent() == 1
    assert await state_of(desk, questioned) == ("in_transit", True, False)


async def test_a_file_waits_for_a_dispute_that_is_being_written(desk, two, monkeypatch):
    intent, _ = two
    await desk.run.files.build(desk.book_id, desk.merchant.clock.today())
    written, go_on = asyncio.Event(), asyncio.Event()
    post = desk.house.applier._post

    async def post_later(*arguments):
        written.set()
        await go_on.wait()
        await post(*arguments)

    monkeypatch.setattr(desk.house.applier, "_post", post_later)
    dispute = asyncio.create_task(disputed(desk, intent))
    await written.wait()
    handing_over = asyncio.create_task(submit(desk))
    await asyncio.wait({handing_over}, timeout=0.3)
    go_on.set()
    await dispute
    assert (await handing_over, desk.bank.files, await files(desk)) == (0, [], ["rejected"])


async def test_what_the_bank_was_handed_before_calls_for_a_person(desk, two, caplog):
    intent, (questioned, fine) = two
    await desk.house.run("UPDATE gateway.refund_claims SET livemode = true")
    assert await desk.sent() == 1
    await desk.claims.run_once()
    known = REGISTRY.get_sample_value("quickkub_claims_disputed")
    await disputed(desk, intent)
    assert await state_of(desk, questioned) == ("in_transit", True, True)
    assert await state_of(desk, fine) == ("in_transit", True, False)
    assert (await desk.house.event_types(desk.merchant)).count("refund_claim.disputed") == 1
    async with desk.house.database.read() as connection:
        [listed] = await claims_disputed(connection, desk.book_id)
    assert (listed.claim_id, claim_view(listed).disputed) == (questioned.claim, True)
    await desk.claims.run_once()
    assert REGISTRY.get_sample_value("quickkub_claims_disputed") == known + 1
    assert [record.message for record in caplog.records if "its payer may have the money twice" in record.message]
    await disputed(desk, intent)  # the same letter again
    assert (await desk.house.event_types(desk.merchant)).count("refund_claim.disputed") == 1


async def test_a_refund_that_is_paid_and_disputed_is_the_merchants_to_bear(desk, two):
    intent, (questioned, _) = two
    await desk.sent()
    await disputed(desk, intent, FactKind.DISPUTE_FUNDS_WITHDRAWN)
    assert await desk.seen(questioned.claim) is Confirmation.CONFIRMED
    three_paid = {name: minor * 3 // 2 for name, minor in TWO_PAID.items()}
    assert await desk.balances() == three_paid | {
        "provider_receivable": 2_000_00,
        "merchant_pending": three_paid["merchant_pending"] - 1_000_00 - 800_00,
        "refunds_payable": 400_00,
        "bank": -400_00,
    }
    assert await state_of(desk, questioned) == ("paid", True, True)
    await disputed(desk, intent, FactKind.DISPUTE_WON)
    assert await state_of(desk, questioned) == ("paid", True, False)
