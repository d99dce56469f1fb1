"""Refunds over HTTP: at most what was captured, at most once a key, and an answer for every end."""

import asyncio

from tests.api.conftest import new_merchant, problem
from tests.api.test_payment_intents import CARD, QR

URL = "/v1/refunds"


async def paid(client, merchant, key="pay"):
    created = await client.post("/v1/payment_intents", json=CARD, headers=merchant.money(key))
    assert (created.status_code, created.json()["status"]) == (201, "succeeded")
    return created.json()["id"]


async def other_money(client, merchant):
    """A second payment, so that the merchant's balance could pay for more than the first one."""
    return await paid(client, merchant, "other")


async def test_a_refund_is_made_once_and_read_back(client, services, merchant):
    intent = await paid(client, merchant)
    await other_money(client, merchant)
    body = {"payment_intent": intent, "amount": 40_000, "reason": "returned"}
    created = await client.post(URL, json=body, headers=merchant.money("r1"))
    refund = created.json()
    assert (created.status_code, refund["object"], refund["amount"], refund["status"]) == (
        201,
        "refund",
        40_000,
        "succeeded",
    )
    again = await client.post(URL, json=body, headers=merchant.money("r1"))
    assert (again.content, again.headers["idempotency-replayed"]) == (created.content, "true")
    assert (await client.get(f"{URL}/{refund['id']}", headers=merchant.headers())).json() == refund
    assert services.house.omise.count("refund") == 1
    read = (await client.get(f"/v1/payment_intents/{intent}", headers=merchant.headers())).json()
    assert (read["amount_refunded"], read["amount_refundable"]) == (40_000, 60_000)


async def test_more_than_was_captured_is_refused_and_moves_nothing(client, services, merchant):
    intent = await paid(client, merchant)
    await other_money(client, merchant)
    before = await balance(client, merchant)
    body = {"payment_intent": intent, "amount": 100_001}
    first = await client.post(URL, json=body, headers=merchant.money("r1"))
    refused = problem(first, 422, "exceeds_original")
    assert (refused["param"], refused["retryable"]) == ("amount", False)
    assert (await client.post(URL, json=body, headers=merchant.money("r1"))).content == first.content
    assert (services.house.omise.count("refund"), await balance(client, merchant)) == (0, before)


async def test_of_racing_refunds_only_what_was_captured_goes_back(client, services, merchant):
    intent = await paid(client, merchant)
    await other_money(client, merchant)
    body = {"payment_intent": intent, "amount": 60_000}
    answers = await asyncio.gather(
        *(client.post(URL, json=body, headers=merchant.money(f"r{number}")) for number in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 422, 422, 422, 422]
    assert services.house.omise.count("refund") == 1


async def test_each_refusal_of_a_refund_has_its_code(client, services, merchant):
    other = await new_merchant(services, "other@example.test")
    theirs = await paid(client, other)
    unpaid = (await client.post("/v1/payment_intents", json=QR, headers=merchant.money("qr"))).json()["id"]
    for body, status, code in (
        ({"payment_intent": theirs}, 404, "not_found"),
        ({"payment_intent": "nonsense"}, 404, "not_found"),
        ({"payment_intent": unpaid}, 409, "payment_not_refundable"),
        ({"payment_intent": unpaid, "amount": 0}, 400, "amount_invalid"),
        ({"payment_intent": unpaid, "amount": -5}, 400, "amount_invalid"),
        ({}, 400, "parameter_missing"),
        ({"payment_intent": unpaid, "charge": "x"}, 400, "parameter_unknown"),
    ):
        problem(await client.post(URL, json=body, headers=merchant.money(f"r{body}".replace(" ", ""))), status, code)
    assert (await client.get(URL, headers=merchant.headers())).json()["data"] == []
    assert services.house.omise.count("refund") == 0


async def test_a_refund_that_its_provider_declines_is_402_and_gives_the_money_back(client, services, merchant):
    intent = await paid(client, merchant)
    await other_money(client, merchant)
    before = await balance(client, merchant)
    services.house.omise.refund_script.append("declined")
    body = {"payment_intent": intent, "amount": 40_000}
    declined = problem(await client.post(URL, json=body, headers=merchant.money("r1")), 402, "refund_declined")
    assert declined["refund"].startswith("re_test_")
    assert await balance(client, merchant) == before
    read = (await client.get(f"{URL}/{declined['refund']}", headers=merchant.headers())).json()
    assert read["status"] == "failed"


async def test_refunds_are_listed_for_one_payment_or_all(client, services, merchant):
    first, second = await paid(client, merchant, "p1"), await paid(client, merchant, "p2")
    for number, intent in enumerate((first, first, second)):
        body = {"payment_intent": intent, "amount": 10_000}
        assert (await client.post(URL, json=body, headers=merchant.money(f"r{number}"))).status_code == 201
    listed = (await client.get(URL, headers=merchant.headers())).json()["data"]
    assert [refund["payment_intent"] for refund in listed] == [second, first, first]
    of_first = (await client.get(URL, params={"payment_intent": first}, headers=merchant.headers())).json()["data"]
    assert [refund["payment_intent"] for refund in of_first] == [first, first]


async def balance(client, merchant):
    return (await client.get("/v1/balance", headers=merchant.headers())).json()
