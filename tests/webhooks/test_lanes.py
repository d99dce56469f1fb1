"""What hangs holds up nobody else: neither one endpoint of fifty, nor as many at once as there are slots."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import text

from gateway.merchants.data_keys import new_data_key
from gateway.webhooks.deliveries import LANES, Deliverer
from gateway.webhooks.endpoints import ENDPOINTS_MAX
from gateway.webhooks.sending import Sender
from tests.providers.stub import Stub
from tests.webhooks.conftest import ACCOUNT, House
from tests.webhooks.receiver import receiving

ENDPOINTS = 50
EVENTS = 3
ACCOUNTS = [ACCOUNT, "acct_test_2", "acct_test_3", "acct_test_4"]
"""As many as it takes for fifty endpoints."""
FOR_EVER_SECONDS = 3600
PATIENCE_SECONDS = 30


def _deliverer(house: House, *, timeout_seconds: float = FOR_EVER_SECONDS, **limits: int) -> Deliverer:
    sender = Sender(allow_loopback=True, timeout_seconds=timeout_seconds)
    return Deliverer(house.database, house.vault, sender, lease=timedelta(hours=2), **limits)


async def _until_heard(deliverer: Deliverer, shop: Stub, count: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(shop.requests) < count:
            await deliverer.run_once()


@pytest.fixture(autouse=True)
async def other_accounts(house: House):
    async with house.database.transaction() as connection:
        for account_id in ACCOUNTS[1:]:
            await new_data_key(connection, house.vault, account_id)


async def _endpoints(house: House, dead: Stub, hanging: int, shop: Stub, alive: int) -> None:
    """Those that hang first, each under a path of its own; an account has no more than it may have."""
    urls = [f"{dead.url}/{number}" for number in range(hanging)] + [f"{shop.url}/{number}" for number in range(alive)]
    for number, url in enumerate(urls):
        await house.endpoint(url, account_id=ACCOUNTS[number // ENDPOINTS_MAX])


async def _happen(house: House, *types: str) -> None:
    for account_id in ACCOUNTS:
        await house.happen(*types, account_id=account_id)


@pytest.mark.parametrize("hanging", [1, LANES])
@pytest.mark.parametrize("lanes", [1, LANES])
async def test_endpoints_that_hang_delay_no_other(house: House, hanging: int, lanes: int):
    deliverer = _deliverer(house, lanes=lanes)
    alive = ENDPOINTS - hanging
    async with receiving() as shop:
        async with receiving(delay_seconds=FOR_EVER_SECONDS) as dead:
            # The dead ones are the oldest: nobody is served before them by chance.
            await _endpoints(house, dead, hanging, shop, alive)
            await _happen(house, "refund.failed")
            await _until_heard(deliverer, dead, hanging)
            await _happen(house, *["refund.succeeded"] * (EVENTS - 1))
            await _until_heard(deliverer, shop, alive * EVENTS)
            assert Counter(shop.paths()) == {f"/{number}": EVENTS for number in range(alive)}
            assert sorted(dead.paths()) == sorted(f"/{number}" for number in range(hanging))
            assert (
                await house.rows("SELECT 1 FROM gateway.webhook_delivery_attempts WHERE outcome <> 'delivered'") == []
            )
        await deliverer.close()
    (lost,) = await house.rows(
        "SELECT count(*), min(outcome), max(outcome) FROM gateway.webhook_delivery_attempts"
        " WHERE outcome <> 'delivered'"
    )
    assert lost == {"count": hanging, "min": "unreachable", "max": "unreachable"}


async def test_where_no_slot_is_left_those_that_fail_come_last(house: House):
    deliverer = _deliverer(house, timeout_seconds=5, lanes=1, waiting_max=0)
    async with receiving() as shop:
        for name in ("failing", "sound"):
            await house.endpoint(f"{shop.url}/{name}")
        async with house.database.transaction() as connection:
            await connection.execute(
                text("UPDATE gateway.webhook_endpoints SET failing_since = :now WHERE url LIKE '%/failing'"),
                {"now": house.clock()},
            )
        await house.happen("refund.failed")
        await _until_heard(deliverer, shop, 2)
        await deliverer.close()
    assert shop.paths() == ["/sound", "/failing"]


@pytest.mark.parametrize(("left_seconds_ago", "served_first"), [(50, "/sound"), (70, "/failing")])
async def test_a_lane_that_failed_waits_a_minute_longer_and_not_for_ever(
    house: House, left_seconds_ago: int, served_first: str
):
    """The sound one was served at this moment and has more to send: so it is with a busy one, again and again."""
    deliverer = _deliverer(house, timeout_seconds=5, lanes=1, waiting_max=0)
    async with receiving() as shop:
        for name in ("failing", "sound"):
            await house.endpoint(f"{shop.url}/{name}")
        left_at = house.clock() - timedelta(seconds=left_seconds_ago)
        async with house.database.transaction() as connection:
            await connection.execute(
                text(
                    "UPDATE gateway.webhook_endpoints SET lease_until = CASE WHEN url LIKE '%/failing'"
                    " THEN CAST(:left_at AS timestamptz) ELSE :now END,"
                    " failing_since = CASE WHEN url LIKE '%/failing' THEN CAST(:left_at AS timestamptz) END"
                ),
                {"left_at": left_at, "now": house.clock()},
            )
        await house.happen("refund.failed")
        await _until_heard(deliverer, shop, 2)
        await deliverer.close()
    assert shop.paths()[0] == served_first
    assert len(shop.paths()) == 2


async def test_a_lane_that_paused_waits_from_the_end_of_its_pause(house: House):
    deliverer = _deliverer(house, timeout_seconds=5, lanes=1, waiting_max=0)
    async with receiving() as shop:
        for name in ("failing", "sound"):
            await house.endpoint(f"{shop.url}/{name}")
        async with house.database.transaction() as connection:
            await connection.execute(
                text("UPDATE gateway.webhook_endpoints SET lease_until = :then"),
                {"then": house.clock() - timedelta(seconds=20)},
            )
            await connection.execute(
                text(
                    "UPDATE gateway.webhook_endpoints SET lease_until = :then, failing_since = :then,"
                    " paused_until = :now WHERE url LIKE '%/failing'"
                ),
                {"then": house.clock() - timedelta(minutes=5), "now": house.clock()},
            )
        await house.happen("refund.failed")
        await _until_heard(deliverer, shop, 2)
        await deliverer.close()
    assert shop.paths() == ["/sound", "/failing"]


async def test_no_more_than_the_limit_are_waited_for(house: House):
    deliverer = _deliverer(house, lanes=2, waiting_max=3)
    async with receiving(delay_seconds=FOR_EVER_SECONDS) as dead:
        await _endpoints(house, dead, 10, dead, 0)
        await _happen(house, "refund.failed")
        await _until_heard(deliverer, dead, 5)
        for _ in range(3):
            assert await deliverer.run_once() == 0
        assert len(dead.requests) == 5
    await deliverer.close()
