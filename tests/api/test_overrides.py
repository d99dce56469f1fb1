"""`/v1/overrides` over HTTP: who may, what is answered, and what a merchant then sees."""

from datetime import timedelta

import pytest

from gateway.merchants import operators
from gateway.merchants.clocks import advance, clock_of
from gateway.merchants.principals import Scope
from tests.api.conftest import problem
from tests.api.test_payment_intents import CARD

URL = "/v1/overrides"


async def operator(services, *scopes):
    async with services.database.transaction() as connection:
        operator_id = await operators.create_operator(connection, services.vault, name="Tester")
        key = await operators.create_key(connection, services.vault, operator_id, scopes=scopes)
    return operator_id, {"Authorization": f"Bearer {key.secret}"}


@pytest.fixture
async def ann(services):
    return await operator(services, Scope.OVERRIDES_READ, Scope.OVERRIDES_WRITE, Scope.OVERRIDES_APPROVE)


@pytest.fixture
async def ben(services):
    return await operator(services, Scope.OVERRIDES_READ, Scope.OVERRIDES_APPROVE)


@pytest.fixture
async def unknown(client, services, merchant):
    services.house.omise.charge_script.append("lost_before")
    answer = await client.post("/v1/payment_intents", json=CARD, headers=merchant.money("unknown"))
    assert (answer.status_code, answer.json()["status"]) == (202, "processing")
    async with services.database.transaction() as connection:
        now = (await clock_of(connection, merchant.book_id)).now()
        await advance(connection, merchant.book_id, now + timedelta(hours=2))
    return answer.json()["id"]


async def proposed(client, merchant, who, subject, **changes):
    body = {
        "book": merchant.book_id,
        "subject": subject,
        "outcome": "succeeded",
        "evidence": "letter 77 of 2026-11-23",
        "reason": "no answer for a day",
    }
    return await client.post(URL, json=body | changes, headers=who[1])


async def test_one_proposes_and_another_approves(client, merchant, ann, ben, unknown):
    made = await proposed(client, merchant, ann, unknown)
    assert made.status_code == 201, made.text
    body = made.json()
    assert (body["status"], body["proposed_by"], body["payment_intent"]) == ("open", ann[0], unknown)
    assert (body["amount"], body["currency"], body["subject_kind"]) == (CARD["amount"], "thb", "attempt")
    url, decision = f"{URL}/{body['id']}/approve", {"book": merchant.book_id, "reason": "the letter is genuine"}
    problem(await client.post(url, json=decision, headers=ann[1]), 409, "second_person_required")
    done = await client.post(url, json=decision, headers=ben[1])
    assert (done.status_code, done.json()["status"], done.json()["decided_by"]) == (200, "applied", ben[0])
    again = await client.post(url, json=decision, headers=ben[1])
    assert again.json() == done.json()
    payment = (await client.get(f"/v1/payment_intents/{unknown}", headers=merchant.headers())).json()
    assert (payment["status"], payment["qualifiers"]) == ("succeeded", ["marked_manually"])
    changes = (await client.get("/v1/balance_transactions", headers=merchant.headers())).json()["data"]
    assert [(each["type"], each["amount"], each["source"]) for each in changes] == [
        ("payment", CARD["amount"], unknown)
    ]
    seen = await client.get(f"{URL}/{body['id']}?book={merchant.book_id}", headers=ben[1])
    assert (seen.status_code, seen.json()) == (200, done.json())
    listed = await client.get(f"{URL}?book={merchant.book_id}&status=applied", headers=ben[1])
    assert ([each["id"] for each in listed.json()["data"]], listed.json()["has_more"]) == ([body["id"]], False)


async def test_what_is_unknown_is_listed_with_its_reason(client, services, merchant, ann, unknown):
    url = f"{URL}/waiting?book={merchant.book_id}"
    [row] = (await client.get(url, headers=ann[1])).json()["data"]
    attempt = await services.house.attempt(unknown)
    assert (row["subject"], row["payment_intent"], row["account"]) == (
        attempt["attempt_id"],
        unknown,
        merchant.account_id,
    )
    assert (row["reason"], row["amount"], row["override"]) == ("provider_silent", CARD["amount"], None)
    made = (await proposed(client, merchant, ann, row["subject"])).json()
    [row] = (await client.get(url, headers=ann[1])).json()["data"]
    assert row["override"] == made["id"]
    after = await client.get(f"{url}&starting_after={row['subject']}", headers=ann[1])
    assert (after.status_code, after.json()["data"]) == (200, [])
    problem(await client.get(f"{url}&starting_after=x", headers=ann[1]), 400, "parameter_invalid")
    problem(await client.get(url, headers=merchant.headers()), 403, "scope_missing")


async def test_a_proposal_is_shown_as_it_stands(client, services, merchant, ann, unknown):
    made = (await proposed(client, merchant, ann, unknown)).json()
    url = f"{URL}/{made['id']}?book={merchant.book_id}"
    assert (await client.get(url, headers=ann[1])).json() == made
    async with services.database.transaction() as connection:
        now = (await clock_of(connection, merchant.book_id)).now()
        await advance(connection, merchant.book_id, now + timedelta(days=4))
    assert (await client.get(url, headers=ann[1])).json() == made | {"status": "expired"}


async def test_who_may_not_and_what_cannot_be_read_is_refused(client, merchant, ann, ben, unknown):
    problem(await proposed(client, merchant, ben, unknown), 403, "scope_missing")
    problem(await proposed(client, merchant, ("", merchant.headers()), unknown), 403, "scope_missing")
    problem(await proposed(client, merchant, ann, "cus_x"), 400, "parameter_invalid")
    problem(await proposed(client, merchant, ann, unknown, reason=" "), 400, "parameter_invalid")
    problem(await proposed(client, merchant, ann, unknown, outcome="unknown"), 400, "parameter_invalid")
    problem(await proposed(client, merchant, ann, unknown, book=99), 404, "not_found")
    listed = await client.get(f"{URL}?book={merchant.book_id}", headers=ben[1])
    assert listed.json()["data"] == []
    nothing = f"{URL}/ovr_test_00000000000000000000000000"
    problem(await client.get(f"{nothing}?book={merchant.book_id}", headers=ben[1]), 404, "not_found")
    problem(await client.get(nothing, headers=ben[1]), 400, "parameter_missing")
    problem(await client.get(f"{nothing}?book={merchant.book_id}", headers=merchant.headers()), 403, "scope_missing")
    cursor = await client.get(f"{URL}?book={merchant.book_id}&starting_after=pi_x", headers=ben[1])
    problem(cursor, 400, "cursor_invalid")


async def test_a_proposal_is_taken_back_and_made_anew(client, merchant, ann, unknown):
    first = (await proposed(client, merchant, ann, unknown)).json()
    problem(await proposed(client, merchant, ann, unknown), 409, "override_open")
    decision = {"book": merchant.book_id, "reason": "the wrong letter"}
    taken = await client.post(f"{URL}/{first['id']}/reject", json=decision, headers=ann[1])
    assert (taken.status_code, taken.json()["status"]) == (200, "rejected")
    second = (await proposed(client, merchant, ann, unknown, outcome="failed")).json()
    page = (await client.get(f"{URL}?book={merchant.book_id}&limit=1", headers=ann[1])).json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([first["id"]], True)
    page = await client.get(f"{URL}?book={merchant.book_id}&starting_after={first['id']}", headers=ann[1])
    assert [each["id"] for each in page.json()["data"]] == [second["id"]]
