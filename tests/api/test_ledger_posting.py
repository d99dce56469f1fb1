"""Operators' own entries: each item has its own answer, nothing is half done, and only who may may."""

import pytest

from gateway.merchants import operators
from gateway.merchants.principals import Scope
from ledger.feed import entry_by_sequence, head
from tests.api.conftest import problem

URL = "/v1/ledger/entries"
BANK = {"kind": "bank", "owner": "scb"}
CLEARING = {"kind": "clearing", "owner": "manual"}
AVAILABLE = {"kind": "merchant_available", "owner": "acct_1"}


@pytest.fixture
async def poster(services):
    async with services.database.transaction() as connection:
        operator_id = await operators.create_operator(connection, services.vault, name="Poster")
        key = await operators.create_key(connection, services.vault, operator_id, scopes=[Scope.LEDGER_POST])
    return {"Authorization": f"Bearer {key.secret}", "operator": operator_id}


def entry(key, amount=100, *, debit=BANK, credit=CLEARING, kind="operator_entry", **fields):
    postings = [{"debit": debit, "credit": credit, "amount": amount, **fields.pop("line", {})}]
    return {"key": key, "kind": kind, "effective_on": "2026-11-23", "postings": postings, **fields}


async def posted(client, merchant, poster, *entries, **more):
    body = {"book": merchant.book_id, "reason": "a test", "entries": list(entries), **more}
    return await client.post(URL, json=body, headers={"Authorization": poster["Authorization"]})


async def heads(services, merchant):
    async with services.database.ledger_pool.acquire() as connection:
        return await head(connection, merchant.book_id)


async def test_each_item_has_its_own_answer_and_harms_no_other(client, services, merchant, poster):
    reply = await posted(
        client,
        merchant,
        poster,
        entry("one", metadata="ก", references=[{"scheme": "memo", "value": "m1"}]),
        entry("two", 0),
        entry("three", 50, debit=AVAILABLE, credit=BANK),
        entry("four", kind="payment_captured"),
        entry("five", debit={"kind": "nothing"}),
        entry("six", owner="x"),
        entry("seven", 5),
        entry("eight", 7),
    )
    assert reply.status_code == 200
    results = reply.json()["results"]
    assert [(each["status"], each["code"], each["param"]) for each in results] == [
        ("posted", None, None),
        ("malformed", "parameter_invalid", "entries[1].postings[0].amount"),
        ("refused", "below_floor", None),
        ("refused", "kind_not_postable", "entries[3].kind"),
        ("malformed", "parameter_invalid", "entries[4]"),
        ("malformed", "parameter_unknown", "entries[5].owner"),
        ("posted", None, None),
        ("posted", None, None),
    ]
    assert [each["sequence"] for each in results if each["status"] == "posted"] == [1, 2, 3]
    assert (results[2]["transient"], reply.json()["posted"]) == (True, 3)
    async with services.database.ledger_pool.acquire() as connection:
        first = await entry_by_sequence(connection, merchant.book_id, 1)
    assert (first.caller, first.metadata.decode(), str(first.key)) == (poster["operator"], "ก", results[0]["key"])


async def test_same_call_again_is_a_replay(client, services, merchant, poster):
    entries = [entry(f"k{number}") for number in range(3)]
    first = (await posted(client, merchant, poster, *entries)).json()["results"]
    again = (await posted(client, merchant, poster, *entries)).json()["results"]
    assert [each["replayed"] for each in again] == [True] * 3
    assert [each["sequence"] for each in again] == [each["sequence"] for each in first]
    other = (await posted(client, merchant, poster, entry("k0", 7))).json()["results"]
    assert other[0]["code"] == "key_reused_with_other_content"
    assert await heads(services, merchant) == 3


async def test_atomic_call_is_posted_whole_or_not_at_all(client, services, merchant, poster):
    sound, poor = entry("a"), entry("b", 50, debit=AVAILABLE, credit=BANK)
    reply = (await posted(client, merchant, poster, sound, poor, atomic=True)).json()
    assert [each["code"] for each in reply["results"]] == ["group_refused", "below_floor"]
    reply = (await posted(client, merchant, poster, sound, entry("c", 0), atomic=True)).json()
    assert [each["code"] for each in reply["results"]] == ["group_refused", "parameter_invalid"]
    assert (reply["posted"], await heads(services, merchant)) == (0, 0)
    reply = (await posted(client, merchant, poster, sound, entry("c", 5), atomic=True)).json()
    assert (reply["posted"], await heads(services, merchant)) == (2, 2)


async def test_two_thousand_are_taken_in_order_and_no_more(client, services, merchant, poster):
    entries = [entry(f"n{number}", number + 1) for number in range(2_000)]
    reply = await posted(client, merchant, poster, *entries)
    assert [each["sequence"] for each in reply.json()["results"]] == list(range(1, 2_001))
    problem(await posted(client, merchant, poster, *entries, entry("more")), 400, "parameter_invalid")
    assert await heads(services, merchant) == 2_000


async def test_holds_reversals_and_balancing_by_keys_of_the_operator(client, merchant, poster):
    hold = {"kind": "hold_placed", "debit": CLEARING, "credit": BANK}
    reply = await posted(
        client,
        merchant,
        poster,
        entry("money", 100, drawable=60),
        entry("hold", 30, hold={"action": "place"}, **hold),
        entry("post", 20, hold={"action": "post", "key": "hold"}, **(hold | {"kind": "hold_posted"})),
        entry(
            "undo", 10, debit=CLEARING, credit=BANK, kind="entry_reversed", reverses="money",
            line={"reverses_line": 1}, draw={"key": "money", "amount": 10},
        ),
        entry("sweep", 10, debit=AVAILABLE, credit=CLEARING, line={"up_to": "debit"}),
        entry("wrong", 10, hold={"action": "place"}),
    )  # fmt: skip
    results = reply.json()["results"]
    assert [(each["status"], each["code"]) for each in results] == [
        ("posted", None),
        ("posted", None),
        ("posted", None),
        ("posted", None),
        ("refused", "nothing_available"),
        ("malformed", "parameter_invalid"),
    ]


async def test_only_a_key_with_the_scope_posts(client, services, merchant, operator_headers, poster):
    body = {"book": merchant.book_id, "reason": "a test", "entries": [entry("x")]}
    for headers in (operator_headers, merchant.headers()):
        problem(await client.post(URL, json=body, headers=headers), 403, "scope_missing")
    problem(await client.post(URL, json=body), 401, "authentication_required")
    assert await heads(services, merchant) == 0
    headers = {"Authorization": poster["Authorization"]}
    problem(await client.post(URL, json=body | {"book": 987}, headers=headers), 404, "not_found")
    for nothing in ("", " "):
        problem(await client.post(URL, json=body | {"reason": nothing}, headers=headers), 400, "parameter_invalid")
    problem(await client.post(URL, json=body | {"entries": []}, headers=headers), 400, "parameter_invalid")
    problem(await client.get(f"{URL}?book={merchant.book_id}", headers=headers), 403, "scope_missing")
