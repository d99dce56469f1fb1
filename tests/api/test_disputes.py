"""Disputes over HTTP: found by their deadline, answered once a key, closed to every other account."""

from datetime import timedelta

from gateway.merchants import api_keys
from gateway.merchants.principals import Scope
from gateway.providers.base import FactKind
from gateway.providers.dispute_terms import DisputeTerms
from tests.api.conftest import new_merchant, problem
from tests.api.test_refunds import balance, other_money, paid

URL = "/v1/disputes"
EVIDENCE = {"text": {"product_description": "a red bicycle"}, "files": {"receipt": "file_1"}}


async def disputed(client, services, merchant, key="pay", *, days=14, reference="case 1"):
    intent = await paid(client, merchant, key)
    principal = await services.house.principal(merchant.account_id, merchant.book_id)
    stated = await services.house.dispute_acts.open(
        merchant.book_id,
        intent,
        DisputeTerms(reference=reference, evidence_due_at=principal.clock.now() + timedelta(days=days)),
        actor="cli:tester",
        reason="a test needs it",
    )
    return intent, stated.dispute.dispute_id


async def test_a_dispute_is_read_answered_once_and_its_evidence_read_back(client, services, merchant):
    intent, dispute_id = await disputed(client, services, merchant)
    read = (await client.get(f"{URL}/{dispute_id}", headers=merchant.headers())).json()
    assert dispute_id.startswith("dp_test_")
    assert (read["object"], read["id"], read["payment_intent"], read["status"], read["amount"]) == (
        "dispute",
        dispute_id,
        intent,
        "needs_response",
        100_000,
    )
    url = f"{URL}/{dispute_id}/evidence"
    answered = await client.post(url, json=EVIDENCE, headers=merchant.money("e1"))
    assert (answered.status_code, answered.json()["status"]) == (200, "under_review")
    again = await client.post(url, json=EVIDENCE, headers=merchant.money("e1"))
    assert (again.content, again.headers["idempotency-replayed"]) == (answered.content, "true")
    problem(await client.post(url, json=EVIDENCE, headers=merchant.money("e2")), 409, "dispute_not_open")
    accept = await client.post(f"{URL}/{dispute_id}/accept", headers=merchant.money("a1"))
    problem(accept, 409, "dispute_not_open")
    kept = (await client.get(url, headers=merchant.headers())).json()
    assert [(each["text"], each["files"], each["dispute"]) for each in kept["data"]] == [
        (EVIDENCE["text"], EVIDENCE["files"], dispute_id)
    ]
    shown = (await client.get(f"/v1/payment_intents/{intent}", headers=merchant.headers())).json()
    assert (shown["amount_disputed"], shown["amount_refundable"]) == (100_000, 0)


async def test_a_dispute_is_accepted(client, services, merchant):
    _, dispute_id = await disputed(client, services, merchant)
    before = await balance(client, merchant)
    accepted = await client.post(f"{URL}/{dispute_id}/accept", headers=merchant.money("a1"))
    assert (accepted.status_code, accepted.json()["status"]) == (200, "accepted")
    assert await balance(client, merchant) == before
    problem(await client.post(f"{URL}/{dispute_id}/accept", headers=merchant.headers()), 400, "idempotency_key_missing")


async def test_disputed_money_is_not_refunded_over_http(client, services, merchant):
    intent, _ = await disputed(client, services, merchant)
    await other_money(client, merchant)
    before = await balance(client, merchant)
    refused = await client.post("/v1/refunds", json={"payment_intent": intent}, headers=merchant.money("r1"))
    problem(refused, 409, "payment_disputed")
    assert await balance(client, merchant) == before


async def test_disputes_are_listed_by_status_payment_and_deadline(client, services, merchant):
    first, one = await disputed(client, services, merchant, "p1", days=9, reference="a")
    _, two = await disputed(client, services, merchant, "p2", days=3, reference="b")

    async def listed(**query):
        answer = await client.get(URL, params=query, headers=merchant.headers())
        assert answer.status_code == 200, answer.text
        return [dispute["id"] for dispute in answer.json()["data"]]

    assert await listed() == [two, one]
    assert await listed(sort="deadline") == [two, one]
    assert await listed(sort="deadline", starting_after=two) == [one]
    assert await listed(payment_intent=first) == [one]
    await client.post(f"{URL}/{two}/accept", headers=merchant.money("a1"))
    assert await listed(status="accepted") == [two]
    assert await listed(status="needs_response") == [one]
    for query in ({"status": "open"}, {"sort": "amount"}, {"payment_intent": "x"}, {"starting_after": "x"}):
        assert (await client.get(URL, params=query, headers=merchant.headers())).status_code == 400


async def test_each_mistake_has_its_code_and_changes_nothing(client, services, merchant):
    _, dispute_id = await disputed(client, services, merchant)
    other = await new_merchant(services, "other@example.test")
    url = f"{URL}/{dispute_id}/evidence"
    for number, (headers, body, status, code) in enumerate(
        (
            (merchant.money, {}, 400, "parameter_missing"),
            (merchant.money, {"text": {"Name": "x"}}, 400, "parameter_invalid"),
            (merchant.money, {"text": {"name": 1}}, 400, "parameter_invalid"),
            (merchant.money, {"text": {f"f{n}": "x" for n in range(21)}}, 400, "parameter_invalid"),
            (merchant.money, {"colour": "red"}, 400, "parameter_unknown"),
            (other.money, EVIDENCE, 404, "not_found"),
        )
    ):
        problem(await client.post(url, json=body, headers=headers(f"e{number}")), status, code)
    for path in (f"{URL}/{dispute_id}", url, f"{URL}/dp_test_{'0' * 26}", f"{URL}/nonsense"):
        problem(await client.get(path, headers=other.headers()), 404, "not_found")
    problem(await client.post(f"{URL}/{dispute_id}/accept", headers=other.money("a1")), 404, "not_found")
    read = (await client.get(f"{URL}/{dispute_id}", headers=merchant.headers())).json()
    assert (read["status"], read["version"]) == ("needs_response", 1)


async def test_disputes_have_scopes_of_their_own(client, services, merchant):
    _, dispute_id = await disputed(client, services, merchant)
    async with services.database.transaction() as connection:
        key = await api_keys.create(
            connection, services.vault, merchant.account_id, livemode=False, scopes=[Scope.DISPUTES_READ]
        )
    headers = {"Authorization": f"Bearer {key.secret}", "Idempotency-Key": "k1"}
    assert (await client.get(f"{URL}/{dispute_id}", headers=headers)).status_code == 200
    problem(await client.post(f"{URL}/{dispute_id}/accept", headers=headers), 403, "scope_missing")


async def test_what_a_dispute_took_is_shown_among_the_balance_transactions(client, services, merchant):
    _, dispute_id = await disputed(client, services, merchant)
    await services.house.dispute_acts.record(
        merchant.book_id, dispute_id, FactKind.DISPUTE_FUNDS_WITHDRAWN, actor="x", reason="y"
    )
    listed = (await client.get("/v1/balance_transactions", headers=merchant.headers())).json()["data"]
    assert [(each["type"], each["net"], each["fee"], each["source"]) for each in listed[:2]] == [
        ("dispute_fee", -535_00, 535_00, dispute_id),
        ("dispute", -100_000, 0, dispute_id),
    ]
