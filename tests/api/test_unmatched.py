"""`/v1/unmatched` over HTTP: who may, what is shown and what can be done about it."""

import pytest

from gateway.merchants.principals import Scope
from gateway.providers.dispute_terms import DisputeTerms
from tests.api.conftest import problem
from tests.api.test_overrides import operator
from tests.api.test_payment_intents import QR
from tests.payments.test_unmatched import line

URL = "/v1/unmatched"


@pytest.fixture
async def ann(services):
    return await operator(services, Scope.LEDGER_READ, Scope.UNMATCHED_WRITE)


@pytest.fixture
async def principal(services, merchant):
    return await services.house.principal(merchant.account_id, merchant.book_id)


async def paid_twice(client, services, merchant, principal):
    made = await client.post("/v1/payment_intents", json=QR, headers=merchant.money("qr"))
    intent = await services.house.intents.get(principal, made.json()["id"])
    for transaction in ("txn_1", "txn_2"):
        await services.house.pay(principal, intent, services.house.scb, transaction=transaction)
    return intent.id


async def test_held_money_is_listed_with_totals_and_returned(client, services, merchant, principal, ann):
    payment = await paid_twice(client, services, merchant, principal)
    listed = (await client.get(f"{URL}?book={merchant.book_id}", headers=ann[1])).json()
    [row] = listed["data"]
    assert (row["reason"], row["place"], row["amount"], row["subject"]) == ("twice", "held", 100_000, payment)
    assert (row["account"], row["claim"], listed["has_more"]) == (merchant.account_id, None, False)
    assert listed["totals"] == [{"place": "held", "reason": "twice", "currency": "thb", "count": 1, "amount": 100_000}]
    assert listed["tie_outs"] == [
        {"account_kind": "payer_refundable", "currency": "thb", "rows": 100_000, "ledger": 100_000, "difference": 0}
    ]
    body = {"book": merchant.book_id, "payment_intent": payment, "reason": "paid twice"}
    claim = await client.post(f"{URL}/return", json=body, headers=ann[1])
    assert (claim.status_code, claim.json()["amount"], claim.json()["status"]) == (201, 100_000, "open")
    assert claim.json()["token"]
    assert claim.json()["held"] == row["id"]
    problem(await client.post(f"{URL}/return", json=body, headers=ann[1]), 409, "nothing_held")
    late = await client.get(f"{URL}?book={merchant.book_id}&reason=late", headers=ann[1])
    assert late.json()["data"] == []
    after = await client.get(f"{URL}?book={merchant.book_id}&starting_after={row['id']}", headers=ann[1])
    assert after.json()["data"] == []


async def test_a_named_receipt_is_returned_and_asking_again_offers_no_other(client, services, merchant, principal, ann):
    payment = await paid_twice(client, services, merchant, principal)
    intent = await services.house.intents.get(principal, payment)
    await services.house.pay(principal, intent, services.house.scb, amount=77_00, transaction="txn_3")
    url = f"{URL}?book={merchant.book_id}"
    oldest, newest = (await client.get(url, headers=ann[1])).json()["data"]
    body = {"book": merchant.book_id, "payment_intent": payment, "held": newest["id"], "reason": "the payer called"}
    claim = await client.post(f"{URL}/return", json=body, headers=ann[1])
    assert (claim.status_code, claim.json()["amount"], claim.json()["held"]) == (201, 77_00, newest["id"])
    listed = (await client.get(url, headers=ann[1])).json()
    problem(await client.post(f"{URL}/return", json=body, headers=ann[1]), 409, "nothing_held")
    unknown = body | {"held": "fact_test_00000000000000000000000000"}
    problem(await client.post(f"{URL}/return", json=unknown, headers=ann[1]), 404, "not_found")
    problem(await client.post(f"{URL}/return", json=body | {"held": "x"}, headers=ann[1]), 400, "parameter_invalid")
    assert (await client.get(url, headers=ann[1])).json() == listed
    assert [(row["id"], row["claim"]) for row in listed["data"]] == [(oldest["id"], None), (newest["id"], "open")]
    accepted = {"book": merchant.book_id, "held": oldest["id"], "reason": "the merchant asked"}
    taken = await client.post(f"{URL}/accept", json=accepted, headers=ann[1])
    assert (taken.json()["held"], taken.json()["amount_held"]) == (oldest["id"], 77_00)


async def test_offered_money_of_a_live_payment_is_let_go_by_another_operator(
    client, services, merchant, principal, ann
):
    payment = await paid_twice(client, services, merchant, principal)
    body = {"book": merchant.book_id, "payment_intent": payment, "reason": "paid twice"}
    claim = (await client.post(f"{URL}/return", json=body, headers=ann[1])).json()
    await services.house.run("UPDATE gateway.refund_claims SET livemode = true WHERE claim_id = $1", claim["id"])
    ben, reader = await operator(services, Scope.UNMATCHED_WRITE), await operator(services, Scope.LEDGER_READ)
    url, body = f"{URL}/claims/{claim['id']}/approve", {"book": merchant.book_id, "reason": "the payer called"}
    problem(await client.post(url, json=body, headers=reader[1]), 403, "scope_missing")
    problem(await client.post(url, json=body, headers=ben[1]), 409, "refund_claim_closed")
    account = {"bank_code": "004", "account_number": "1234567890", "name": "A payer"}
    assert (await client.post(f"/v1/refund_claims/{claim['token']}", json=account)).status_code == 200
    problem(await client.post(url, json=body, headers=ann[1]), 409, "second_person_required")
    problem(await client.post(url, json=body | {"book": 99}, headers=ben[1]), 404, "not_found")
    unknown = f"{URL}/claims/clm_test_00000000000000000000000000/approve"
    problem(await client.post(unknown, json=body, headers=ben[1]), 404, "not_found")
    [row] = await services.house.rows("SELECT state FROM gateway.refund_claims")
    assert row["state"] == "claimed"
    done = await client.post(url, json=body, headers=ben[1])
    assert (done.status_code, done.json()["id"], done.json()["token"]) == (200, claim["id"], None)
    [row] = await services.house.rows("SELECT state FROM gateway.refund_claims")
    assert row["state"] == "approved"
    problem(await client.post(url, json=body, headers=ben[1]), 409, "refund_claim_closed")


async def test_held_money_is_taken_for_a_merchant_who_asked(client, services, merchant, principal, ann):
    payment = await paid_twice(client, services, merchant, principal)
    [row] = (await client.get(f"{URL}?book={merchant.book_id}", headers=ann[1])).json()["data"]
    body = {"book": merchant.book_id, "held": row["id"], "reason": "the merchant asked"}
    reader = await operator(services, Scope.LEDGER_READ)
    problem(await client.post(f"{URL}/accept", json=body, headers=reader[1]), 403, "scope_missing")
    problem(await client.post(f"{URL}/accept", json=body | {"reason": " "}, headers=ann[1]), 400, "parameter_invalid")
    taken = await client.post(f"{URL}/accept", json=body, headers=ann[1])
    assert (taken.status_code, taken.json()["amount_captured"], taken.json()["amount_held"]) == (200, 200_000, 0)
    assert (await client.post(f"{URL}/accept", json=body, headers=ann[1])).json() == taken.json()
    unknown = body | {"held": "fact_test_00000000000000000000000000"}
    problem(await client.post(f"{URL}/accept", json=unknown, headers=ann[1]), 404, "not_found")
    assert taken.json()["id"] == payment
    listed = (await client.get(f"{URL}?book={merchant.book_id}", headers=ann[1])).json()
    assert (listed["data"], [each["difference"] for each in listed["tie_outs"]]) == ([], [0])


async def test_a_bank_credit_is_noted_and_assigned(client, services, merchant, principal, ann):
    line_id = await line(services.house, principal, 100_000)
    made = await client.post("/v1/payment_intents", json=QR, headers=merchant.money("qr"))
    note = {"book": merchant.book_id, "line": line_id, "reason": "no reference"}
    noted = await client.post(f"{URL}/receipts", json=note, headers=ann[1])
    assert (noted.status_code, noted.json()["amount"], noted.json()["assigned_to"]) == (200, 100_000, None)
    url = f"{URL}/receipts/{noted.json()['id']}/assign"
    body = {"book": merchant.book_id, "target": made.json()["id"], "reason": "the payer's slip"}
    done = await client.post(url, json=body, headers=ann[1])
    assert (done.status_code, done.json()["assigned_to"]) == (200, made.json()["id"])
    other = await client.post(url, json=body | {"target": merchant.account_id}, headers=ann[1])
    problem(other, 409, "receipt_assigned")
    payment = await client.get(f"/v1/payment_intents/{made.json()['id']}", headers=merchant.headers())
    assert payment.json()["status"] == "succeeded"
    changes = (await client.get("/v1/balance_transactions", headers=merchant.headers())).json()["data"]
    assert [(each["type"], each["amount"], each["source"]) for each in changes] == [
        ("payment", 100_000, made.json()["id"])
    ]


async def test_who_may_not_and_what_cannot_be_read_is_refused(client, services, merchant, principal, ann):
    reader = await operator(services, Scope.LEDGER_READ)
    line_id = await line(services.house, principal)
    note = {"book": merchant.book_id, "line": line_id, "reason": "no reference"}
    problem(await client.post(f"{URL}/receipts", json=note, headers=reader[1]), 403, "scope_missing")
    problem(await client.get(f"{URL}?book={merchant.book_id}", headers=merchant.headers()), 403, "scope_missing")
    for body in (note | {"reason": " "}, note | {"line": "x"}, note | {"book": 0}):
        problem(await client.post(f"{URL}/receipts", json=body, headers=ann[1]), 400, "parameter_invalid")
    problem(await client.post(f"{URL}/receipts", json=note | {"book": 99}, headers=ann[1]), 404, "not_found")
    bad = await client.get(f"{URL}?book={merchant.book_id}&since_before=2026-11-23T00:00:00", headers=ann[1])
    problem(bad, 400, "parameter_invalid")
    assert await services.house.entries(principal) == []


async def test_disputed_claims_are_listed(client, services, merchant, principal, ann):
    payment = await paid_twice(client, services, merchant, principal)
    body = {"book": merchant.book_id, "payment_intent": payment, "reason": "paid twice"}
    claim = (await client.post(f"{URL}/return", json=body, headers=ann[1])).json()
    url = f"{URL}/claims/disputed?book={merchant.book_id}"
    assert (claim["disputed"], (await client.get(url, headers=ann[1])).json()["data"]) == (False, [])
    terms = DisputeTerms(reference="case 7")
    said = {"receipt": claim["held"], "actor": "op_ann", "reason": "a letter"}
    await services.house.dispute_acts.open(merchant.book_id, payment, terms, **said)
    [listed] = (await client.get(url, headers=ann[1])).json()["data"]
    assert (listed["id"], listed["disputed"], listed["status"]) == (claim["id"], True, "open")
    mine = await client.get(f"/v1/payment_intents/{payment}/refund_claims", headers=merchant.headers())
    assert [each["disputed"] for each in mine.json()["data"]] == [True]
    problem(await client.get(url, headers=merchant.headers()), 403, "scope_missing")


async def test_a_moment_beyond_the_calendar_is_refused(client, merchant, ann):
    for when in ("0001-01-01T00:00:00+07:00", "9999-12-31T23:59:59-07:00"):
        asked = {"book": str(merchant.book_id), "since_before": when}
        problem(await client.get(URL, params=asked, headers=ann[1]), 400, "parameter_invalid")
        wanted = {"created_from": when}
        problem(
            await client.get("/v1/payment_intents", params=wanted, headers=merchant.headers()), 400, "parameter_invalid"
        )
