"""Payment links over HTTP: what payers see and may do, and that a single use is one, whoever races."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from gateway.api import authentication
from gateway.merchants.principals import RateLimit
from gateway.providers.base import FactKind
from tests.api.conftest import new_merchant, problem

URL = "/v1/payment_links"
QR_LINK = {"amount": 50_000, "currency": "thb", "payment_methods": ["promptpay", "card"], "description": "A lamp"}
QR = {"payment_method": "promptpay"}
CARD = {"payment_method": "card", "card_token": "tokn_1"}


def key(name):
    return {"Idempotency-Key": name}


async def made(client, merchant, **changes):
    body = {name: value for name, value in {**QR_LINK, **changes}.items() if value != "absent"}
    answer = await client.post(URL, json=body, headers=merchant.headers())
    assert answer.status_code == 201, answer.json()
    return answer.json()


async def pay(client, link, name="k1", how=QR, **more):
    return await client.post(f"/v1/pay/{link['token']}", json={**how, **more}, headers=key(name))


async def test_a_link_is_made_read_listed_and_taken_back(client, services, merchant):
    link = await made(client, merchant, metadata={"shelf": "7"})
    assert (link["object"], link["status"], link["uses"], link["uses_max"]) == ("payment_link", "active", 0, 1)
    assert (await client.get(f"{URL}/{link['id']}", headers=merchant.headers())).json() == link
    second = await made(client, merchant, uses_max=None)
    listed = (await client.get(URL, headers=merchant.headers())).json()["data"]
    assert [each["id"] for each in listed] == [second["id"], link["id"]]
    ended = (await client.post(f"{URL}/{link['id']}/deactivate", headers=merchant.headers())).json()
    assert (ended["status"], ended["version"]) == ("inactive", 2)
    again = (await client.post(f"{URL}/{link['id']}/deactivate", headers=merchant.headers())).json()
    assert again == ended
    problem(await pay(client, link), 409, "payment_link_inactive")
    types = [row["type"] for row in await services.house.rows("SELECT type FROM gateway.events ORDER BY event_id")]
    assert types == ["payment_link.created", "payment_link.created", "payment_link.deactivated"]
    said = b"".join(row["payload"] for row in await services.house.rows("SELECT payload FROM gateway.events"))
    assert link["token"].encode() not in said
    stored = await services.house.rows("SELECT token_hash FROM gateway.payment_links")
    assert all(link["token"].encode() not in row["token_hash"] for row in stored)


async def test_links_of_others_are_not_there(client, services, merchant):
    other = await new_merchant(services, "other@example.test")
    link = await made(client, other)
    problem(await client.get(f"{URL}/{link['id']}", headers=merchant.headers()), 404, "not_found")
    problem(await client.post(f"{URL}/{link['id']}/deactivate", headers=merchant.headers()), 404, "not_found")
    assert (await client.get(URL, headers=merchant.headers())).json()["data"] == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"amount": "absent"}, "parameter_missing"),
        ({"amount": "absent", "amount_min": 100}, "parameter_missing"),
        ({"amount_min": 100, "amount_max": 200}, "parameter_invalid"),
        ({"amount": "absent", "amount_min": 300, "amount_max": 200}, "parameter_invalid"),
        ({"amount": 0}, "amount_invalid"),
        ({"amount": 10.5}, "amount_invalid"),
        ({"currency": "THB"}, "currency_invalid"),
        ({"currency": "xxx"}, "currency_invalid"),
        ({"payment_methods": []}, "parameter_invalid"),
        ({"payment_methods": ["card", "card"]}, "parameter_invalid"),
        ({"payment_methods": ["shells"]}, "parameter_invalid"),
        ({"uses_max": 0}, "parameter_invalid"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "parameter_invalid"),
        ({"expires_at": "2030-01-01T00:00:00"}, "parameter_invalid"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "parameter_invalid"),
        ({"metadata": {"a[b]": "c"}}, "parameter_invalid"),
        ({"page": "pretty"}, "parameter_unknown"),
    ],
)
async def test_what_no_link_can_be(client, merchant, changes, code):
    body = {name: value for name, value in {**QR_LINK, **changes}.items() if value != "absent"}
    problem(await client.post(URL, json=body, headers=merchant.headers()), 400, code)
    assert (await client.get(URL, headers=merchant.headers())).json()["data"] == []


async def test_a_payer_sees_the_offer_pays_and_looks_again(client, services, merchant):
    link = await made(client, merchant, metadata={"shelf": "7"})
    offer = await client.get(f"/v1/pay/{link['token']}")
    assert offer.status_code == 200
    assert offer.json() == {
        "object": "offered_payment",
        "livemode": False,
        "description": "A lamp",
        "amount": 50_000,
        "amount_min": None,
        "amount_max": None,
        "currency": "thb",
        "payment_methods": ["promptpay", "card"],
        "is_payable": True,
        "expires_at": None,
    }
    answer = await pay(client, link)
    payment = answer.json()
    assert (answer.status_code, payment["status"], payment["next_action"]["type"]) == (
        201,
        "requires_action",
        "display_qr_code",
    )
    assert set(payment) == {
        "object", "id", "livemode", "status", "amount", "currency", "description", "payment_method", "next_action",
        "error_code", "expires_at",
    }  # fmt: skip
    assert (await pay(client, link)).json() == payment
    assert (await client.get(f"/v1/pay/{link['token']}/{payment['id']}")).json() == payment
    intent = (await client.get(f"/v1/payment_intents/{payment['id']}", headers=merchant.headers())).json()
    assert (intent["payment_link"], intent["metadata"], intent["description"]) == (link["id"], {"shelf": "7"}, "A lamp")
    assert (await client.get(f"/v1/pay/{link['token']}")).json()["is_payable"] is False
    problem(await pay(client, link, "k2"), 409, "payment_link_used")
    assert services.house.scb.count("charge") == 1


async def test_what_a_payer_may_not_ask(client, services, merchant):
    link = await made(client, merchant)
    problem(await client.post(f"/v1/pay/{link['token']}", json=QR), 400, "idempotency_key_missing")
    problem(await pay(client, link, amount=50_001), 400, "amount_invalid")
    problem(await pay(client, link, how={"payment_method": "truemoney"}), 400, "parameter_invalid")
    problem(await pay(client, link, metadata={}), 400, "parameter_unknown")
    assert (await services.house.rows("SELECT 1 FROM gateway.payment_intents")) == []
    assert (await pay(client, link, amount=50_000)).status_code == 201


async def test_an_open_amount_is_the_payers_within_its_limits(client, merchant):
    link = await made(client, merchant, amount="absent", amount_min=2_000, amount_max=90_000, uses_max=None)
    problem(await pay(client, link), 400, "parameter_missing")
    problem(await pay(client, link, amount=1_999), 400, "amount_invalid")
    problem(await pay(client, link, amount=90_001), 400, "amount_invalid")
    for number, amount in enumerate((2_000, 90_000)):
        assert (await pay(client, link, f"ok{number}", amount=amount)).json()["amount"] == amount
    assert (await client.get(f"{URL}/{link['id']}", headers=merchant.headers())).json()["uses"] == 2


@pytest.mark.parametrize(("uses_max", "paid"), [(1, 1), (3, 3)])
async def test_of_racing_payers_as_many_are_charged_as_there_are_uses(client, services, merchant, uses_max, paid):
    link = await made(client, merchant, uses_max=uses_max)
    answers = await asyncio.gather(*(pay(client, link, f"k{number}", CARD) for number in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] * paid + [409] * (8 - paid)
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"payment_link_used"}
    assert services.house.omise.count("charge") == paid
    balances = await services.house.balances(merchant)
    assert balances["provider_receivable"] == paid * 50_000
    assert len(await services.house.rows("SELECT 1 FROM gateway.payment_intents")) == paid


async def test_a_declined_payer_frees_the_use_for_the_next(client, services, merchant):
    link = await made(client, merchant)
    services.house.omise.charge_script.append("declined")
    declined = await pay(client, link, "k1", CARD)
    assert (declined.json()["status"], declined.json()["error_code"]) == (
        "requires_payment_method",
        "insufficient_funds",
    )
    assert (await pay(client, link, "k2", CARD)).json()["status"] == "succeeded"
    confirm = f"/v1/payment_intents/{declined.json()['id']}/confirm"
    refused = await client.post(confirm, json=CARD, headers=merchant.money("c1"))
    problem(refused, 409, "payment_link_used")
    assert services.house.omise.count("charge") == 2


async def test_a_retry_of_an_attempt_that_was_never_sent_waits_for_the_link_too(client, services, merchant):
    link = await made(client, merchant, payment_methods=["promptpay"])
    services.house.scb.charge_script.append("not_attempted")
    services.house.omise.charge_script.append("not_attempted")
    first = await pay(client, link, "k1")
    assert first.json()["status"] == "requires_payment_method"
    assert (await pay(client, link, "k2")).json()["status"] == "requires_action"
    problem(await pay(client, link, "k3"), 409, "payment_link_used")


async def test_an_expired_link_takes_nothing(client, services, merchant):
    link = await made(client, merchant, expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    principal = await services.house.principal(merchant.account_id, merchant.book_id)
    await services.house.move_clock(principal, hours=2)
    assert (await client.get(f"/v1/pay/{link['token']}")).json()["is_payable"] is False
    problem(await pay(client, link), 409, "payment_link_expired")
    assert services.house.scb.count("charge") == 0


async def expired(client, services, merchant, link, count):
    """So many payments under the link that ran out one after the other, each freeing the use for the next."""
    house, payments = services.house, []
    for number in range(count):
        payment = (await pay(client, link, f"late{number}")).json()
        assert payment["status"] == "requires_action"
        principal = await house.principal(merchant.account_id, merchant.book_id)
        await house.move_clock(principal, minutes=20)
        await house.make_due()
        await house.janitor.run_once()
        intent = await house.intents.get(principal, payment["id"])
        assert intent.status == "expired"
        payments.append(intent)
    return payments


async def shown(client, merchant, intent):
    return (await client.get(f"/v1/payment_intents/{intent.id}", headers=merchant.headers())).json()


async def test_money_that_was_paid_in_time_and_told_after_another_paid_is_the_payers(client, services, merchant):
    link = await made(client, merchant)
    [late] = await expired(client, services, merchant, link, 1)
    assert (await pay(client, link, "k2", CARD)).json()["status"] == "succeeded"
    before = await services.house.balances(merchant)
    await services.house.pay(merchant, late, services.house.scb)
    view = await shown(client, merchant, late)
    assert (view["status"], view["qualifiers"], view["amount_captured"]) == ("expired", ["overpaid"], 0)
    after = await services.house.balances(merchant)
    assert after["payer_refundable"] == 50_000
    assert after["merchant_pending"] == before["merchant_pending"]
    assert (await services.house.entries(merchant))[-1] == "payer_money_held"
    assert (await services.house.event_types(merchant))[-1] == "payment_intent.overpaid"
    # Told twice, and asked about again, it is still the payer's.
    await services.house.pay(merchant, late, services.house.scb)
    fact = await services.house.paid_fact(late, services.house.scb, kind=FactKind.EXPIRED, transaction="again")
    await services.house.applier.apply(fact, book_id=merchant.book_id)
    assert (await shown(client, merchant, late))["qualifiers"] == ["overpaid"]
    assert (await client.get(f"{URL}/{link['id']}", headers=merchant.headers())).json()["uses"] == 1
    back = await client.post(f"/v1/payment_intents/{late.id}/return_held", headers=merchant.money("back"), json={})
    assert (back.status_code, back.json()["amount"]) == (201, 50_000)


async def test_told_late_and_paid_by_nobody_else_it_is_the_payment(client, services, merchant):
    link = await made(client, merchant)
    [late] = await expired(client, services, merchant, link, 1)
    await services.house.pay(merchant, late, services.house.scb)
    view = await shown(client, merchant, late)
    assert (view["status"], view["qualifiers"], view["amount_captured"]) == ("succeeded", [], 50_000)
    problem(await pay(client, link, "k2"), 409, "payment_link_used")


@pytest.mark.parametrize("uses_max", [1, 2])
async def test_told_of_three_at_once_as_many_are_the_merchants_as_there_are_uses(client, services, merchant, uses_max):
    link = await made(client, merchant, uses_max=uses_max)
    late = await expired(client, services, merchant, link, 3)
    house = services.house
    await asyncio.gather(*(house.pay(merchant, each, house.scb, transaction=f"txn_{each.id}") for each in late))
    views = [await shown(client, merchant, each) for each in late]
    assert sorted(view["amount_captured"] for view in views) == [0] * (3 - uses_max) + [50_000] * uses_max
    assert [view["qualifiers"] for view in views if not view["amount_captured"]] == [["overpaid"]] * (3 - uses_max)
    assert (await house.balances(merchant))["payer_refundable"] == (3 - uses_max) * 50_000


async def test_who_pays_while_money_of_another_arrives_pays_too_much(client, services, merchant):
    link = await made(client, merchant)
    [late] = await expired(client, services, merchant, link, 1)
    paying = (await pay(client, link, "k2")).json()
    await services.house.pay(merchant, late, services.house.scb)
    assert (await shown(client, merchant, late))["status"] == "succeeded"
    principal = await services.house.principal(merchant.account_id, merchant.book_id)
    second = await services.house.intents.get(principal, paying["id"])
    await services.house.pay(merchant, second, services.house.scb, transaction="txn_2")
    view = await shown(client, merchant, second)
    assert (view["qualifiers"], view["amount_captured"]) == (["overpaid"], 0)
    assert (await services.house.balances(merchant))["payer_refundable"] == 50_000


async def test_a_forged_token_is_not_found_and_opens_no_other_payment(client, merchant):
    link, other = await made(client, merchant), await made(client, merchant)
    payment = (await pay(client, link)).json()["id"]
    for token in ("x", link["token"][:-1], link["token"] + "A", link["id"], "%E0%B8%81" * 43):
        problem(await client.get(f"/v1/pay/{token}"), 404, "not_found")
        problem(await client.post(f"/v1/pay/{token}", json=QR, headers=key("f")), 404, "not_found")
    problem(await client.get(f"/v1/pay/{other['token']}/{payment}"), 404, "not_found")
    problem(await client.get(f"/v1/pay/{link['token']}/nonsense"), 404, "not_found")


async def test_payers_keys_are_not_the_merchants(client, merchant):
    link = await made(client, merchant)
    body = {"amount": 50_000, "currency": "thb", **QR}
    mine = (await client.post("/v1/payment_intents", json=body, headers=merchant.money("same"))).json()
    theirs = (await pay(client, link, "same")).json()
    assert theirs["id"] != mine["id"]


async def test_guesses_meet_the_limit_of_their_address(client, monkeypatch):
    monkeypatch.setattr(authentication, "PAYER_LIMIT", RateLimit(per_second=1, burst=2))
    answers = await asyncio.gather(*(client.get(f"/v1/pay/guess{number}") for number in range(20)))
    assert {answer.status_code for answer in answers} == {404, 429}
