from collections.abc import Awaitable

import pytest

from gateway.webhooks import endpoints
from gateway.webhooks.addresses import AddressRefused
from gateway.webhooks.endpoints import ENDPOINTS_MAX, EndpointRefused
from gateway.webhooks.signing import key_of
from tests.webhooks.conftest import ACCOUNT, BOOK, House

HOOK = "https://shop.example/hook"
OURS = {"book_id": BOOK, "account_id": ACCOUNT}


async def _find(house: House, endpoint_id: str, *, account_id: str = ACCOUNT):
    async with house.database.read() as connection:
        return await endpoints.find(connection, book_id=BOOK, account_id=account_id, endpoint_id=endpoint_id)


async def _change(house: House, endpoint_id: str, **options: object):
    async with house.database.transaction() as connection:
        return await endpoints.change(
            connection, **{**OURS, "endpoint_id": endpoint_id, "allow_loopback": False, **options}
        )


async def test_endpoint_is_made_and_its_secret_is_shown_once(house: House):
    endpoint_id, secret = await house.endpoint(HOOK, event_types=["refund.*"], description="accounts")
    assert endpoint_id.startswith("whe_test_")
    assert len(key_of(secret)) == 32
    endpoint = await _find(house, endpoint_id)
    assert endpoint is not None
    assert (endpoint.url, endpoint.event_types, endpoint.description) == (HOOK, ["refund.*"], "accounts")
    assert (endpoint.status, endpoint.disabled_reason, endpoint.livemode) == ("enabled", None, False)
    assert "secret" not in endpoint.__struct_fields__
    (row,) = await house.rows("SELECT sealed_secret FROM gateway.webhook_endpoints")
    assert secret.encode() not in bytes(row["sealed_secret"])


@pytest.mark.parametrize("event_types", [[], ["refund.odd"], ["odd.*"], ["*", "odd"], [""]])
async def test_unknown_event_types_are_refused(house: House, event_types: list[str]):
    with pytest.raises(EndpointRefused) as caught:
        await house.endpoint(HOOK, event_types=event_types)
    assert (caught.value.code, caught.value.param) == ("webhook_event_type_unknown", "event_types")
    assert await house.rows("SELECT * FROM gateway.webhook_endpoints") == []


async def test_url_that_may_not_be_called_is_refused(house: House):
    with pytest.raises(AddressRefused):
        await house.endpoint("https://10.0.0.1/hook")
    endpoint_id, _ = await house.endpoint(HOOK)
    with pytest.raises(AddressRefused):
        await _change(house, endpoint_id, url="http://127.0.0.1/hook")
    endpoint = await _find(house, endpoint_id)
    assert endpoint is not None
    assert endpoint.url == HOOK


async def test_account_has_a_limit_of_endpoints_switched_on(house: House):
    endpoint_ids = [(await house.endpoint(HOOK))[0] for _ in range(ENDPOINTS_MAX)]
    assert await _too_many(house.endpoint(HOOK))
    # One that is on already takes no room of its own.
    assert await _change(house, endpoint_ids[0], enabled=True) is not None

    await _change(house, endpoint_ids[0], enabled=False)
    await house.endpoint(HOOK)
    assert await _too_many(_change(house, endpoint_ids[0], enabled=True))
    still_off = await _change(house, endpoint_ids[0])
    assert still_off is not None
    assert still_off.status == "disabled"


async def test_only_what_is_given_changes(house: House):
    endpoint_id, _ = await house.endpoint(HOOK, description="old")
    changed = await _change(house, endpoint_id, description="new")
    assert changed is not None
    assert (changed.description, changed.url, changed.event_types) == ("new", HOOK, ["*"])
    changed = await _change(house, endpoint_id, url="https://other.example/", event_types=["payout.paid"])
    assert changed is not None
    assert (changed.description, changed.url, changed.event_types) == ("new", "https://other.example/", ["payout.paid"])
    assert await _change(house, endpoint_id) == changed


async def test_endpoint_is_switched_off_and_on(house: House):
    endpoint_id, _ = await house.endpoint(HOOK)
    off = await _change(house, endpoint_id, enabled=False)
    assert off is not None
    assert (off.status, off.disabled_reason) == ("disabled", "by_merchant")
    on = await _change(house, endpoint_id, enabled=True)
    assert on is not None
    assert (on.status, on.disabled_reason) == ("enabled", None)


async def test_endpoint_of_another_account_does_not_exist(house: House):
    endpoint_id, _ = await house.endpoint(HOOK)
    assert await _find(house, endpoint_id, account_id="acct_test_2") is None
    assert await _change(house, endpoint_id, account_id="acct_test_2", enabled=False) is None
    async with house.database.transaction() as connection:
        secret = await endpoints.rotate_secret(
            connection, house.vault, book_id=BOOK, account_id=ACCOUNT, endpoint_id="whe_test_other"
        )
    assert secret is None
    endpoint = await _find(house, endpoint_id)
    assert endpoint is not None
    assert endpoint.status == "enabled"


async def test_endpoints_are_listed_newest_first_by_cursor(house: House):
    for _ in range(3):
        await house.endpoint(HOOK)

    async def page(**options: object):
        async with house.database.read() as connection:
            found, more = await endpoints.page(connection, **OURS, **options)
        return [endpoint.id for endpoint in found], more

    ids, more = await page(limit=10)
    assert (ids, more) == (sorted(ids, reverse=True), False)
    assert await page(limit=1) == (ids[:1], True)
    assert await page(limit=5, starting_after=ids[0]) == (ids[1:], False)
    assert await page(limit=1, ending_before=ids[2]) == ([ids[1]], True)


async def _too_many(asked: Awaitable[object]) -> bool:
    with pytest.raises(EndpointRefused) as caught:
        await asked
    return caught.value.code == "webhook_endpoints_too_many"
