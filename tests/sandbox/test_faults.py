"""Each fault on demand, ordered or by its magic amount, and that it is used up."""

import asyncio
import time

import httpx
import pytest

from gateway.sandbox.client import SandboxRefused

pytestmark = pytest.mark.asyncio(loop_scope="session")


QK = {"world": "7", "provider": "scb"}
OM = {"world": "7", "provider": "omise"}


async def charges(sandbox) -> list[dict]:
    return (await sandbox.books())["charges"]


async def test_charge_is_not_made_when_the_provider_times_out_before_acting(sandbox):
    await sandbox.control.add_fault(**OM, operation="charge", fault="timeout_before", seconds=5)
    sandbox.http.timeout = httpx.Timeout(0.5)
    with pytest.raises(httpx.ReadTimeout):
        await sandbox.charge_promptpay(5000)
    assert await charges(sandbox) == []
    assert (await sandbox.charge_promptpay(5000)).status_code == 200


async def test_charge_is_made_when_the_provider_times_out_after_acting(sandbox):
    await sandbox.control.add_fault(**OM, operation="charge", fault="timeout_after", seconds=5)
    sandbox.http.timeout = httpx.Timeout(0.5)
    with pytest.raises(httpx.ReadTimeout):
        await sandbox.charge_card(5000, metadata={"provider_key": "QKLOST"})
    found = (await sandbox.omise("GET", "/search", params={"scope": "charge", "query": "QKLOST"})).json()
    assert [charge["status"] for charge in found["data"]] == ["successful"]


async def test_world_answers_others_when_one_answer_is_held_back(sandbox):
    await sandbox.control.add_fault(**OM, operation="inquiry", fault="timeout_after", seconds=1.5)
    started = time.monotonic()
    held = asyncio.create_task(sandbox.omise("GET", "/charges"))
    await asyncio.sleep(0.2)
    assert (await sandbox.omise("GET", "/charges")).status_code == 200
    assert not held.done()
    assert (await held).status_code == 200
    assert time.monotonic() - started >= 1.5


async def test_error_is_the_providers_own_when_a_server_error_is_ordered(sandbox):
    await sandbox.control.add_fault(**OM, operation="charge", fault="server_error", times=2)
    for _ in range(2):
        answer = await sandbox.charge_promptpay(5000)
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert await charges(sandbox) == []
    await sandbox.control.add_fault(**QK, operation="charge", fault="server_error")
    assert (await sandbox.create_qr()).json()["status"]["code"] == 9700
    await sandbox.control.add_fault(world="7", provider="bank", operation="statement", fault="server_error")
    assert (await sandbox.bank("GET", "/statements/2026-01-01")).status_code == 500
    assert (await sandbox.create_qr()).status_code == 200


async def test_answer_is_cut_off_though_the_charge_is_made_when_malformed_is_ordered(sandbox):
    await sandbox.control.add_fault(**QK, operation="charge", fault="malformed", amount_minor=123456)
    assert (await sandbox.create_qr("QKOTHER", "1.00")).json()["status"]["code"] == 1000
    answer = await sandbox.create_qr()
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()
    assert [charge["reference"] for charge in await charges(sandbox)] == ["QKOTHER", "QK2026000001"]


async def test_decline_is_used_up_when_it_has_struck(sandbox):
    await sandbox.control.add_fault(**OM, operation="charge", fault="decline", code="stolen_or_lost_card")
    declined = (await sandbox.charge_card(5000)).json()
    assert (declined["status"], declined["failure_code"]) == ("failed", "stolen_or_lost_card")
    charge = (await sandbox.charge_card(5000)).json()
    assert charge["status"] == "successful"
    await sandbox.control.add_fault(**OM, operation="refund", fault="decline")
    path = f"/charges/{charge['id']}/refunds"
    refused = await sandbox.omise("POST", path, json={"amount": 5000})
    assert (refused.status_code, refused.json()["code"]) == (400, "failed_refund")
    assert (await sandbox.omise("POST", path, json={"amount": 5000})).json()["status"] == "closed"
    await sandbox.control.add_fault(**QK, operation="charge", fault="decline")
    assert (await sandbox.create_qr()).status_code == 400
    assert (await sandbox.create_qr()).status_code == 200


async def test_refund_fails_later_without_touching_the_balance_when_ordered(sandbox, gateway):
    charge = (await sandbox.charge_card(10_000)).json()
    await sandbox.control.add_fault(**OM, operation="refund", fault="refund_fails_later", seconds=1)
    refund = (await sandbox.omise("POST", f"/charges/{charge['id']}/refunds", json={"amount": 4_000})).json()
    assert (refund["status"], refund["transaction"]) == ("pending", None)
    assert (await sandbox.omise("GET", f"/charges/{charge['id']}")).json()["refunded_amount"] == 4_000
    told = await gateway.wait_for(4)
    assert [event.fields["key"] for event in told][2:] == ["refund.create", "refund.update"]
    assert told[3].fields["data"]["status"] == "failed"
    assert (await sandbox.omise("GET", f"/charges/{charge['id']}")).json()["refunded_amount"] == 0
    assert (await sandbox.books())["omise_balance"]["total_minor"] == 10_000 - 365 - 26


async def test_payer_pays_wrongly_or_twice_when_ordered(sandbox):
    await sandbox.control.add_fault(**QK, operation="pay", fault="pay_wrong_amount")
    await sandbox.control.add_fault(**QK, operation="pay", fault="pay_wrong_amount", paid_minor=777)
    await sandbox.control.add_fault(**QK, operation="pay", fault="pay_twice")
    await sandbox.create_qr()
    paid = [
        [payment.amount_minor for payment in await sandbox.control.pay(**QK, reference="QK2026000001")]
        for _ in range(4)
    ]
    assert paid == [[123356], [777], [123456, 123456], [123456]]


async def test_magic_amount_declines_once_when_the_same_request_is_repeated(sandbox):
    first = (await sandbox.charge_promptpay(7_770_02)).json()
    assert (first["status"], first["failure_code"]) == ("failed", "stolen_or_lost_card")
    assert (await sandbox.charge_promptpay(7_770_02)).json()["status"] == "pending"
    other = await sandbox.charge_promptpay(7_770_02, metadata={"another": "request"})
    assert other.json()["status"] == "failed"


async def test_order_is_refused_when_the_fault_cannot_befall_the_operation(sandbox):
    for wrong in (
        {"operation": "charge", "fault": "pay_twice"},
        {"operation": "moon", "fault": "decline"},
        {"operation": "pay", "fault": "pay_twice"},
        {"operation": "payout", "fault": "payout_returned"},
    ):
        with pytest.raises(SandboxRefused) as refused:
            await sandbox.control.add_fault(**OM, **wrong)
        assert (refused.value.status, refused.value.code) == (400, "invalid_fault")
    assert (await sandbox.books())["faults"] == []
