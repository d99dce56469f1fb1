"""Test mode: time passes and payers pay when told to, in the merchant's own test book only."""

from datetime import timedelta

from gateway.foundation.clock import real_now
from gateway.payments.requests import provider_key_of
from tests.api.conftest import new_merchant, problem
from tests.api.test_payment_intents import QR

ADVANCE = "/v1/test/clock/advance"


async def test_time_passes_in_the_sandbox_and_then_in_the_book(client, services, merchant):
    to = real_now() + timedelta(days=1)
    moved = await client.post(ADVANCE, json={"to": to.isoformat()}, headers=merchant.headers())
    assert (moved.status_code, moved.json()["offset_seconds"]) == (200, 86_400)
    assert services.sandbox.offsets == {str(merchant.book_id): 86_400}
    shown = await client.get("/v1/test/clock", headers=merchant.headers())
    assert shown.json()["offset_seconds"] == 86_400
    created = await client.post("/v1/payment_intents", json=QR, headers=merchant.money("k1"))
    assert created.json()["created_at"] >= to.isoformat()[:19]

    other = await new_merchant(services, "other@example.test")
    assert (await client.get("/v1/test/clock", headers=other.headers())).json()["offset_seconds"] == 0


async def test_time_that_cannot_pass_does_not(client, services, merchant):
    ahead = {"to": (real_now() + timedelta(days=2)).isoformat()}
    services.sandbox.is_reachable = False
    problem(await client.post(ADVANCE, json=ahead, headers=merchant.headers()), 502, "sandbox_unreachable")
    services.sandbox.is_reachable = True
    for to, status, code in (
        ((real_now() - timedelta(days=1)).isoformat(), 409, "clock_only_moves_forward"),
        ((real_now() + timedelta(days=5000)).isoformat(), 400, "clock_too_far_ahead"),
        ("2026-12-01T00:00:00", 400, "parameter_invalid"),
        ("tomorrow", 400, "parameter_invalid"),
    ):
        body = problem(await client.post(ADVANCE, json={"to": to}, headers=merchant.headers()), status, code)
        assert body["param"] == "to"
    problem(await client.post(ADVANCE, json=ahead, headers=merchant.live_headers()), 403, "test_mode_only")
    assert services.sandbox.offsets == {}
    assert (await client.get("/v1/test/clock", headers=merchant.headers())).json()["offset_seconds"] == 0


async def test_a_payer_pays_what_is_asked_or_something_else(client, services, merchant):
    intent = (await client.post("/v1/payment_intents", json=QR, headers=merchant.money("k1"))).json()
    pay = f"/v1/test/payments/{intent['id']}/pay"
    paid = await client.post(pay, json={"amount": 99_900, "silent": True}, headers=merchant.headers())
    assert (paid.status_code, paid.json()["payment_intent"]) == (200, intent["id"])
    assert paid.json()["transactions"] == [{"transaction_id": "txn_1", "amount_minor": 99_900}]
    reference = intent["latest_attempt"]["provider_reference"]
    details = {"amount_minor": 99_900, "transaction_count": 1, "silent": True}
    assert services.sandbox.paid == [(str(merchant.book_id), "scb", reference, details)]
    problem(await client.post(pay, json={}, headers=merchant.headers()), 409, "payment_not_payable")
    other = await new_merchant(services, "other@example.test")
    problem(await client.post(pay, json={}, headers=other.headers()), 404, "not_found")
    services.sandbox = None
    problem(await client.post(pay, json={}, headers=merchant.headers()), 403, "sandbox_off")


async def test_a_provider_goes_wrong_on_order_in_the_own_book_only(client, services, merchant):
    order = {"provider": "omise", "operation": "charge", "fault": "timeout_after", "amount": 123_400, "seconds": 3}
    ordered = await client.post("/v1/test/faults", json=order, headers=merchant.headers())
    assert (ordered.status_code, ordered.json()) == (200, {"object": "test_fault", "id": "fault_1"})
    details = {"amount_minor": 123_400, "seconds": 3}
    assert services.sandbox.faults == [(str(merchant.book_id), "omise", "charge", "timeout_after", 1, details)]
    wrong = await client.post("/v1/test/faults", json={**order, "provider": "moon"}, headers=merchant.headers())
    assert problem(wrong, 400, "parameter_invalid")["param"] == "fault"
    problem(await client.post("/v1/test/faults", json=order, headers=merchant.live_headers()), 403, "test_mode_only")
    assert len(services.sandbox.faults) == 1


async def test_a_forged_callback_is_sent_about_a_payment_of_the_own_book(client, services, merchant):
    intent = (await client.post("/v1/payment_intents", json=QR, headers=merchant.money("k1"))).json()
    forge = f"/v1/test/payments/{intent['id']}/forge"
    assert (await client.post(forge, headers=merchant.headers())).json()["payment_intent"] == intent["id"]
    reference = intent["latest_attempt"]["provider_reference"]
    assert services.sandbox.forged == [(str(merchant.book_id), "scb", reference)]
    other = await new_merchant(services, "other@example.test")
    problem(await client.post(forge, headers=other.headers()), 404, "not_found")


async def test_a_payer_pays_a_payment_whose_answer_was_lost(client, services, merchant):
    services.house.providers["scb"].charge_script.append("lost_after")
    intent = (await client.post("/v1/payment_intents", json=QR, headers=merchant.money("k1"))).json()
    assert intent["latest_attempt"]["provider_reference"] is None
    pay = f"/v1/test/payments/{intent['id']}/pay"
    assert (await client.post(pay, json={}, headers=merchant.headers())).status_code == 200
    [(_, provider, reference, _)] = services.sandbox.paid
    assert (provider, reference) == ("scb", provider_key_of(intent["latest_attempt"]["id"]))
