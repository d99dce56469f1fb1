"""Callbacks: repeats, faults, and that none is lost when the sandbox dies."""

import asyncio
import time

import asyncpg
import pytest

from gateway.providers.base import Callback, CallbackRejected
from gateway.providers.omise import omise_wire

from .conftest import CREDENTIALS

pytestmark = pytest.mark.asyncio(loop_scope="session")


QK = {"world": "7", "provider": "scb"}
OM = {"world": "7", "provider": "omise"}


async def pay_qr(sandbox, ref1: str = "QK1") -> str:
    [paid] = await sandbox.control.pay(**QK, reference=ref1, amount_minor=5000)
    return paid.transaction_id


async def settled(sandbox) -> list[tuple[str, int]]:
    """State and number of tries of each callback, once none is queued."""
    async with asyncio.timeout(15):
        while True:
            callbacks = (await sandbox.books())["callbacks"]
            if all(callback["state"] != "queued" for callback in callbacks):
                return [(callback["state"], callback["attempts"]) for callback in callbacks]
            await asyncio.sleep(0.1)


async def test_scb_repeats_until_it_is_answered_when_the_gateway_fails(sandbox, gateway):
    gateway.refusals = 2
    transaction_id = await pay_qr(sandbox)
    told = await gateway.wait_for(3)
    assert {call.fields["transactionId"] for call in told} == {transaction_id}
    assert await settled(sandbox) == [("delivered", 3)]


async def test_scb_gives_up_after_three_repeats_when_never_answered(sandbox, gateway):
    gateway.refusals = 99
    await pay_qr(sandbox)
    assert await settled(sandbox) == [("failed", 4)]
    assert len(gateway.told) == 4


async def test_omise_gives_up_after_one_repeat_when_never_answered(sandbox, gateway):
    gateway.refusals = 99
    await sandbox.charge_promptpay(5000)
    assert await settled(sandbox) == [("failed", 2)]


async def test_callback_that_was_taken_is_not_repeated_when_its_outcome_cannot_be_stored_for_a_while(
    sandbox, shared, gateway
):
    _, owner = shared
    gateway.may_answer.clear()
    await pay_qr(sandbox)
    await gateway.wait_for(1)
    await owner.execute("ALTER TABLE sandbox.callback_queue RENAME TO nowhere")
    gateway.may_answer.set()
    await asyncio.sleep(1)
    await owner.execute("ALTER TABLE sandbox.nowhere RENAME TO callback_queue")
    assert await settled(sandbox) == [("delivered", 1)]
    assert len(gateway.told) == 1


async def test_callback_comes_twice_or_never_when_ordered(sandbox, gateway):
    await sandbox.control.add_fault(**QK, operation="callback", fault="callback_lost")
    await sandbox.control.add_fault(**QK, operation="callback", fault="callback_duplicate")
    await pay_qr(sandbox, "QKLOST")
    await pay_qr(sandbox, "QKTWICE")
    await gateway.wait_for(2)
    assert await settled(sandbox) == [("delivered", 1), ("delivered", 1)]
    assert [call.fields["billPaymentRef1"] for call in gateway.told] == ["QKTWICE", "QKTWICE"]
    assert gateway.told[0].body == gateway.told[1].body


async def test_callback_comes_late_when_ordered(sandbox, gateway):
    await sandbox.control.add_fault(**QK, operation="callback", fault="callback_late", seconds=2)
    started = time.monotonic()
    await pay_qr(sandbox)
    await gateway.wait_for(1)
    assert time.monotonic() - started >= 2


async def test_callback_is_overtaken_by_the_next_when_reordered(sandbox, gateway):
    await sandbox.control.add_fault(**QK, operation="callback", fault="callback_reordered", seconds=60)
    await pay_qr(sandbox, "QKFIRST")
    await pay_qr(sandbox, "QKSECOND")
    told = await gateway.wait_for(2)
    assert [call.fields["billPaymentRef1"] for call in told] == ["QKSECOND", "QKFIRST"]


async def test_callback_is_overtaken_by_the_next_of_the_same_operation_when_reordered(sandbox, gateway):
    await sandbox.control.add_fault(**QK, operation="callback", fault="callback_reordered", seconds=60)
    paid = await sandbox.control.pay(**QK, reference="QK1", amount_minor=5000, transaction_count=2)
    told = await gateway.wait_for(2)
    assert [call.fields["transactionId"] for call in told] == [paid[1].transaction_id, paid[0].transaction_id]


async def test_forged_callback_names_a_payment_that_nobody_finds_when_ordered(sandbox, gateway):
    await sandbox.control.add_fault(**QK, operation="callback", fault="callback_forged")
    transaction_id = await pay_qr(sandbox)
    told = [call.fields["transactionId"] for call in await gateway.wait_for(2)]
    assert transaction_id in told
    [forged] = set(told) - {transaction_id}
    slip = f"/v1/payment/billpayment/transactions/{forged}"
    assert (await sandbox.scb("GET", slip, params={"sendingBank": "014"})).status_code == 404


async def test_forged_event_has_a_wrong_signature_when_ordered(sandbox, gateway):
    charge = (await sandbox.charge_promptpay(5000)).json()
    await gateway.wait_for(1)
    await sandbox.control.forge(**OM, reference=charge["id"])
    forged = (await gateway.wait_for(2))[1]
    assert (forged.fields["data"]["status"], forged.fields["data"]["id"]) == ("successful", charge["id"])
    with pytest.raises(CallbackRejected):
        check(forged)
    check(gateway.told[0])
    assert (await sandbox.omise("GET", f"/charges/{charge['id']}")).json()["status"] == "pending"


def check(told) -> None:
    """Check a signature as the adapter does."""
    from gateway.foundation.clock import real_now

    callback = Callback(headers=told.headers, body=told.body, received_at=real_now())
    secret = CREDENTIALS["omise"]["webhook_secret"]
    omise_wire.check_signature(secret, callback.headers, callback.body, callback.received_at)


async def test_forged_confirmation_is_of_an_unpaid_qr_when_forged_by_hand(sandbox, gateway):
    await sandbox.create_qr()
    await sandbox.control.forge(**QK, reference="QK2026000001")
    forged = (await gateway.wait_for(1))[0].fields
    assert (forged["billPaymentRef1"], forged["amount"]) == ("QK2026000001", "1234.56")
    day = (await sandbox.books())["today"]
    assert (await sandbox.inquire("QK2026000001", day)).status_code == 404


async def test_event_goes_to_the_charges_own_addresses_when_it_has_some(sandbox, gateway):
    await sandbox.charge_promptpay(5000, webhook_endpoints=[f"{gateway.root}/callbacks/own"])
    assert [call.provider for call in await gateway.wait_for(1)] == ["own"]


async def test_callback_is_sent_after_the_restart_when_the_sandbox_died_with_it(mortal_sandbox, gateway):
    sandbox = mortal_sandbox
    await sandbox.control.add_fault(**QK, operation="callback", fault="callback_late", seconds=1)
    transaction_id = await pay_qr(sandbox)
    before = await sandbox.books()
    await sandbox.stop()
    assert gateway.told == []
    await sandbox.start()
    after = await sandbox.books()
    for name in ("charges", "bank_lines", "settings", "faults"):
        assert after[name] == before[name]
    told = await gateway.wait_for(1)
    assert told[0].fields["transactionId"] == transaction_id


async def test_callback_is_sent_again_when_the_sandbox_died_while_it_was_on_its_way(mortal_sandbox, gateway):
    sandbox, gateway.hangs = mortal_sandbox, True
    transaction_id = await pay_qr(sandbox)
    await gateway.wait_for(1)
    await sandbox.stop()
    gateway.hangs = False
    connection = await asyncpg.connect(sandbox.dsn)
    # The lease of the dead sender ends.
    assert (
        await connection.execute(
            "UPDATE sandbox.callback_queue SET due_at = created_at WHERE state = 'queued' AND attempts = 1"
        )
        == "UPDATE 1"
    )
    await connection.close()
    await sandbox.start()
    told = await gateway.wait_for(2)
    assert [call.fields["transactionId"] for call in told] == [transaction_id] * 2
    assert await settled(sandbox) == [("delivered", 2)]
