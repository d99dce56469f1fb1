"""Who may do what: keys, modes and scopes, and the same silence for everybody else."""

import base64

from gateway.api.routes import ROUTES
from gateway.app import app_with
from gateway.merchants import api_keys
from gateway.merchants.principals import Scope
from tests.api.conftest import new_merchant, problem


def basic(user):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:".encode()).decode()}


async def test_a_key_opens_as_bearer_and_as_basic_user_name(client, merchant):
    secret = merchant.account.test_key.secret
    for headers in (merchant.headers(), basic(secret), {"Authorization": f"bearer  {secret} "}):
        response = await client.get("/v1/balance", headers=headers)
        assert (response.status_code, response.json()["livemode"]) == (200, False)
    live = await client.get("/v1/balance", headers=merchant.live_headers())
    assert live.json()["livemode"] is True


async def test_without_a_key_in_force_nothing_opens(client, merchant):
    for headers, code in (
        ({}, "authentication_required"),
        ({"Authorization": ""}, "authentication_required"),
        ({"Authorization": "Bearer"}, "authentication_required"),
        ({"Authorization": "Basic !!!"}, "authentication_required"),
        ({"Authorization": "Digest x"}, "authentication_required"),
        ({"Authorization": "Bearer sk_test_" + "x" * 40}, "key_invalid"),
        ({"Authorization": "Bearer ok_" + "x" * 40}, "key_invalid"),
        (basic("sk_live_" + "x" * 40), "key_invalid"),
    ):
        response = await client.get("/v1/balance", headers=headers)
        problem(response, 401, code)
        assert response.headers["www-authenticate"].startswith("Bearer")


async def test_a_revoked_key_stops_at_the_next_request(client, services, merchant):
    assert (await client.get("/v1/balance", headers=merchant.headers())).status_code == 200
    async with services.database.transaction() as connection:
        await api_keys.revoke(connection, merchant.account.test_key.key_id)
    problem(await client.get("/v1/balance", headers=merchant.headers()), 401, "key_invalid")


async def test_a_key_may_do_what_its_scopes_say_and_no_more(client, services, merchant):
    async with services.database.transaction() as connection:
        key = await api_keys.create(
            connection, services.vault, merchant.account_id, livemode=False, scopes=[Scope.EVENTS_READ]
        )
    headers = {"Authorization": f"Bearer {key.secret}"}
    assert (await client.get("/v1/events", headers=headers)).status_code == 200
    body = problem(await client.get("/v1/balance", headers=headers), 403, "scope_missing")
    assert "balance:read" in body["detail"]


async def test_operators_read_the_ledger_and_merchants_do_not(client, merchant, operator_headers):
    entries = f"/v1/ledger/entries?book={merchant.book_id}"
    assert (await client.get(entries, headers=operator_headers)).json()["data"] == []
    problem(await client.get(entries, headers=merchant.headers()), 403, "scope_missing")
    problem(await client.get("/v1/balance", headers=operator_headers), 403, "scope_missing")


async def test_test_mode_is_for_test_keys(client, merchant):
    problem(await client.get("/v1/test/clock", headers=merchant.live_headers()), 403, "test_mode_only")


async def test_every_address_under_v1_asks_for_a_key(client, services):
    await new_merchant(services)
    # Callbacks, and where payers go: their secret is the token in the address.
    public = ("/v1/callbacks/", "/v1/pay/", "/v1/refund_claims/")
    asked = 0
    for route in _routes():
        if not route.path.startswith("/v1") or route.path.startswith(public):
            continue
        path = route.path_format.replace("{", "").replace("}", "")
        for method in sorted(set(route.methods) - {"OPTIONS"}):
            problem(await client.request(method, path), 401, "authentication_required")
            asked += 1
    assert asked >= 20


def _routes():
    assert ROUTES
    return app_with(None).app.routes
