"""Deliverers for tests, and what they left in the database."""

from gateway.webhooks.deliveries import Deliverer
from gateway.webhooks.sending import Sender
from tests.webhooks.conftest import House


def deliverer_of(house: House, *, timeout_seconds: float = 1, allow_loopback: bool = True) -> Deliverer:
    sender = Sender(allow_loopback=allow_loopback, timeout_seconds=timeout_seconds)
    return Deliverer(house.database, house.vault, sender)


async def settle(deliverer: Deliverer) -> int:
    """Run until nothing is due and nothing is under way."""
    count = 0
    while (done := await deliverer.run_once()) or deliverer._slots._running:
        count += done
    return count


async def deliveries_of(house: House) -> list[dict[str, object]]:
    return await house.rows("SELECT * FROM gateway.webhook_deliveries ORDER BY delivery_id")


async def attempts_of(house: House) -> list[dict[str, object]]:
    return await house.rows("SELECT * FROM gateway.webhook_delivery_attempts ORDER BY delivery_id, attempt")


async def endpoint_of(house: House) -> dict[str, object]:
    (row,) = await house.rows("SELECT * FROM gateway.webhook_endpoints ORDER BY endpoint_id LIMIT 1")
    return row
