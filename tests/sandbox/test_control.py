"""The control interface: its key, its refusals, the clock."""

import pytest

from gateway.sandbox.client import SandboxControl, SandboxRefused

from .conftest import CREDENTIALS

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_control_is_closed_when_the_key_is_missing_or_wrong(sandbox):
    for headers in ({}, {"authorization": "Bearer guess"}, {"authorization": "control-key-of-the-tests"}):
        answer = await sandbox.http.get("/_control/books/7", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    async with SandboxControl(sandbox.url, "guess") as control:
        for call in (
            control.move_clock(world="7", offset_seconds=86_400),
            control.pay(world="7", provider="scb", reference="QK1", amount_minor=100),
            control.add_fault(world="7", provider="scb", operation="charge", fault="decline"),
            control.forge(world="7", provider="scb", reference="QK1"),
            control.configure(world="7", settings={}),
        ):
            with pytest.raises(SandboxRefused) as refused:
                await call
            assert refused.value.status == 401
    books = await sandbox.books()
    assert (books["charges"], books["faults"]) == ([], [])


async def test_body_is_refused_when_anything_in_it_is_unknown(sandbox):
    control = sandbox.control
    cases = {
        "invalid_body": [
            control.pay(world="7", provider="scb", reference="QK1", amount_minor=1.5),
            control.pay(world="7", provider="scb", reference="QK1", colour="red"),
            control.pay(world="7", provider="omise", reference="chrg_test_none", amount_minor=5),
            control.pay(world="7", provider="scb", reference="QK1", amount_minor=0),
            control.pay(world="7", provider="scb", reference="QK1", amount_minor=2**63),
            control.pay(world="7", provider="scb", reference="QK1", transaction_count=0),
            control.move_clock(world="7", offset_seconds=10**12),
            control.add_fault(world="7", provider="omise", operation="charge", fault="decline", times=0),
        ],
        "unknown_reference": [
            control.pay(world="7", provider="scb", reference="QK1"),
            control.pay(world="7", provider="omise", reference="chrg_test_none"),
        ],
        "unknown_world": [control.books("8"), control.move_clock(world="8", offset_seconds=1)],
        "invalid_settings": [
            control.configure(world="7", settings={"colour": 1}),
            control.configure(world="7", settings={"omise_hold_days": "1"}),
            control.configure(world="7", settings={"scb_fee_minor": -1}),
        ],
        "invalid_world": [control.configure(world="a b", settings={})],
        "invalid_credentials": [control.register_account(world="7", provider="scb", credentials={}, callback_url=None)],
        "credentials_taken": [
            control.register_account(world="8", provider="bank", credentials=CREDENTIALS["bank"], callback_url=None)
        ],
    }
    for code, calls in cases.items():
        for call in calls:
            with pytest.raises(SandboxRefused) as refused:
                await call
            assert refused.value.code == code
    assert (await sandbox.books())["charges"] == []


async def test_clock_only_goes_forward_when_moved(sandbox):
    await sandbox.pass_days(2)
    ahead = await sandbox.books()
    with pytest.raises(SandboxRefused) as refused:
        await sandbox.pass_days(1)
    assert refused.value.code == "clock_goes_forward_only"
    await sandbox.pass_days(2)
    assert (await sandbox.books())["today"] == ahead["today"]


async def test_omise_qr_cannot_be_paid_when_it_has_expired(sandbox, gateway):
    charge = (await sandbox.charge_promptpay(5000)).json()
    await sandbox.pass_days(2)
    with pytest.raises(SandboxRefused) as refused:
        await sandbox.control.pay(world="7", provider="omise", reference=charge["id"])
    assert refused.value.code == "invalid_charge"
    charge = (await sandbox.omise("GET", f"/charges/{charge['id']}")).json()
    assert (charge["status"], charge["expired"]) == ("expired", True)
    told = [event.fields["key"] for event in await gateway.wait_for(2)]
    assert told == ["charge.create", "charge.expire"]


async def test_registering_again_changes_nothing_but_the_address(sandbox):
    await sandbox.create_qr()
    before = await sandbox.books()
    await sandbox.register()
    after = await sandbox.books()
    assert (after["charges"], after["settings"]) == (before["charges"], before["settings"])


async def test_worlds_do_not_see_each_other_when_both_are_registered(sandbox):
    await sandbox.create_qr()
    await sandbox.control.configure(world="8", settings={"scb_fee_minor": 0})
    other = await sandbox.control.books("8")
    assert (other["charges"], other["settings"]["scb_fee_minor"]) == ([], 0)
    assert (await sandbox.books())["settings"]["scb_fee_minor"] == 200
