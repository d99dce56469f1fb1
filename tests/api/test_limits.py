"""Limits over HTTP: read by the merchant, and a refusal that says which limit and what is left."""

from gateway.payments.limits import Limits, set_limits
from gateway.payments.payers import PayerKind
from gateway.payments.velocity import Counting, VelocityRule, set_rule
from gateway.providers.base import Method
from tests.api.conftest import problem
from tests.api.test_payment_intents import CARD, QR

URL = "/v1/limits"
PAYMENTS = "/v1/payment_intents"


async def limit(services, merchant, method=None, **limits):
    async with services.database.transaction() as connection:
        await set_limits(
            connection,
            book_id=merchant.book_id,
            account_id=merchant.account_id,
            method=method,
            currency="THB",
            limits=Limits(**limits),
            actor="cli:tests",
            reason="a test needs it",
        )


async def test_a_merchant_reads_limits_and_what_is_used(client, services, merchant):
    assert (await client.get(URL, headers=merchant.headers())).json() == {
        "object": "limits",
        "livemode": False,
        "limits": [],
        "velocity_rules": [],
    }
    await limit(services, merchant, day_max_minor=500_000, payment_min_minor=100)
    await limit(services, merchant, Method.CARD, month_max_minor=900_000)
    async with services.database.transaction() as connection:
        rule = VelocityRule(payer_kind=PayerKind.IP, counting=Counting.DECLINES, window_seconds=3600, count_max=5)
        await set_rule(
            connection,
            book_id=merchant.book_id,
            account_id=merchant.account_id,
            rule=rule,
            actor="cli:tests",
            reason="a test needs it",
        )
    assert (await client.post(PAYMENTS, json=CARD, headers=merchant.money("k1"))).status_code == 201
    body = (await client.get(URL, headers=merchant.headers())).json()
    amount = CARD["amount"]
    assert body["limits"] == [
        {
            "payment_method": None,
            "currency": "thb",
            "payment_min": 100,
            "payment_max": None,
            "day_max": 500_000,
            "day_used": amount,
            "month_max": None,
            "month_used": amount,
            "day_payments_max": None,
            "day_payments": 1,
        },
        {
            "payment_method": "card",
            "currency": "thb",
            "payment_min": None,
            "payment_max": None,
            "day_max": None,
            "day_used": amount,
            "month_max": 900_000,
            "month_used": amount,
            "day_payments_max": None,
            "day_payments": 1,
        },
    ]
    assert body["velocity_rules"] == [
        {"payer_kind": "ip", "counting": "declines", "window_seconds": 3600, "count_max": 5}
    ]
    # Limits of the test book are not those of the live one.
    assert (await client.get(URL, headers=merchant.live_headers())).json()["limits"] == []


async def test_a_refusal_says_which_limit_and_what_is_left_and_stays_so_under_its_key(client, services, merchant):
    await limit(services, merchant, day_max_minor=QR["amount"] + 1)
    assert (await client.post(PAYMENTS, json=QR, headers=merchant.money("k1"))).status_code == 201
    first = await client.post(PAYMENTS, json=QR, headers=merchant.money("k2"))
    body = problem(first, 422, "limit_exceeded")
    assert (body["limit"], body["limit_left"], body["param"], body["retryable"]) == ("day_max", 1, "amount", False)
    assert (await client.post(PAYMENTS, json=QR, headers=merchant.money("k2"))).content == first.content
    assert len((await client.get(PAYMENTS, headers=merchant.headers())).json()["data"]) == 1
    assert services.house.scb.count("charge") == 1


async def test_a_confirmation_is_refused_too_and_the_payment_waits(client, services, merchant):
    await limit(services, merchant, day_payments_max=0)
    later = {"amount": QR["amount"], "currency": "thb", "confirm": False}
    intent = (await client.post(PAYMENTS, json=later, headers=merchant.money("k1"))).json()
    url = f"{PAYMENTS}/{intent['id']}/confirm"
    answer = await client.post(url, json={"payment_method": "promptpay"}, headers=merchant.money("k2"))
    assert problem(answer, 422, "limit_exceeded")["limit_left"] == 0
    assert (await client.get(f"{PAYMENTS}/{intent['id']}", headers=merchant.headers())).json() == intent


async def test_a_payer_who_tries_too_often_is_refused(client, services, merchant):
    async with services.database.transaction() as connection:
        rule = VelocityRule(payer_kind=PayerKind.IP, counting=Counting.PAYMENTS, window_seconds=60, count_max=1)
        await set_rule(
            connection,
            book_id=merchant.book_id,
            account_id=merchant.account_id,
            rule=rule,
            actor="cli:tests",
            reason="a test needs it",
        )
    asked = QR | {"payer": {"ip": "203.0.113.9"}}
    assert (await client.post(PAYMENTS, json=asked, headers=merchant.money("k1"))).status_code == 201
    refused = problem(await client.post(PAYMENTS, json=asked, headers=merchant.money("k2")), 422, "velocity_exceeded")
    assert refused["param"] == "payer"
    assert "203.0.113.9" not in str(refused)


async def test_what_is_said_of_a_payer_is_strict(client, services, merchant):
    for payer, code, param in (
        ({"ip": "nonsense"}, "parameter_invalid", "payer.ip"),
        ({"ip": ""}, "parameter_invalid", "payer.ip"),
        ({"card": "x"}, "parameter_unknown", "payer.card"),
        ({"card_fingerprint": 5}, "parameter_invalid", "payer.card_fingerprint"),
    ):
        answer = await client.post(PAYMENTS, json=QR | {"payer": payer}, headers=merchant.money("k1"))
        assert problem(answer, 400, code)["param"] == param
    later = {"amount": QR["amount"], "currency": "thb", "confirm": False, "payer": {"ip": "203.0.113.9"}}
    answer = await client.post(PAYMENTS, json=later, headers=merchant.money("k1"))
    assert problem(answer, 400, "parameter_invalid")["param"] == "payer"
    assert services.house.scb.calls == []
