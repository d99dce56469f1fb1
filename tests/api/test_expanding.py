"""`expand[]`: related objects in place of their ids, of the own account only, and for keys that may read them."""

import pytest

from gateway.merchants import api_keys
from gateway.merchants.principals import Scope
from tests.api.conftest import new_merchant, problem
from tests.api.test_disputes import disputed
from tests.api.test_payment_intents import CARD, URL


@pytest.fixture
async def paid(client, merchant):
    person = {"name": "A payer", "email": "payer@example.test"}
    customer = (await client.post("/v1/customers", json=person, headers=merchant.headers())).json()
    body = CARD | {"customer": customer["id"]}
    intent = (await client.post(URL, json=body, headers=merchant.money("paid"))).json()
    refunds = []
    for number in range(12):
        wanted = {"payment_intent": intent["id"], "amount": 1_00}
        made = await client.post("/v1/refunds", json=wanted, headers=merchant.money(f"r{number}"))
        assert made.status_code == 201, made.text
        refunds.append(made.json())
    return customer, intent["id"], refunds


async def read(client, merchant, url, *paths):
    query = "&".join(f"expand[]={path}" for path in paths)
    answer = await client.get(f"{url}?{query}", headers=merchant.headers())
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_payment_is_read_with_its_customer_refunds_and_disputes(client, merchant, paid):
    customer, payment, refunds = paid
    plain = await read(client, merchant, f"{URL}/{payment}")
    assert plain["customer"] == customer["id"]
    assert {"refunds", "disputes"}.isdisjoint(plain)
    full = await read(client, merchant, f"{URL}/{payment}", "customer", "refunds", "disputes")
    assert (full["customer"], full["disputes"]["data"]) == (customer, [])
    assert full["refunds"] == {
        "object": "list",
        "data": refunds[:1:-1],
        "has_more": True,
        "url": f"/v1/refunds?payment_intent={payment}",
    }
    for name in ("customer", "refunds", "disputes"):
        full.pop(name)
        plain.pop(name, None)
    assert full == plain
    listed = await read(client, merchant, URL, "data.customer", "data.refunds")
    assert ([each["customer"] for each in listed["data"]], listed["data"][0]["refunds"]["has_more"]) == (
        [customer],
        True,
    )


async def test_refunds_and_disputes_are_read_with_their_payment_and_its_customer(client, services, merchant, paid):
    customer, payment, refunds = paid
    one = await read(client, merchant, f"/v1/refunds/{refunds[0]['id']}", "payment_intent")
    assert (one["payment_intent"]["id"], one["payment_intent"]["customer"]) == (payment, customer["id"])
    assert one["payment_intent"] == await read(client, merchant, f"{URL}/{payment}")
    listed = await read(client, merchant, "/v1/refunds", "data.payment_intent.customer")
    assert [each["payment_intent"]["customer"] for each in listed["data"]] == [customer] * 10
    _, dispute = await disputed(client, services, merchant)
    full = await read(client, merchant, f"/v1/disputes/{dispute}", "payment_intent.customer")
    assert (full["payment_intent"]["object"], full["payment_intent"]["customer"]) == ("payment_intent", None)
    [row] = (await read(client, merchant, "/v1/disputes", "data.payment_intent"))["data"]
    assert row["payment_intent"]["id"] == full["payment_intent"]["id"]
    again = await read(client, merchant, f"{URL}/{full['payment_intent']['id']}", "disputes")
    assert [each["id"] for each in again["disputes"]["data"]] == [dispute]


async def test_what_cannot_be_written_out_is_refused_in_this_order(client, services, merchant, paid):
    _, payment, _ = paid
    async with services.database.transaction() as connection:
        key = await api_keys.create(
            connection, services.vault, merchant.account_id, livemode=False, scopes=[Scope.PAYMENTS_READ]
        )
    few = {"Authorization": f"Bearer {key.secret}"}

    async def asked(url, *paths):
        return await client.get(f"{url}?" + "&".join(f"expand[]={path}" for path in paths), headers=few)

    said = problem(await asked(f"{URL}/{payment}", *["nothing"] * 11), 400, "parameter_invalid")
    assert said["param"] == "expand[]"
    said = problem(await asked(f"{URL}/{payment}", "customer", "charges"), 400, "expand_unknown")
    assert said["detail"] == "'charges' is none of: customer, refunds, disputes."
    said = problem(await asked(URL, "customer"), 400, "expand_unknown")
    assert said["detail"] == "'customer' is none of: data.customer, data.refunds, data.disputes."
    said = problem(await asked(f"{URL}/{payment}", "customer"), 403, "scope_missing")
    assert said["detail"] == "customer needs a key with the scope customers:read."
    assert (await asked(f"{URL}/{payment}")).status_code == 200
    unknown = await client.get("/v1/customers?expand[]=x", headers=merchant.headers())
    problem(unknown, 400, "parameter_unknown")
    other = await new_merchant(services, "other@example.test")
    stranger = await client.get(f"{URL}/{payment}?expand[]=customer", headers=other.headers())
    problem(stranger, 404, "not_found")


async def test_the_page_says_what_can_be_written_out(client):
    page = (await client.get("/openapi.json")).json()
    found = {
        path
        for path, item in page["paths"].items()
        for parameter in item.get("get", {}).get("parameters", [])
        if parameter["name"] == "expand[]"
    }
    assert found == {
        URL,
        f"{URL}/{{intent_id}}",
        "/v1/refunds",
        "/v1/refunds/{refund_id}",
        "/v1/disputes",
        "/v1/disputes/{dispute_id}",
    }
    schemas = page["components"]["schemas"]
    assert "refunds" in schemas["ExpandedIntent"]["properties"]
    assert "refunds" not in schemas["ExpandedIntent"]["required"]
    assert "refunds" not in schemas["Intent"]["properties"]
