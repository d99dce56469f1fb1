"""Customers over HTTP: kept sealed, changed, erased; and the payments that are theirs."""

from gateway.merchants import api_keys
from gateway.merchants.principals import Scope
from tests.api.conftest import new_merchant, problem
from tests.api.test_payment_intents import QR
from tests.statements import noted

URL = "/v1/customers"
PAYMENTS = "/v1/payment_intents"
SOMEBODY = {"name": "Planted Name", "email": "Payer@Example.test", "phone": "+66 81 000 4242", "metadata": {"vip": "1"}}


async def made(client, merchant, **more):
    answer = await client.post(URL, json=SOMEBODY | more, headers=merchant.headers())
    assert answer.status_code == 201, answer.json()
    return answer.json()


async def test_a_customer_is_made_read_changed_and_erased(client, services, merchant):
    customer = await made(client, merchant)
    url = f"{URL}/{customer['id']}"
    assert customer["id"].startswith("cus_test_")
    assert {name: customer[name] for name in SOMEBODY} == SOMEBODY
    assert (customer["object"], customer["version"], customer["deleted"]) == ("customer", 1, False)
    assert (await client.get(url, headers=merchant.headers())).json() == customer
    changed = await client.post(url, json={"name": "", "email": "new@example.test"}, headers=merchant.headers())
    assert changed.status_code == 200
    read = changed.json()
    assert (read["name"], read["email"], read["phone"], read["metadata"], read["version"]) == (
        None,
        "new@example.test",
        SOMEBODY["phone"],
        {"vip": "1"},
        2,
    )
    deleted = await client.delete(url, headers=merchant.headers())
    assert deleted.status_code == 200
    gone = deleted.json()
    assert (gone["name"], gone["email"], gone["phone"], gone["metadata"], gone["deleted"], gone["version"]) == (
        None,
        None,
        None,
        {},
        True,
        3,
    )
    assert (await client.delete(url, headers=merchant.headers())).json() == gone
    assert (await client.get(url, headers=merchant.headers())).json() == gone
    problem(await client.post(url, json={"name": "x"}, headers=merchant.headers()), 404, "not_found")
    assert (await client.get(URL, headers=merchant.headers())).json()["data"] == []
    moves = await services.house.rows("SELECT move, actor FROM gateway.customer_moves ORDER BY version")
    assert [move["move"] for move in moves] == ["created", "updated", "deleted"]
    assert {move["actor"] for move in moves} == {merchant.account.test_key.key_id}


async def test_events_and_rows_say_nothing_that_names_a_customer(client, services, merchant):
    customer = await made(client, merchant)
    events = (await client.get("/v1/events", headers=merchant.headers())).json()["data"]
    assert [(item["type"], item["data"]["object"]) for item in events] == [
        ("customer.created", {"object": "customer", "id": customer["id"], "version": 1, "deleted": False})
    ]
    row = (await services.house.rows("SELECT row_to_json(c)::text AS everything FROM gateway.customers AS c"))[0]
    for planted in ("Planted", "Example", "example", "000 4242"):
        assert planted not in row["everything"]
        assert planted.encode().hex() not in row["everything"]


async def test_customers_are_found_by_address_and_listed_page_by_page(client, services, merchant):
    ids = [(await made(client, merchant, email=f"payer{number}@example.test"))["id"] for number in range(3)][::-1]

    async def page(**params):
        answer = await client.get(URL, params=params, headers=merchant.headers())
        assert answer.status_code == 200, answer.json()
        return [item["id"] for item in answer.json()["data"]], answer.json()["has_more"]

    assert await page() == (ids, False)
    assert await page(limit=2) == (ids[:2], True)
    assert await page(limit=2, starting_after=ids[1]) == (ids[2:], False)
    assert await page(limit=2, ending_before=ids[2]) == (ids[:2], False)
    assert await page(email="PAYER1@example.test") == (ids[1:2], False)
    assert await page(email="nobody@example.test") == ([], False)
    problem(
        await client.get(URL, params={"starting_after": "cus_test_" + "0" * 26}, headers=merchant.headers()),
        400,
        "cursor_invalid",
    )
    problem(await client.get(URL, params={"email": "nonsense"}, headers=merchant.headers()), 400, "parameter_invalid")


async def test_lists_ask_the_same_number_of_questions_for_any_number_of_rows(client, services, merchant, monkeypatch):
    asked = noted(monkeypatch, services.database)
    entry = {"kind": "ip", "value": "203.0.113.77", "reason": "x"}

    async def questions(url, **params):
        asked.clear()
        await client.get(url, params=params, headers=merchant.headers())
        return len(asked)

    customer = await made(client, merchant)
    await client.post("/v1/blocklist", json=entry, headers=merchant.headers())
    await client.post(PAYMENTS, json=QR | {"customer": customer["id"]}, headers=merchant.money("k"))
    lists = ((URL, {}), ("/v1/blocklist", {}), (PAYMENTS, {"customer": customer["id"]}), ("/v1/limits", {}))
    before = [await questions(url, **params) for url, params in lists]
    for number in range(4):
        await made(client, merchant)
        await client.post("/v1/blocklist", json=entry, headers=merchant.headers())
        await client.post(PAYMENTS, json=QR | {"customer": customer["id"]}, headers=merchant.money(f"k{number}"))
    assert [await questions(url, **params) for url, params in lists] == before


async def test_payments_are_listed_by_their_customer(client, services, merchant):
    one, two = await made(client, merchant), await made(client, merchant)
    paid = []
    for number, customer in enumerate((one, two, one)):
        body = QR | {"customer": customer["id"]}
        paid.append((await client.post(PAYMENTS, json=body, headers=merchant.money(f"k{number}"))).json())
    await client.post(PAYMENTS, json=QR, headers=merchant.money("k9"))
    assert [intent["customer"] for intent in paid] == [one["id"], two["id"], one["id"]]
    found = (await client.get(PAYMENTS, params={"customer": one["id"]}, headers=merchant.headers())).json()
    assert [item["id"] for item in found["data"]] == [paid[2]["id"], paid[0]["id"]]
    problem(
        await client.get(PAYMENTS, params={"customer": "x\x00"}, headers=merchant.headers()), 400, "parameter_invalid"
    )
    # Erased, the customer's payments still belong together.
    await client.delete(f"{URL}/{one['id']}", headers=merchant.headers())
    found = (await client.get(PAYMENTS, params={"customer": one["id"]}, headers=merchant.headers())).json()
    assert len(found["data"]) == 2


async def test_a_payments_customer_is_the_accounts_own_and_not_erased(client, services, merchant):
    other = await new_merchant(services, "other@example.test")
    theirs, erased = await made(client, other), await made(client, merchant)
    await client.delete(f"{URL}/{erased['id']}", headers=merchant.headers())
    for customer in (theirs["id"], erased["id"], "cus_test_" + "0" * 26, "nonsense"):
        answer = await client.post(PAYMENTS, json=QR | {"customer": customer}, headers=merchant.money("k1"))
        assert problem(answer, 400, "customer_unknown")["param"] == "customer"
    assert (await client.get(PAYMENTS, headers=merchant.headers())).json()["data"] == []
    assert services.house.scb.calls == []


async def test_nobody_sees_or_changes_the_customer_of_another(client, services, merchant):
    other = await new_merchant(services, "other@example.test")
    theirs = await made(client, other)
    for identifier in (theirs["id"], "cus_test_" + "0" * 26, "nonsense"):
        url = f"{URL}/{identifier}"
        problem(await client.get(url, headers=merchant.headers()), 404, "not_found")
        problem(await client.post(url, json={"name": "x"}, headers=merchant.headers()), 404, "not_found")
        problem(await client.delete(url, headers=merchant.headers()), 404, "not_found")
    problem(await client.get(f"{URL}/{theirs['id']}", headers=other.live_headers()), 404, "not_found")
    assert (await client.get(f"{URL}/{theirs['id']}", headers=other.headers())).json() == theirs


async def test_each_wrong_customer_is_refused(client, services, merchant):
    for body, code, param in (
        ({"email": "nonsense"}, "parameter_invalid", "email"),
        ({"email": "a@b\n"}, "parameter_invalid", "email"),
        ({"phone": "call me"}, "parameter_invalid", "phone"),
        ({"name": "x" * 256}, "parameter_invalid", "name"),
        ({"metadata": {"a[b]": "x"}}, "parameter_invalid", "metadata"),
        ({"address": "x"}, "parameter_unknown", "address"),
    ):
        answer = await client.post(URL, json=SOMEBODY | body, headers=merchant.headers())
        assert problem(answer, 400, code)["param"] == param, body
    assert (await client.get(URL, headers=merchant.headers())).json()["data"] == []


async def test_customers_have_scopes_of_their_own(client, services, merchant):
    async with services.database.transaction() as connection:
        key = await api_keys.create(
            connection,
            services.vault,
            merchant.account_id,
            livemode=False,
            name="reader",
            scopes=[Scope.CUSTOMERS_READ],
        )
    reader = {"Authorization": f"Bearer {key.secret}"}
    assert (await client.get(URL, headers=reader)).status_code == 200
    problem(await client.post(URL, json=SOMEBODY, headers=reader), 403, "scope_missing")
    problem(await client.get("/v1/blocklist", headers=reader), 403, "scope_missing")
    problem(await client.get("/v1/limits", headers=reader), 403, "scope_missing")
