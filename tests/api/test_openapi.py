"""The OpenAPI description says what a client needs to know before its first request, and no more than is true."""

import pytest

from gateway.api.openapi_page import _METHODS

NEEDS_A_KEY = {
    ("/v1/disputes/{dispute_id}/accept", "post"),
    ("/v1/disputes/{dispute_id}/evidence", "post"),
    ("/v1/payment_intents", "post"),
    ("/v1/payment_intents/{intent_id}/cancel", "post"),
    ("/v1/payment_intents/bulk", "post"),
    ("/v1/payment_intents/{intent_id}/capture", "post"),
    ("/v1/payment_intents/{intent_id}/confirm", "post"),
    ("/v1/payment_intents/{intent_id}/return_held", "post"),
    ("/v1/payment_intents/{intent_id}/accept_held", "post"),
    ("/v1/pay/{token}", "post"),
    ("/v1/refunds", "post"),
}
OPEN_WITH_A_TOKEN = ("/v1/pay/", "/v1/refund_claims/")
"""What payers open, who have no key."""


@pytest.fixture
async def operations(client):
    paths = (await client.get("/openapi.json")).json()["paths"]
    return {(path, method): item[method] for path, item in paths.items() for method in _METHODS if method in item}


async def test_what_moves_money_asks_for_an_idempotency_key(operations):
    found = {
        place
        for place, operation in operations.items()
        for parameter in operation.get("parameters", [])
        if (parameter["name"], parameter["in"], parameter["required"]) == ("Idempotency-Key", "header", True)
    }
    assert found == NEEDS_A_KEY


async def test_everything_under_v1_asks_for_an_api_key_and_nothing_else_does(client, operations):
    schemes = (await client.get("/openapi.json")).json()["components"]["securitySchemes"]
    assert {name: scheme["scheme"] for name, scheme in schemes.items()} == {"bearer": "bearer", "basic": "basic"}
    for (path, _), operation in operations.items():
        needs_a_key = path.startswith("/v1/") and not path.startswith(OPEN_WITH_A_TOKEN)
        assert operation.get("security", []) == ([{"bearer": []}, {"basic": []}] if needs_a_key else [])


async def test_every_no_that_an_address_can_say_is_described(operations):
    for (path, method), operation in operations.items():
        statuses = set(operation["responses"])
        if path.startswith(OPEN_WITH_A_TOKEN):
            assert {"400", "404", "429", "503"} <= statuses, path
        elif path.startswith("/v1/"):
            assert {"400", "401", "403", "404", "429", "503"} <= statuses, path
        if "requestBody" in operation:
            assert {"409", "413", "415"} <= statuses, path
        if (path, method) in NEEDS_A_KEY:
            assert {"402", "409", "422", "502"} <= statuses, path
    assert "404" in operations["/problems/{code}", "get"]["responses"]
    assert "502" in operations["/v1/test/clock/advance", "post"]["responses"]
