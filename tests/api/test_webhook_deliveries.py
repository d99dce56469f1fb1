"""Resend, replay, sample and the list of deliveries over HTTP."""

from tests.api.conftest import new_merchant, problem

URL = "/v1/webhook_endpoints"
QR = {"amount": 100_000, "currency": "thb", "payment_method": "promptpay"}


async def endpoint_of(client, merchant):
    made = await client.post(URL, json={"url": "https://shop.example.test/"}, headers=merchant.headers())
    assert made.status_code == 201, made.text
    return made.json()["endpoint"]["id"]


async def test_a_merchant_helps_himself(client, merchant):
    endpoint = await endpoint_of(client, merchant)
    await client.post("/v1/payment_intents", json=QR, headers=merchant.money("k1"))
    listed = (await client.get(f"{URL}/{endpoint}/deliveries", headers=merchant.headers())).json()
    types = [each["event_type"] for each in listed["data"]]
    assert types == ["payment_intent.requires_action", "payment_intent.created"]
    assert {each["status"] for each in listed["data"]} == {"pending"}
    event = listed["data"][0]["event"]
    again = await client.post(f"{URL}/{endpoint}/resend", json={"event": event}, headers=merchant.headers())
    assert (again.status_code, again.json()["events"]) == (200, 1)
    span = {"created_from": "2026-01-01T00:00:00Z", "created_before": "2100-01-01T00:00:00Z"}
    replayed = await client.post(f"{URL}/{endpoint}/replay", json=span, headers=merchant.headers())
    assert replayed.json()["events"] == 2
    sample = await client.post(f"{URL}/{endpoint}/sample", headers=merchant.headers())
    assert sample.json()["events"] == 1
    page = await client.get(f"{URL}/{endpoint}/deliveries?limit=1", headers=merchant.headers())
    assert (page.json()["data"][0]["event_type"], page.json()["has_more"]) == ("webhook_endpoint.sample", True)


async def test_mistakes_and_strangers_get_nothing(client, services, merchant):
    endpoint = await endpoint_of(client, merchant)
    other = await new_merchant(services, "other@example.test")
    unzoned = {"created_from": "2026-01-01T00:00:00", "created_before": "2100-01-01T00:00:00Z"}
    span = {**unzoned, "created_from": "2026-01-01T00:00:00Z"}
    for path, body, headers, status, code in (
        ("resend", {"event": "evt"}, merchant.headers(), 400, "parameter_invalid"),
        ("resend", {"event": "evt_test_" + "0" * 26}, merchant.headers(), 404, "not_found"),
        ("replay", unzoned, merchant.headers(), 400, "parameter_invalid"),
        ("replay", {**span, "event_types": []}, merchant.headers(), 400, "parameter_invalid"),
        ("replay", span, other.headers(), 404, "not_found"),
    ):
        problem(await client.post(f"{URL}/{endpoint}/{path}", json=body, headers=headers), status, code)
    problem(await client.post(f"{URL}/{endpoint}/sample", headers=other.headers()), 404, "not_found")
    problem(await client.get(f"{URL}/{endpoint}/deliveries", headers=other.headers()), 404, "not_found")
    answer = await client.get(f"{URL}/{endpoint}/deliveries?status=lost", headers=merchant.headers())
    problem(answer, 400, "parameter_invalid")
