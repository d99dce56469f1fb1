"""Lanes: some tens sent one after the other, written together; a crash, a failure, a line that was closed between."""

import asyncio

import pytest

from gateway.webhooks.deliveries import Deliverer
from gateway.webhooks.sending import Sender
from tests.providers.stub import Raw, listening
from tests.webhooks.conftest import House
from tests.webhooks.delivering import attempts_of, deliverer_of, deliveries_of, settle
from tests.webhooks.receiver import ids_of, receiving


@pytest.fixture
async def deliverer(house: House):
    made = deliverer_of(house)
    yield made
    await made.close()


async def test_crash_between_sending_and_marking_sends_again_under_the_same_id(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    class Killed(Exception):
        pass

    async def killed(*_: object, **__: object) -> None:
        raise Killed

    async with receiving() as shop:
        await house.endpoint(shop.url)
        await house.happen("refund.failed", "refund.succeeded")
        with monkeypatch.context() as patch:
            patch.setattr(Deliverer, "_record", killed)
            dying = deliverer_of(house)
            assert await settle(dying) == 0
            await dying.close()
        assert len(shop.requests) == 2
        assert await attempts_of(house) == []
        survivor = deliverer_of(house)
        assert await settle(survivor) == 0
        house.clock.advance(seconds=61)
        assert await settle(survivor) == 2
        await survivor.close()
    assert ids_of(shop)[2:] == ids_of(shop)[:2]
    assert [(row["state"], row["attempts"]) for row in await deliveries_of(house)] == [("delivered", 1)] * 2


async def test_what_was_sent_before_a_failure_is_written_with_it(house: House, deliverer: Deliverer):
    async with receiving((200, b"first"), (200, b""), (500, b"oops"), (200, b"")) as shop:
        await house.endpoint(shop.url)
        await house.happen(*["refund.failed"] * 4)
        assert await settle(deliverer) == 4
    ids = [str(row["delivery_id"]) for row in await deliveries_of(house)]
    assert [(row["delivery_id"], row["outcome"]) for row in await attempts_of(house)] == [
        (ids[0], "delivered"),
        (ids[1], "delivered"),
        (ids[2], "refused"),
        (ids[3], "delivered"),
    ]
    assert [(row["state"], row["attempts"]) for row in await deliveries_of(house)] == [
        ("delivered", 1),
        ("delivered", 1),
        ("pending", 1),
        ("delivered", 1),
    ]


async def test_what_came_of_a_long_row_is_written_when_its_time_is_over(
    house: House, deliverer: Deliverer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.webhooks.deliveries.BATCH_SECONDS", 0)
    async with receiving() as shop:
        await house.endpoint(shop.url)
        await house.happen(*["refund.failed"] * 12)
        while len(shop.requests) < 10:
            await deliverer.run_once()
        written = [row for row in await deliveries_of(house) if row["state"] == "delivered"]
        assert len(shop.requests) - len(written) <= 1
        await deliverer.close()


async def test_an_endpoint_that_closed_the_line_gets_the_webhook_over_a_new_one(house: House, deliverer: Deliverer):
    async with receiving((200, b""), Raw(), (200, b"")) as shop:
        await house.endpoint(shop.url)
        await house.happen("refund.failed", "refund.succeeded")
        assert await settle(deliverer) == 2
    first, second, again = ids_of(shop)
    assert first != second == again
    assert [(row["state"], row["attempts"]) for row in await deliveries_of(house)] == [("delivered", 1)] * 2


@pytest.mark.parametrize("packed", ["br", "zstd", "gzip", "nonsense"])
async def test_how_an_answer_is_packed_and_how_long_its_headers_are_is_no_failure(
    house: House, deliverer: Deliverer, packed: str
):
    headers = {"content-encoding": packed, "content-security-policy": "x" * 20_000}
    headers |= {f"x-{number}": "y" for number in range(200)}
    async with receiving((200, b"taken", headers)) as shop:
        await house.endpoint(shop.url)
        await house.happen("refund.failed")
        assert await settle(deliverer) == 1
    assert [(row["state"], row["attempts"]) for row in await deliveries_of(house)] == [("delivered", 1)]


@pytest.mark.parametrize("wish", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "1 Jan 2027 0:0 +99999999999999999"])
async def test_a_retry_after_of_no_calendar_is_none(house: House, deliverer: Deliverer, wish: str):
    async with receiving((503, b"", {"retry-after": wish})) as shop:
        await house.endpoint(shop.url)
        await house.happen("refund.failed")
        assert await settle(deliverer) == 1
    assert [(row["state"], row["attempts"]) for row in await deliveries_of(house)] == [("pending", 1)]


async def test_a_line_is_kept_for_the_next_claim_of_its_endpoint_and_for_no_other(house: House, deliverer: Deliverer):
    connections: list[int] = []
    async with receiving() as shop, receiving() as other:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(1)
            await shop.serve(reader, writer)

        async with listening(serve) as url:
            await house.endpoint(url + "/mine", event_types=["refund.failed"])
            await house.endpoint(other.url, event_types=["refund.succeeded"])
            for _ in range(3):
                await house.happen("refund.failed", "refund.succeeded")
                assert await settle(deliverer) == 2
            assert (len(shop.requests), len(other.requests), len(connections)) == (3, 3, 1)
            await house.endpoint(url + "/yours", event_types=["refund.failed"])
            await house.happen("refund.failed")
            assert await settle(deliverer) == 2
            assert (len(shop.requests), len(connections)) == (5, 2)


async def test_a_kept_line_that_the_endpoint_closed_meanwhile_costs_no_attempt(house: House, deliverer: Deliverer):
    async with receiving((200, b""), Raw(), (200, b"")) as shop:
        await house.endpoint(shop.url)
        for kind in ("refund.failed", "refund.succeeded"):
            await house.happen(kind)
            assert await settle(deliverer) == 1
    first, second, again = ids_of(shop)
    assert first != second == again
    assert [(row["state"], row["attempts"]) for row in await deliveries_of(house)] == [("delivered", 1)] * 2


async def test_no_more_lines_than_the_limit_are_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.webhooks.sending.LINES_KEPT_MAX", 2)
    sender = Sender(allow_loopback=True)
    made = []
    for name in ("a", "b", "a", "c"):
        async with sender.line(f"http://127.0.0.1:1/{name}") as line:
            made.append(line)
    assert made[0] is made[2]
    assert set(sender._kept.values()) == {made[2], made[3]}
    async with sender.line("http://127.0.0.1:1/c") as one, sender.line("http://127.0.0.1:1/c") as other:
        assert one is made[3]
        assert other is not one
    assert len(sender._kept) == 2
    await sender.close()
    assert sender._kept == {}
