"""Confirming, capturing, searching, timelines, methods and bulk over HTTP."""

import asyncio

import pytest

from tests.api.conftest import new_merchant, problem

QR = {"amount": 100_000, "currency": "thb", "payment_method": "promptpay"}
CARD = {"amount": 100_000, "currency": "thb", "payment_method": "card", "card_token": "tokn_test_1"}
LATER = {"amount": 100_000, "currency": "thb", "confirm": False}
URL = "/v1/payment_intents"


async def made(client, merchant, key, **fields):
    answer = await client.post(URL, json=fields, headers=merchant.money(key))
    assert answer.status_code in {201, 202}, answer.text
    return answer.json()


async def test_a_payment_is_confirmed_captured_and_told_in_its_timeline(client, services, merchant):
    intent = await made(client, merchant, "k1", **LATER, capture_method="manual", metadata={"order": "7"})
    assert (intent["status"], intent["latest_attempt"]) == ("requires_payment_method", None)
    how = {"payment_method": "card", "card_token": "tokn_test_1"}
    confirmed = await client.post(f"{URL}/{intent['id']}/confirm", json=how, headers=merchant.money("k2"))
    assert (confirmed.status_code, confirmed.json()["status"]) == (200, "requires_capture")
    again = await client.post(f"{URL}/{intent['id']}/confirm", json=how, headers=merchant.money("k2"))
    assert (again.content, again.headers["idempotency-replayed"]) == (confirmed.content, "true")
    too_much = await client.post(
        f"{URL}/{intent['id']}/capture", json={"amount": 100_001}, headers=merchant.money("k3")
    )
    problem(too_much, 422, "capture_exceeds_authorized")
    captured = await client.post(f"{URL}/{intent['id']}/capture", json={"amount": 60_000}, headers=merchant.money("k4"))
    assert (captured.status_code, captured.json()["amount_captured"]) == (200, 60_000)
    refunded = {"payment_intent": intent["id"], "amount": 10_000}
    assert (await client.post("/v1/refunds", json=refunded, headers=merchant.money("k5"))).status_code == 201

    told = await client.get(f"{URL}/{intent['id']}/timeline", headers=merchant.headers())
    items = told.json()["data"]
    assert [item["at"] for item in items] == sorted(item["at"] for item in items)
    entries = [item["details"]["kind"] for item in items if item["type"] == "entry"]
    assert sorted(entries) == ["payment_captured", "refund_reserved", "refund_succeeded"]
    facts = {item["details"]["kind"] for item in items if item["type"] == "fact"}
    assert facts == {"authorized", "captured", "refund_succeeded"}
    events = [item["details"]["type"] for item in items if item["type"] == "event"]
    assert events[:3] == [
        "payment_intent.created",
        "payment_intent.amount_capturable_updated",
        "payment_intent.succeeded",
    ]
    moves = [item["summary"] for item in items if item["type"] == "status" and item["subject"] == intent["id"]]
    assert moves == [
        "intent requires_payment_method → requires_confirmation",
        "intent requires_confirmation → requires_capture",
        "intent requires_capture → succeeded",
    ]
    other = await new_merchant(services, "other@example.test")
    problem(await client.get(f"{URL}/{intent['id']}/timeline", headers=other.headers()), 404, "not_found")


async def test_payments_are_found_by_what_is_known_of_them(client, services, merchant):
    first = await made(client, merchant, "k1", **QR, merchant_reference="A-1", metadata={"order": "7"})
    second = await made(client, merchant, "k2", **CARD, metadata={"order": "8"})
    third = await made(client, merchant, "k3", **{**LATER, "amount": 50_000})

    async def found(**wanted):
        answer = await client.get(URL, params=wanted, headers=merchant.headers())
        assert answer.status_code == 200, answer.text
        return [intent["id"] for intent in answer.json()["data"]]

    assert await found() == [third["id"], second["id"], first["id"]]
    assert await found(status="succeeded") == [second["id"]]
    assert await found(payment_method="promptpay") == [first["id"]]
    assert await found(merchant_reference="A-1") == [first["id"]]
    assert await found(amount=50_000) == [third["id"]]
    assert await found(metadata="order=8") == [second["id"]]
    assert await found(metadata="order=9") == []
    assert await found(provider_reference=second["latest_attempt"]["provider_reference"]) == [second["id"]]
    assert await found(created_before=second["created_at"]) == [first["id"]]
    assert await found(created_from=second["created_at"], status="succeeded") == [second["id"]]
    other = await new_merchant(services, "other@example.test")
    answer = await client.get(URL, params={"metadata": "order=8"}, headers=other.headers())
    assert answer.json()["data"] == []


@pytest.mark.parametrize(
    ("wanted", "code", "param"),
    [
        ({"status": "rich"}, "parameter_invalid", "status"),
        ({"metadata": "order"}, "parameter_invalid", "metadata"),
        ({"created_from": "2026-11-28T00:00:00"}, "parameter_invalid", "created_from"),
        ({"amount": "0"}, "parameter_invalid", "amount"),
        ({"merchant_reference": "a\0b"}, "parameter_invalid", "merchant_reference"),
        ({"moon": "full"}, "parameter_unknown", "moon"),
    ],
)
async def test_a_search_that_cannot_be_read_says_where(client, merchant, wanted, code, param):
    body = problem(await client.get(URL, params=wanted, headers=merchant.headers()), 400, code)
    assert body["param"] == param


async def test_many_payments_are_made_in_one_call_each_with_its_own_answer(client, services, merchant):
    services.house.omise.charge_script.append("declined")
    items = [
        {**LATER, "merchant_reference": "B-1"},
        {**LATER, "currency": "xyz", "confirm": True, "payment_method": "promptpay"},
        CARD,
        {**LATER, "card_token": "tokn_1"},
        QR,
    ]
    answer = await client.post(f"{URL}/bulk", json={"items": items}, headers=merchant.money("k1"))
    body = answer.json()
    assert (answer.status_code, body["made"], body["refused"]) == (200, 3, 2)
    shown = [
        result["payment_intent"]["status"] if result["payment_intent"] else result["problem"]["code"]
        for result in body["data"]
    ]
    assert shown == [
        "requires_payment_method",
        "currency_invalid",
        "requires_payment_method",
        "parameter_invalid",
        "requires_action",
    ]
    assert len({result["payment_intent"]["id"] for result in body["data"] if result["payment_intent"]}) == 3
    again = await client.post(f"{URL}/bulk", json={"items": items}, headers=merchant.money("k1"))
    assert again.content == answer.content
    assert (services.house.omise.count("charge"), services.house.scb.count("charge")) == (1, 1)


async def test_a_used_reference_harms_only_its_own_item(client, services, merchant):
    await made(client, merchant, "k1", **LATER, merchant_reference="C-2")
    items = [{**LATER, "merchant_reference": f"C-{number}"} for number in range(1, 4)]
    body = (await client.post(f"{URL}/bulk", json={"items": items}, headers=merchant.money("k2"))).json()
    codes = [result["problem"] and result["problem"]["code"] for result in body["data"]]
    assert codes == [None, "merchant_reference_used", None]


async def test_bulk_has_its_limits(client, services, merchant):
    for items in ([], [LATER] * 101):
        answer = await client.post(f"{URL}/bulk", json={"items": items}, headers=merchant.money("k1"))
        assert problem(answer, 400, "parameter_invalid")["param"] == "items"
    wrong = [LATER, {**LATER, "amount": -1}]
    answer = await client.post(f"{URL}/bulk", json={"items": wrong}, headers=merchant.money("k2"))
    assert problem(answer, 400, "parameter_invalid")["param"] == "items[1].amount"
    assert await services.house.rows("SELECT FROM gateway.payment_intents") == []


async def test_a_hundred_unconfirmed_payments_are_one_transaction(client, services, merchant, monkeypatch):
    opened = 0
    transaction = services.database.transaction

    def counted():
        nonlocal opened
        opened += 1
        return transaction()

    monkeypatch.setattr(services.database, "transaction", counted)
    answer = await client.post(f"{URL}/bulk", json={"items": [LATER] * 100}, headers=merchant.money("k1"))
    assert answer.json()["made"] == 100
    assert opened <= 5


async def test_methods_show_terms_and_what_each_provider_can(client, merchant):
    body = (await client.get("/v1/payment_methods", headers=merchant.headers())).json()
    methods = {method["id"]: method for method in body["data"]}
    assert {"promptpay", "card"} <= set(methods)
    assert [each["provider"] for each in methods["promptpay"]["providers"]] == ["scb", "omise"]
    [card] = methods["card"]["providers"]
    assert (card["capture_method"], card["refunds"], card["needs"]) == (
        ["automatic", "manual"],
        "partial",
        "card_token",
    )
    assert (methods["card"]["fee_rate_ppm"], card["amount_min"]) == (36_500, 2_000)


async def test_racing_bulk_calls_under_one_key_make_each_payment_once(client, services, merchant):
    answers = await asyncio.gather(
        *(client.post(f"{URL}/bulk", json={"items": [LATER] * 10}, headers=merchant.money("k1")) for _ in range(5))
    )
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert (await services.house.rows("SELECT count(*) AS n FROM gateway.payment_intents"))[0]["n"] == 10
