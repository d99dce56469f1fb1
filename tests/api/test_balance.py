"""The balance and its transactions are the ledger's own figures, and the transactions add up to the balance."""

from datetime import date
from uuid import uuid4

from ledger.journal import Posted
from ledger.posting_rules.settlement import merchant_debt_recognised
from tests.api.conftest import new_merchant, problem
from tests.api.test_payment_intents import CARD
from tests.api.test_refunds import paid

URL = "/v1/balance_transactions"


async def test_an_unused_account_has_zero_baht(client, merchant):
    body = (await client.get("/v1/balance", headers=merchant.headers())).json()
    nothing = [{"amount": 0, "currency": "thb"}]
    assert body == {
        "object": "balance",
        "livemode": False,
        "pending": nothing,
        "available": nothing,
        "reserved": nothing,
        "refunding": nothing,
        "in_transit": nothing,
    }


async def test_transactions_show_amount_fee_and_net_and_add_up_to_the_balance(client, services, merchant):
    intent = await paid(client, merchant, "p1")
    await paid(client, merchant, "p2")
    services.house.omise.refund_script.append("pending")
    refund = await client.post(
        "/v1/refunds", json={"payment_intent": intent, "amount": 40_000}, headers=merchant.money("r1")
    )
    body = (await client.get(URL, headers=merchant.headers())).json()
    shown = [(item["type"], item["amount"], item["fee"], item["net"], item["source"]) for item in body["data"]]
    # 1,000 baht by card at 3.65 % and VAT: 36.50 + 2.56.
    assert shown[0] == ("refund", -40_000, 0, -40_000, refund.json()["id"])
    assert [item[:4] for item in shown[1:]] == [("payment", 100_000, 39_06, 100_000 - 39_06)] * 2
    assert shown[2][4] == intent
    assert all(item["id"].startswith("txn_test_") and item["currency"] == "thb" for item in body["data"])

    balance = (await client.get("/v1/balance", headers=merchant.headers())).json()
    assert balance["pending"] == [{"amount": sum(item["net"] for item in body["data"]), "currency": "thb"}]
    assert balance["refunding"] == [{"amount": 40_000, "currency": "thb"}]
    one = (await client.get(f"{URL}/{body['data'][0]['id']}", headers=merchant.headers())).json()
    assert one == body["data"][0]


async def test_what_the_merchant_owes_is_shown_below_zero_and_moving_it_is_no_transaction(client, services, merchant):
    await paid(client, merchant, "p1")
    before = (await client.get(URL, headers=merchant.headers())).json()["data"]
    balance = (await client.get("/v1/balance", headers=merchant.headers())).json()
    claim = merchant_debt_recognised(
        key=uuid4(),
        merchant=merchant.account_id,
        amount_minor=200_00,
        currency="THB",
        effective_on=date(2026, 11, 23),
        caller="system",
    )
    # The books hold a claim of 200 now and 200 more available: to the merchant that is what it was.
    assert isinstance(await services.house.ledger.post(merchant.book_id, claim), Posted)
    assert (await client.get("/v1/balance", headers=merchant.headers())).json() == balance
    assert (await client.get(URL, headers=merchant.headers())).json()["data"] == before


async def test_transactions_are_walked_without_gap_or_repetition(client, services, merchant):
    for number in range(5):
        await paid(client, merchant, f"p{number}")
    seen, cursor = [], {}
    for _ in range(10):
        body = (await client.get(URL, params={"limit": 2, **cursor}, headers=merchant.headers())).json()
        seen += [item["id"] for item in body["data"]]
        if not body["has_more"]:
            break
        cursor = {"starting_after": seen[-1]}
    assert len(seen) == len(set(seen)) == 5
    whole = (await client.get(URL, headers=merchant.headers())).json()["data"]
    assert seen == [item["id"] for item in whole]


async def test_nobody_reads_the_transactions_of_another(client, services, merchant):
    other = await new_merchant(services, "other@example.test")
    await client.post("/v1/payment_intents", json=CARD, headers=other.money("k1"))
    theirs = (await client.get(URL, headers=other.headers())).json()["data"][0]["id"]
    problem(await client.get(f"{URL}/{theirs}", headers=merchant.headers()), 404, "not_found")
    for params in ({"starting_after": theirs}, {"starting_after": "txn_test_7"}, {"ending_before": theirs}):
        problem(await client.get(URL, params=params, headers=merchant.headers()), 400, "cursor_invalid")
    assert (await client.get(URL, headers=merchant.headers())).json()["data"] == []


async def test_operators_read_entries_by_range_and_reference(client, services, merchant, operator_headers):
    intents = [await paid(client, merchant, f"p{number}") for number in range(3)]

    async def entries(**params):
        params = {"book": merchant.book_id, **params}
        response = await client.get("/v1/ledger/entries", params=params, headers=operator_headers)
        assert response.status_code == 200, response.json()
        return [entry["sequence"] for entry in response.json()["data"]], response.json()["has_more"]

    assert await entries() == ([1, 2, 3], False)
    assert await entries(limit=2) == ([1, 2], True)
    assert await entries(limit=2, starting_after=f"ent_{merchant.book_id}_2") == ([3], False)
    assert await entries(from_sequence=2, to_sequence=2) == ([2], False)
    assert await entries(reference=f"payment_intent:{intents[2]}") == ([3], False)
    assert await entries(reference="payment_intent:none") == ([], False)
    assert await entries(book=999_999) == ([], False)

    url = "/v1/ledger/entries"
    first = (await client.get(url, params={"book": merchant.book_id}, headers=operator_headers)).json()["data"][0]
    assert (first["kind"], len(first["postings"])) == ("payment_captured", 3)
    assert first["postings"][0]["debit"] == {"kind": "provider_receivable", "owner": "omise", "currency": "thb"}
    assert first["postings"][0]["credit"]["owner"] == merchant.account_id
    for params, code in (
        ({}, "parameter_missing"),
        ({"book": 0}, "parameter_invalid"),
        ({"book": 2**63}, "parameter_invalid"),
        ({"book": 1, "reference": "nothing"}, "parameter_invalid"),
        ({"book": 1, "starting_after": "ent_2_1"}, "cursor_invalid"),
    ):
        problem(await client.get(url, params=params, headers=operator_headers), 400, code)
