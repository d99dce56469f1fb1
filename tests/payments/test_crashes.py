"""Nothing is lost or doubled, wherever a use case is broken off.

Goal: a crash between any two steps. Method: drive the use case by hand, break it off after its first, second, …
suspension, then let the janitor or the merchant's retry take it up, and count what the provider and the books did.
"""

import asyncio

import msgspec
import pytest

from gateway.payments.requests import CreateIntent, CreateRefund, Payer
from gateway.payments.states import IntentStatus
from gateway.providers.base import Method
from tests.payments.conftest import House

CARD_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.CARD, card_token="tokn_1")
PAID = {
    "provider_receivable": 1_000_00,
    "merchant_pending": 960_94,
    "fee_income": 36_50,
    "output_vat": 2_56,
}
STEPS_MAX = 400


class BrokenOff:
    """Awaits a coroutine and breaks it off after a number of suspensions; `finished` says whether it got through."""

    def __init__(self, work, after):
        self._work = work
        self._after = after
        self.finished = False

    def __await__(self):
        steps = 0
        running = self._work.__await__()
        while True:
            try:
                waiting = running.throw(asyncio.CancelledError()) if steps == self._after else running.send(None)
            except StopIteration:
                self.finished = True
                return
            except asyncio.CancelledError:
                return
            steps += 1
            yield waiting


@pytest.fixture
def crashing(house):
    """The same house without leases: whoever comes next finds the holder dead."""
    return House(house.database, lease_seconds=0)


async def broken_off_everywhere(work, settle):
    """Break `work(name)` off after 0, 1, 2 … suspensions, and `settle(name)` each; returns how many times."""
    for steps in range(STEPS_MAX):
        name = f"{steps:03d}"
        attempt = BrokenOff(work(name), steps)
        await attempt
        await settle(name)
        if attempt.finished:
            return steps + 1
    raise AssertionError("the use case never ended")


def intent_id(name):
    """An id as an idempotency row would hold it."""
    return f"pi_test_01k8000000000000000000{name}0"


def refund_id(name):
    return f"re_test_01k8000000000000000000{name}0"


@pytest.mark.parametrize(
    ("asked", "steps_min"),
    [
        pytest.param(CARD_ASKED, 5, id="committed with others"),
        pytest.param(msgspec.structs.replace(CARD_ASKED, payer=Payer(ip="203.0.113.7")), 15, id="committed alone"),
    ],
)
async def test_payment_broken_off_anywhere_is_made_once_by_the_merchants_retry(crashing, merchant, asked, steps_min):
    house = crashing

    async def create(name):
        await house.intents.create(merchant, asked, intent_id=intent_id(name))

    async def retry(name):
        intent = await house.intents.create(merchant, asked, intent_id=intent_id(name))
        assert (intent.status, intent.amount_captured) == (IntentStatus.SUCCEEDED, 1_000_00)

    times = await broken_off_everywhere(create, retry)
    assert times > steps_min
    assert len(house.omise.charges) == times
    assert house.omise.count("charge") == times
    assert await house.entries(merchant) == ["payment_captured"] * times
    assert await house.balances(merchant) == {name: times * amount for name, amount in PAID.items()}
    types = await house.event_types(merchant)
    assert (types.count("payment_intent.created"), types.count("payment_intent.succeeded")) == (times, times)


async def test_payment_broken_off_anywhere_and_left_alone_ends_as_the_provider_says(crashing, merchant):
    house = crashing

    async def create(name):
        await house.intents.create(merchant, CARD_ASKED, intent_id=intent_id(name))

    async def tidy_up(_):
        await house.make_due()
        await house.janitor.run_once()

    times = await broken_off_everywhere(create, tidy_up)
    captured = len(house.omise.charges)
    assert 0 < captured <= times
    assert (await house.entries(merchant)) == ["payment_captured"] * captured
    rows = await house.rows("SELECT status, count(*) FROM gateway.payment_intents GROUP BY status")
    by_status = {row["status"]: row["count"] for row in rows}
    assert by_status.pop("succeeded") == captured
    assert set(by_status) <= {"processing"}, "what the provider never got is asked about on, never failed"


@pytest.mark.parametrize("by", ["retry", "janitor"])
async def test_refund_broken_off_anywhere_is_made_once(crashing, merchant, by):
    house = crashing
    for _ in range(3):
        paid = await house.intents.create(merchant, CARD_ASKED)

    async def refund(name):
        await house.refunds.create(
            merchant, CreateRefund(payment_intent=paid.id, amount=1_00), refund_id=refund_id(name)
        )

    async def settle(name):
        if by == "retry":
            await refund(name)
        for _ in range(4):
            await house.make_due()
            await house.janitor.run_once()

    times = await broken_off_everywhere(refund, settle)
    made = len(await house.rows("SELECT 1 FROM gateway.refunds"))
    assert times > 10
    assert made == times if by == "retry" else 0 < made <= times
    assert await house.rows("SELECT DISTINCT status FROM gateway.refunds") == [{"status": "succeeded"}]
    assert (len(house.omise.refunds), house.omise.count("refund")) == (made, made)
    entries = await house.entries(merchant)
    assert (entries.count("refund_reserved"), entries.count("refund_succeeded")) == (made, made)
    assert "refunds_payable" not in await house.balances(merchant)
    view = await house.intents.get(merchant, paid.id)
    assert (view.amount_refunded, view.amount_refundable) == (made * 1_00, 1_000_00 - made * 1_00)
    types = await house.event_types(merchant)
    assert (types.count("refund.created"), types.count("refund.succeeded")) == (made, made)
