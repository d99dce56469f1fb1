"""`QuickKub-Test-Fault`: the provider call of that very request goes wrong, of no other, and never a live one."""

import pytest

from gateway.foundation import test_faults as brought
from tests.api.conftest import problem
from tests.api.test_payment_intents import CARD, QR, URL

MANUAL = CARD | {"capture_method": "manual"}


@pytest.fixture
def carried(services, monkeypatch):
    """What the calls to omise would carry to the sandbox: operation asked for → header."""
    seen = []
    for operation in ("charge", "capture", "cancel", "refund", "inquire"):
        genuine = getattr(services.house.omise, operation)

        def noting(*arguments, operation=operation, genuine=genuine):
            seen.append((operation, brought.headers().get(brought.HEADER)))
            return genuine(*arguments)

        monkeypatch.setattr(services.house.omise, operation, noting)
    return seen


async def test_each_operation_carries_the_fault_that_its_request_brought(client, services, merchant, carried):
    async def sent(url, key, body, fault=None):
        headers = merchant.money(key) | ({} if fault is None else {"QuickKub-Test-Fault": fault})
        answer = await client.post(url, json=body, headers=headers)
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()["id"]

    first = await sent(URL, "k1", MANUAL, "timeout_after")
    await sent(f"{URL}/{first}/capture", "k2", {}, "server_error")
    await sent("/v1/refunds", "k3", {"payment_intent": first, "amount": 100}, "refund_fails_later")
    later = await sent(URL, "k4", {"amount": 100_000, "currency": "thb", "confirm": False, "capture_method": "manual"})
    how = {"payment_method": "card", "card_token": "tokn_1"}
    await sent(f"{URL}/{later}/confirm", "k5", how, "decline")
    await sent(f"{URL}/{later}/cancel", "k6", None, "malformed")
    await sent(URL, "k7", CARD)
    assert carried == [
        ("charge", "charge/timeout_after"),
        ("capture", "capture/server_error"),
        ("refund", "refund/refund_fails_later"),
        ("charge", "charge/decline"),
        ("cancel", "cancel/malformed"),
        ("charge", None),
    ]


async def test_what_may_not_go_wrong_is_refused_before_anything_begins(client, services, merchant, carried):
    fault = {"QuickKub-Test-Fault": "timeout_after"}
    live = merchant.live_headers(**{"Idempotency-Key": "k1"})
    problem(await client.post(URL, json=QR, headers=live | fault), 403, "test_mode_only")
    bad = {"QuickKub-Test-Fault": "pay_twice"}
    problem(await client.post(URL, json=QR, headers=live | bad), 403, "test_mode_only")
    said = problem(await client.post(URL, json=QR, headers=merchant.money("k1") | bad), 400, "test_fault_unknown")
    possible = "decline, malformed, server_error, slow, timeout_after, timeout_before"
    assert (said["param"], said["detail"]) == ("QuickKub-Test-Fault", f"A charge can meet: {possible}.")
    services.sandbox = None
    problem(await client.post(URL, json=QR, headers=merchant.money("k1") | fault), 403, "sandbox_off")
    assert (await services.house.rows("SELECT FROM gateway.payment_intents"), carried) == ([], [])
    assert (await client.post(URL, json=QR, headers=merchant.money("k1"))).status_code == 201


async def test_the_page_names_the_header_where_a_provider_is_asked(client):
    paths = (await client.get("/openapi.json")).json()["paths"]
    found = {
        path
        for path, item in paths.items()
        for parameter in item.get("post", {}).get("parameters", [])
        if parameter["name"] == "QuickKub-Test-Fault"
    }
    assert found == {
        "/v1/payment_intents",
        "/v1/payment_intents/{intent_id}/confirm",
        "/v1/payment_intents/{intent_id}/capture",
        "/v1/payment_intents/{intent_id}/cancel",
        "/v1/refunds",
    }
