"""Events and endpoints over HTTP, and the addresses that providers call."""

import asyncpg
import httpx
import pytest

from gateway.merchants.provider_accounts import for_book
from gateway.providers.base import CallbackReply
from tests.api.conftest import new_merchant, problem
from tests.api.test_payment_intents import QR

URL = "/v1/webhook_endpoints"


async def test_events_are_shown_as_they_are_delivered(client, services, merchant):
    intent = (await client.post("/v1/payment_intents", json=QR, headers=merchant.money("k1"))).json()
    body = (await client.get("/v1/events", headers=merchant.headers())).json()
    assert [event["type"] for event in body["data"]] == ["payment_intent.requires_action", "payment_intent.created"]
    newest = body["data"][0]
    assert newest["data"]["object"] == intent
    one = await client.get(f"/v1/events/{newest['id']}", headers=merchant.headers())
    assert one.json() == newest
    rest = await client.get("/v1/events", params={"starting_after": newest["id"]}, headers=merchant.headers())
    assert [event["type"] for event in rest.json()["data"]] == ["payment_intent.created"]

    other = await new_merchant(services, "other@example.test")
    problem(await client.get(f"/v1/events/{newest['id']}", headers=other.headers()), 404, "not_found")
    foreign = {"ending_before": newest["id"]}
    problem(await client.get("/v1/events", params=foreign, headers=other.headers()), 400, "cursor_invalid")


async def test_an_endpoint_lives_from_its_secret_to_its_end(client, merchant):
    asked = {"url": "https://shop.example.test/hook", "event_types": ["refund.*"]}
    created = await client.post(URL, json=asked, headers=merchant.headers())
    secret, endpoint = created.json()["secret"], created.json()["endpoint"]
    assert (created.status_code, secret[:6], endpoint["status"]) == (201, "whsec_", "enabled")

    place = f"{URL}/{endpoint['id']}"
    read = await client.get(place, headers=merchant.headers())
    assert read.json() == endpoint
    assert secret not in read.text

    changed = await client.post(place, json={"description": "orders", "event_types": ["*"]}, headers=merchant.headers())
    assert changed.json() == endpoint | {"description": "orders", "event_types": ["*"]}
    rotated = (await client.post(f"{place}/rotate", headers=merchant.headers())).json()
    assert rotated["secret"] != secret
    gone = await client.delete(place, headers=merchant.headers())
    assert (gone.status_code, gone.json()["status"], gone.json()["disabled_reason"]) == (200, "disabled", "by_merchant")
    back = await client.post(place, json={"enabled": True}, headers=merchant.headers())
    assert back.json()["status"] == "enabled"
    assert [item["id"] for item in (await client.get(URL, headers=merchant.headers())).json()["data"]] == [
        endpoint["id"]
    ]


async def test_endpoints_that_may_not_be_are_refused(client, services, merchant):
    other = await new_merchant(services, "other@example.test")
    for asked, code in (
        ({"url": "http://shop.example.test/hook"}, "webhook_url_not_allowed"),
        ({"url": "https://10.0.0.1/hook"}, "webhook_url_not_allowed"),
        ({"url": "https://user:secret@shop.example.test/"}, "webhook_url_not_allowed"),
        ({"url": "https://shop.example.test/", "event_types": ["everything"]}, "webhook_event_type_unknown"),
        ({"url": "https://shop.example.test/", "event_types": []}, "webhook_event_type_unknown"),
        ({"url": "https://shop.example.test/", "events": ["*"]}, "parameter_unknown"),
        ({}, "parameter_missing"),
    ):
        problem(await client.post(URL, json=asked, headers=merchant.headers()), 400, code)
    assert (await client.get(URL, headers=merchant.headers())).json()["data"] == []

    theirs = (await client.post(URL, json={"url": "https://shop.example.test/"}, headers=other.headers())).json()
    place = f"{URL}/{theirs['endpoint']['id']}"
    problem(await client.get(place, headers=merchant.headers()), 404, "not_found")
    problem(await client.post(place, json={"enabled": False}, headers=merchant.headers()), 404, "not_found")
    problem(await client.delete(place, headers=merchant.headers()), 404, "not_found")
    problem(await client.post(f"{place}/rotate", headers=merchant.headers()), 404, "not_found")
    assert (await client.get(place, headers=other.headers())).json()["status"] == "enabled"


async def test_a_commit_that_fails_is_never_answered_with_success(client, services, merchant, database):
    """The constraint speaks up at COMMIT only, after every statement of the request went well."""
    owner = await asyncpg.connect(database.superuser_dsn)
    await owner.execute("""
        CREATE FUNCTION gateway.refuse_at_commit() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'refused at COMMIT'; END $$;
        CREATE CONSTRAINT TRIGGER refuse_at_commit AFTER INSERT ON gateway.webhook_endpoints
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION gateway.refuse_at_commit();
    """)
    await owner.close()
    answer = await client.post(URL, json={"url": "https://shop.example.test/"}, headers=merchant.headers())
    problem(answer, 500, "internal_error")
    assert "COMMIT" not in answer.text
    assert (await client.get(URL, headers=merchant.headers())).json()["data"] == []


@pytest.fixture
async def callback_path(services, merchant):
    """Where SCB calls this merchant's book."""
    async with services.database.read() as connection:
        account = await for_book(connection, services.vault, merchant.book_id, "scb")

    def reply(account, callback, confirm_id):
        return CallbackReply(body=b'{"resCode":"00","confirmId":"' + confirm_id.encode() + b'"}')

    services.house.scb.callback_reply = reply
    return httpx.URL(account.callback_url).path


async def inbox(services):
    return await services.house.rows("SELECT inbox_id, provider, state, arrivals FROM gateway.webhook_inbox")


async def test_a_callback_is_stored_and_answered_in_the_providers_words(client, services, callback_path):
    first = await client.post(callback_path, content=b'{"any": "thing"}')
    stored = await inbox(services)
    assert (first.status_code, first.json()) == (200, {"resCode": "00", "confirmId": stored[0]["inbox_id"]})
    assert (stored[0]["provider"], stored[0]["state"], stored[0]["arrivals"]) == ("scb", "pending", 1)
    second = await client.post(callback_path, content=b'{"any": "thing"}')
    assert second.json() == first.json()
    assert [item["arrivals"] for item in await inbox(services)] == [2]


async def test_a_guessed_address_stores_nothing_and_tells_nothing(client, services, callback_path):
    start, _, token = callback_path.rpartition("/")
    guesses = (f"{start}/guessed", f"/v1/callbacks/omise/{token}", f"/v1/callbacks/none/{token}", f"{start}/%00")
    for path in guesses:
        problem(await client.post(path, content=b"{}"), 404, "not_found")
    problem(await client.post(callback_path, content=b"x" * 300_000), 413, "body_too_large")
    assert await inbox(services) == []


async def test_who_never_calls_back_has_no_address(client, services, merchant):
    """The bank has an account and a token like every provider, but nothing to say and nobody who would read it."""
    async with services.database.read() as connection:
        bank = await for_book(connection, services.vault, merchant.book_id, "bank")
    problem(await client.post(httpx.URL(bank.callback_url).path, content=b"{}"), 404, "not_found")
    assert await inbox(services) == []
