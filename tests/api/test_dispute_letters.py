"""`/v1/dispute_letters` over HTTP: an operator states a letter, is told what it can be about, and what came of it."""

import pytest

from gateway.merchants.principals import Scope
from tests.api.conftest import problem
from tests.api.test_overrides import operator
from tests.api.test_unmatched import paid_twice, principal

URL = "/v1/dispute_letters"
__all__ = ["principal"]


@pytest.fixture
async def ann(services):
    return await operator(services, Scope.DISPUTES_STATE)


async def test_a_letter_names_its_receipt_where_there_are_several(client, services, merchant, principal, ann):
    payment = await paid_twice(client, services, merchant, principal)
    body = {"book": merchant.book_id, "payment_intent": payment, "reference": "case 7", "reason": "letter of the bank"}
    before = await services.house.balances(principal)
    said = problem(await client.post(URL, json=body, headers=ann[1]), 422, "receipt_ambiguous")
    assert [error["param"] for error in said["errors"]] == ["receipt", "receipt"]
    held = next(error["code"] for error in said["errors"] if "held" in error["detail"])
    assert await services.house.balances(principal) == before
    opened = await client.post(URL, json=body | {"receipt": held}, headers=ann[1])
    assert (opened.status_code, opened.json()["receipt"], opened.json()["amount_held_part"]) == (200, held, 100_000)
    assert (await client.post(URL, json=body, headers=ann[1])).json() == opened.json()
    outcome = {"book": merchant.book_id, "outcome": "funds_withdrawn", "reason": "statement of the day"}
    path = f"{URL}/{opened.json()['id']}/outcome"
    taken = await client.post(path, json=outcome, headers=ann[1])
    assert taken.json()["amount_withdrawn"] == 100_000
    after = await services.house.balances(principal)
    assert (before["merchant_pending"], before["payer_refundable"], after.get("payer_refundable")) == (
        after["merchant_pending"],
        100_000,
        None,
    )
    acts = await services.house.rows("SELECT actor, act, reason FROM gateway.operator_acts ORDER BY act_id")
    assert [tuple(act.values()) for act in acts if act["act"].startswith("dispute.")] == [
        (ann[0], "dispute.opened", "letter of the bank"),
        (ann[0], "dispute.funds_withdrawn", "statement of the day"),
    ]


async def test_who_may_not_and_what_does_not_fit(client, services, merchant, principal, ann):
    payment = await paid_twice(client, services, merchant, principal)
    body = {"book": merchant.book_id, "payment_intent": payment, "reference": "case 7", "reason": "letter"}
    reader = await operator(services, Scope.LEDGER_READ)
    problem(await client.post(URL, json=body, headers=reader[1]), 403, "scope_missing")
    problem(await client.post(URL, json=body | {"receipt": "txn_9"}, headers=ann[1]), 404, "not_found")
    problem(await client.post(URL, json=body | {"amount": 100_001}, headers=ann[1]), 400, "amount_invalid")
    late = body | {"evidence_due_at": "2999-01-01T09:00:00", "receipt": "txn_1"}
    problem(await client.post(URL, json=late, headers=ann[1]), 400, "parameter_invalid")
    assert await services.house.rows("SELECT FROM gateway.disputes") == []
    opened = (await client.post(URL, json=body | {"receipt": "txn_1"}, headers=ann[1])).json()
    problem(await client.post(URL, json=body | {"amount": 1}, headers=ann[1]), 409, "fact_contradicts")
    gone = {"book": merchant.book_id + 1, "outcome": "won", "reason": "x"}
    problem(await client.post(f"{URL}/{opened['id']}/outcome", json=gone, headers=ann[1]), 404, "not_found")


async def test_a_deadline_beyond_all_calendars_is_refused_and_nothing_is_written(
    client, services, merchant, principal, ann
):
    payment = await paid_twice(client, services, merchant, principal)
    body = {"book": merchant.book_id, "payment_intent": payment, "reference": "case 7", "reason": "letter"}
    for due_at in ("0001-01-01T00:00:00+07:00", "0001-01-02T00:00:00Z", "9999-12-31T23:59:59-07:00"):
        said = await client.post(URL, json=body | {"receipt": "txn_1", "evidence_due_at": due_at}, headers=ann[1])
        problem(said, 400, "parameter_invalid")
    assert await services.house.rows("SELECT FROM gateway.disputes") == []
