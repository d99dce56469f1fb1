import msgspec
import pytest

from gateway.webhooks import endpoints, events
from tests.webhooks.conftest import ACCOUNT, BOOK, House

HOOK = "https://shop.example/hook"


async def _page(house: House, **options: object):
    async with house.database.read() as connection:
        return await events.page(connection, book_id=BOOK, account_id=ACCOUNT, **options)


async def test_event_has_its_envelope(house: House):
    await house.happen("payment_intent.succeeded", content=b'{"id":"pi_test_1","amount":100}')
    ((event,), more) = await _page(house, limit=10)
    assert not more
    assert event.event_id.startswith("evt_test_")
    assert msgspec.json.decode(event.payload) == {
        "id": event.event_id,
        "object": "event",
        "type": "payment_intent.succeeded",
        "created": 1767225600,
        "livemode": False,
        "api_version": events.API_VERSION,
        "data": {"object": {"id": "pi_test_1", "amount": 100}},
    }


async def test_event_and_deliveries_are_gone_when_the_caller_rolls_back(house: House):
    await house.endpoint(HOOK)

    class Refused(Exception):
        pass

    with pytest.raises(Refused):
        async with house.database.transaction() as connection:
            new = events.NewEvent(
                book_id=BOOK,
                account_id=ACCOUNT,
                livemode=False,
                type="refund.failed",
                object=b'{"id":"pi_test_1"}',
                created_at=house.clock(),
            )
            await events.record(connection, [new])
            raise Refused
    assert await house.rows("SELECT * FROM gateway.events") == []
    assert await house.rows("SELECT * FROM gateway.webhook_deliveries") == []


@pytest.mark.parametrize(
    ("event_types", "wanted"),
    [
        (["*"], ["payment_intent.succeeded", "refund.succeeded", "refund.failed"]),
        (["refund.*"], ["refund.succeeded", "refund.failed"]),
        (["refund.failed", "payout.paid"], ["refund.failed"]),
    ],
)
async def test_endpoint_gets_the_types_that_it_asked_for(house: House, event_types: list[str], wanted: list[str]):
    await house.endpoint(HOOK, event_types=event_types)
    await house.happen("payment_intent.succeeded", "refund.succeeded", "refund.failed")
    rows = await house.rows(
        "SELECT type FROM gateway.webhook_deliveries JOIN gateway.events USING (book_id, event_id) ORDER BY delivery_id"
    )
    assert [row["type"] for row in rows] == wanted


async def test_other_accounts_and_switched_off_endpoints_get_nothing(house: House):
    endpoint_id, _ = await house.endpoint(HOOK)
    async with house.database.transaction() as connection:
        other = events.NewEvent(
            book_id=BOOK,
            account_id="acct_test_2",
            livemode=False,
            type="refund.failed",
            object=b'{"id":"pi_test_1"}',
            created_at=house.clock(),
        )
        await events.record(connection, [other, msgspec.structs.replace(other, book_id=BOOK + 1, account_id=ACCOUNT)])
        await endpoints.change(
            connection, book_id=BOOK, account_id=ACCOUNT, endpoint_id=endpoint_id, allow_loopback=False, enabled=False
        )
    await house.happen("refund.failed")
    assert await house.rows("SELECT * FROM gateway.webhook_deliveries") == []


async def test_object_too_big_is_cut_down_and_says_so(house: House):
    content = msgspec.json.encode(
        {
            "id": "pi_test_1",
            "object": "payment_intent",
            "status": "succeeded",
            "version": 3,
            "metadata": {"x": "y" * 20_000},
        }
    )
    await house.happen("payment_intent.succeeded", content=content)
    ((event,), _) = await _page(house, limit=1)
    assert len(event.payload) < 1_000
    assert msgspec.json.decode(event.payload)["data"] == {
        "object": {"id": "pi_test_1", "object": "payment_intent", "status": "succeeded", "version": 3},
        "partial": True,
    }


async def test_events_are_listed_newest_first_by_cursor(house: House):
    for number in range(5):
        await house.happen("refund.succeeded" if number % 2 else "refund.failed")
    everything, more = await _page(house, limit=10)
    ids = [event.event_id for event in everything]
    assert (ids, more) == (sorted(ids, reverse=True), False)
    first, more = await _page(house, limit=2)
    assert ([event.event_id for event in first], more) == (ids[:2], True)
    after, more = await _page(house, limit=3, starting_after=ids[1])
    assert ([event.event_id for event in after], more) == (ids[2:], False)
    before, more = await _page(house, limit=2, ending_before=ids[4])
    assert ([event.event_id for event in before], more) == (ids[2:4], True)


async def test_event_is_found_by_its_own_account_only(house: House):
    await house.happen("refund.failed")
    ((event,), _) = await _page(house, limit=1)
    async with house.database.read() as connection:
        found = await events.find(connection, book_id=BOOK, account_id=ACCOUNT, event_id=event.event_id)
        foreign = await events.find(connection, book_id=BOOK, account_id="acct_test_2", event_id=event.event_id)
    assert found == event
    assert foreign is None


async def test_events_of_one_call_keep_their_order(house: House):
    types = ["payment_intent.created", "payment_intent.requires_action", "payment_intent.succeeded"] * 10
    await house.happen(*types)
    found, _ = await _page(house, limit=100)
    assert [event.type for event in found] == types[::-1]
