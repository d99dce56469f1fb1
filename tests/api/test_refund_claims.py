"""Claims over HTTP: what a merchant is told once, what a payer sees and says, and what strangers do not find."""

import asyncio

from gateway.api import authentication
from gateway.merchants.principals import RateLimit
from tests.api.conftest import new_merchant, problem

REFUNDS = "/v1/refunds"
ACCOUNT = {"bank_code": "004", "account_number": "1234567890", "name": "A payer"}
QR = {"amount": 100_000, "currency": "thb", "payment_method": "promptpay", "description": "A lamp"}


async def paid(client, services, merchant, key="p1", **pays):
    created = (await client.post("/v1/payment_intents", json=QR, headers=merchant.money(key))).json()
    principal = await services.house.principal(merchant.account_id, merchant.book_id)
    intent = await services.intents.get(principal, created["id"])
    await services.house.pay(principal, intent, services.house.scb, transaction=f"txn_{key}", **pays)
    return created["id"]


async def claimed(client, services, merchant):
    await paid(client, services, merchant, "other")
    body = {"payment_intent": await paid(client, services, merchant), "amount": 40_000, "via": "claim"}
    return body, await client.post(REFUNDS, json=body, headers=merchant.money("r1"))


async def test_refund_by_claim_from_the_offer_to_the_payers_bank_account(client, services, merchant):
    body, answer = await claimed(client, services, merchant)
    refund = answer.json()
    assert (answer.status_code, refund["status"], refund["claim"][:4]) == (201, "requires_action", "clm_")
    again = await client.post(REFUNDS, json=body, headers=merchant.money("r1"))
    assert (again.content, again.headers["idempotency-replayed"]) == (answer.content, "true")
    read = (await client.get(f"{REFUNDS}/{refund['id']}", headers=merchant.headers())).json()
    assert read == {**refund, "claim_token": None}
    address = f"/v1/refund_claims/{refund['claim_token']}"
    offer = await client.get(address)
    assert offer.status_code == 200
    assert offer.json() == {
        "object": "offered_refund",
        "livemode": False,
        "amount": 40_000,
        "currency": "thb",
        "description": "A lamp",
        "status": "open",
        "destination": None,
        "expires_at": offer.json()["expires_at"],
    }
    taken = await client.post(address, json=ACCOUNT)
    assert taken.status_code == 200
    assert (taken.json()["status"], taken.json()["destination"]) == (
        "processing",
        {"bank_code": "004", "last_four": "7890"},
    )
    assert (await client.post(address, json=ACCOUNT)).json() == taken.json()
    problem(await client.post(address, json={**ACCOUNT, "account_number": "9999999"}), 409, "refund_claim_closed")
    read = (await client.get(f"{REFUNDS}/{refund['id']}", headers=merchant.headers())).json()
    assert read["status"] == "pending"
    listed = f"/v1/payment_intents/{body['payment_intent']}/refund_claims"
    [claim] = (await client.get(listed, headers=merchant.headers())).json()["data"]
    assert (claim["id"], claim["refund"], claim["token"]) == (refund["claim"], refund["id"], None)


async def test_a_provider_that_gives_nothing_back_still_says_so(client, services, merchant):
    intent = await paid(client, services, merchant)
    refused = await client.post(REFUNDS, json={"payment_intent": intent}, headers=merchant.money("r1"))
    problem(refused, 422, "refund_not_supported")


async def test_what_is_no_bank_account_is_refused_and_changes_nothing(client, services, merchant):
    _, answer = await claimed(client, services, merchant)
    address = f"/v1/refund_claims/{answer.json()['claim_token']}"
    for changes, code in (
        ({"bank_code": "4"}, "parameter_invalid"),
        ({"bank_code": "004\n"}, "parameter_invalid"),
        ({"account_number": "123-4-56789"}, "parameter_invalid"),
        ({"account_number": "123456"}, "parameter_invalid"),
        ({"name": ""}, "parameter_invalid"),
        ({"name": "   "}, "parameter_invalid"),
        ({"name": "a\u0001b"}, "parameter_invalid"),
        ({"name": "x" * 141}, "parameter_invalid"),
        ({"promptpay": "0812345678"}, "parameter_unknown"),
    ):
        problem(await client.post(address, json={**ACCOUNT, **changes}), 400, code)
    assert (await client.get(address)).json()["status"] == "open"


async def test_forged_tokens_are_not_found(client, services, merchant):
    _, answer = await claimed(client, services, merchant)
    token = answer.json()["claim_token"]
    for forged in ("x", token[:-1], token + "A", answer.json()["claim"]):
        problem(await client.get(f"/v1/refund_claims/{forged}"), 404, "not_found")
        problem(await client.post(f"/v1/refund_claims/{forged}", json=ACCOUNT), 404, "not_found")


async def test_held_money_is_offered_once_by_its_merchant(client, services, merchant):
    intent = await paid(client, services, merchant, amount=125_000)
    url = f"/v1/payment_intents/{intent}/return_held"
    answer = await client.post(url, headers=merchant.money("h1"))
    claim = answer.json()
    assert (answer.status_code, claim["object"], claim["amount"], claim["refund"]) == (
        201,
        "refund_claim",
        25_000,
        None,
    )
    assert (await client.post(url, headers=merchant.money("h1"))).content == answer.content
    problem(await client.post(url, headers=merchant.money("h2")), 409, "nothing_held")
    other = await new_merchant(services, "other@example.test")
    problem(await client.post(url, headers=other.money("h3")), 404, "not_found")
    assert (await client.get(f"/v1/refund_claims/{claim['token']}")).json()["amount"] == 25_000


async def test_held_money_is_taken_once_by_its_merchant(client, services, merchant):
    intent = await paid(client, services, merchant, seconds=3_600)
    url = f"/v1/payment_intents/{intent}/accept_held"
    other = await new_merchant(services, "other@example.test")
    problem(await client.post(url, headers=merchant.headers()), 400, "idempotency_key_missing")
    problem(await client.post(url, headers=other.money("a0")), 404, "not_found")
    answer = await client.post(url, headers=merchant.money("a1"))
    assert answer.status_code == 200
    payment = answer.json()
    assert (payment["status"], payment["amount_captured"], payment["amount_held"]) == ("succeeded", 100_000, 0)
    again = await client.post(url, headers=merchant.money("a1"))
    assert (again.content, again.headers["idempotency-replayed"]) == (answer.content, "true")
    problem(await client.post(url, headers=merchant.money("a2")), 409, "nothing_held")
    changes = (await client.get("/v1/balance_transactions", headers=merchant.headers())).json()["data"]
    assert [(each["type"], each["amount"], each["fee"], each["source"]) for each in changes] == [
        ("payment", 100_000, 1_766, intent)
    ]


async def test_a_merchant_names_the_receipt_by_the_timeline(client, services, merchant):
    intent = await paid(client, services, merchant, seconds=3_600, amount=10_000)
    principal = await services.house.principal(merchant.account_id, merchant.book_id)
    view = await services.intents.get(principal, intent)
    await services.house.pay(principal, view, services.house.scb, seconds=3_600, amount=20_000, transaction="txn_2")
    url = f"/v1/payment_intents/{intent}"
    told = (await client.get(f"{url}/timeline", headers=merchant.headers())).json()["data"]
    held = {item["details"]["amount_held"]: item["details"]["fact"] for item in told if item["type"] == "fact"}
    first, second = held[10_000], held[20_000]
    before = (await client.get(url, headers=merchant.headers())).json()

    async def ask(way, key, **body):
        return await client.post(f"{url}/{way}", headers=merchant.money(key), **body)

    for way in ("accept_held", "return_held"):
        problem(await ask(way, f"{way}-1", json={"held": "x"}), 400, "parameter_invalid")
        problem(await ask(way, f"{way}-2", json={"receipt": second}), 400, "parameter_unknown")
        problem(await ask(way, f"{way}-3", json={"held": "fact_test_00000000000000000000000000"}), 404, "not_found")
    assert (await client.get(url, headers=merchant.headers())).json() == before
    taken = await ask("accept_held", "a1", json={"held": second})
    assert (taken.status_code, taken.json()["held"], taken.json()["amount_captured"]) == (200, second, 20_000)
    assert (await ask("accept_held", "a1", json={"held": second})).content == taken.content
    problem(await ask("accept_held", "a1", json={"held": first}), 422, "idempotency_key_reused")
    problem(await ask("accept_held", "a2", json={"held": second}), 409, "nothing_held")
    problem(await ask("return_held", "r1", json={"held": second}), 409, "nothing_held")
    claim = await ask("return_held", "r2", json={})
    assert (claim.status_code, claim.json()["held"], claim.json()["amount"]) == (201, first, 10_000)
    assert (await ask("return_held", "r2")).content == claim.content, "no body and an empty one are the same"


async def test_guesses_meet_the_limit_of_their_address(client, monkeypatch):
    monkeypatch.setattr(authentication, "PAYER_LIMIT", RateLimit(per_second=1, burst=2))
    guesses = (client.post(f"/v1/refund_claims/g{number}", json=ACCOUNT) for number in range(20))
    assert {answer.status_code for answer in await asyncio.gather(*guesses)} == {404, 429}
