"""The blocklist over HTTP: made, read, ended and never removed; the value is never shown."""

from tests.api.conftest import new_merchant, problem
from tests.api.test_payment_intents import QR

URL = "/v1/blocklist"
PAYMENTS = "/v1/payment_intents"
ENTRY = {"kind": "ip", "value": "203.0.113.77", "reason": "stolen card"}


async def made(client, merchant, **more):
    answer = await client.post(URL, json=ENTRY | more, headers=merchant.headers())
    assert answer.status_code == 201, answer.json()
    return answer.json()


async def test_a_blocked_payer_is_422_and_the_payment_says_why(client, services, merchant):
    entry = await made(client, merchant)
    assert (entry["object"], entry["kind"], entry["last_characters"], entry["ended_at"]) == (
        "blocklist_entry",
        "ip",
        "3.77",
        None,
    )
    assert "203.0.113.77" not in str(entry)
    asked = QR | {"payer": {"ip": "203.0.113.77"}}
    first = await client.post(PAYMENTS, json=asked, headers=merchant.money("k1"))
    body = problem(first, 422, "payer_blocked")
    assert (body["param"], body["retryable"]) == ("payer", False)
    assert (await client.post(PAYMENTS, json=asked, headers=merchant.money("k1"))).content == first.content
    intent = (await client.get(f"{PAYMENTS}/{body['payment_intent']}", headers=merchant.headers())).json()
    assert intent["status"] == "requires_payment_method"
    assert intent["last_error"] == {
        "code": "payer_blocked",
        "provider_code": None,
        "retryable": False,
        "reason": "ip: stolen card",
    }
    events = (await client.get("/v1/events", headers=merchant.headers())).json()["data"]
    assert [event["type"] for event in events] == ["payment_intent.blocked", "payment_intent.created"]
    assert services.house.scb.calls == []
    # Confirmed by somebody else, it is paid.
    confirm = {"payment_method": "promptpay", "payer": {"ip": "198.51.100.1"}}
    answer = await client.post(f"{PAYMENTS}/{intent['id']}/confirm", json=confirm, headers=merchant.money("k2"))
    assert (answer.status_code, answer.json()["last_error"]) == (200, None)


async def test_an_ended_entry_stays_to_be_read(client, services, merchant):
    entry = await made(client, merchant)
    ended = await client.delete(f"{URL}/{entry['id']}", headers=merchant.headers())
    assert (ended.status_code, ended.json()["ended_at"] is not None) == (200, True)
    assert ended.json()["ended_by"] == entry["created_by"]
    assert (await client.delete(f"{URL}/{entry['id']}", headers=merchant.headers())).json() == ended.json()
    assert (await client.get(f"{URL}/{entry['id']}", headers=merchant.headers())).json() == ended.json()
    asked = QR | {"payer": {"ip": "203.0.113.77"}}
    assert (await client.post(PAYMENTS, json=asked, headers=merchant.money("k1"))).status_code == 201


async def test_entries_are_listed_newest_first_page_by_page(client, services, merchant):
    ids = [(await made(client, merchant))["id"] for _ in range(3)][::-1]

    async def page(**params):
        body = (await client.get(URL, params=params, headers=merchant.headers())).json()
        return [item["id"] for item in body["data"]], body["has_more"]

    assert await page() == (ids, False)
    assert await page(limit=2) == (ids[:2], True)
    assert await page(limit=2, starting_after=ids[1]) == (ids[2:], False)
    assert await page(limit=1, ending_before=ids[1]) == (ids[:1], False)


async def test_each_wrong_entry_is_refused(client, services, merchant):
    for body, code, param in (
        ({"kind": "shoe_size"}, "parameter_invalid", "kind"),
        ({"value": ""}, "parameter_invalid", "value"),
        ({"value": "not an address"}, "parameter_invalid", "value"),
        ({"reason": ""}, "parameter_invalid", "reason"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "parameter_invalid", "expires_at"),
        ({"expires_at": "2099-01-01T00:00:00"}, "parameter_invalid", "expires_at"),
        ({"until": "x"}, "parameter_unknown", "until"),
    ):
        answer = await client.post(URL, json=ENTRY | body, headers=merchant.headers())
        assert problem(answer, 400, code)["param"] == param, body
    assert (await client.get(URL, headers=merchant.headers())).json()["data"] == []


async def test_nobody_sees_or_ends_the_entry_of_another(client, services, merchant):
    other = await new_merchant(services, "other@example.test")
    theirs = (await made(client, other))["id"]
    for identifier in (theirs, "blk_test_" + "0" * 26, "nonsense"):
        problem(await client.get(f"{URL}/{identifier}", headers=merchant.headers()), 404, "not_found")
        problem(await client.delete(f"{URL}/{identifier}", headers=merchant.headers()), 404, "not_found")
    problem(await client.get(f"{URL}/{theirs}", headers=other.live_headers()), 404, "not_found")
    assert (await client.get(f"{URL}/{theirs}", headers=other.headers())).json()["ended_at"] is None
