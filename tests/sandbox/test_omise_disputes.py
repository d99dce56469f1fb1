"""Omise's disputes over plain HTTP: money taken when one is opened, returned when it is won."""

import pytest

from gateway.sandbox.client import SandboxRefused

from .test_omise import error_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def balance(sandbox) -> int:
    return (await sandbox.omise("GET", "/balance")).json()["total"]


async def opened(sandbox, amount=10_000) -> tuple[dict, dict]:
    charge = (await sandbox.charge_card(amount)).json()
    body = {"reason_code": "fraudulent"}
    return charge, (await sandbox.omise("POST", f"/charges/{charge['id']}/disputes", json=body)).json()


async def test_an_opened_dispute_takes_the_money_and_tells(sandbox, gateway):
    charge, dispute = await opened(sandbox)
    assert (dispute["status"], dispute["amount"], dispute["charge"]) == ("open", 10_000, charge["id"])
    assert await balance(sandbox) == charge["net"] - 10_000
    told = await gateway.wait_for(3)
    assert [event.fields["data"] for event in told if event.fields["key"] == "dispute.create"] == [dispute]
    assert (await sandbox.omise("GET", f"/disputes/{dispute['id']}")).json() == dispute
    transaction = (await sandbox.omise("GET", f"/transactions/{dispute['transactions'][0]}")).json()
    assert (transaction["direction"], transaction["origin"]) == ("debit", dispute["id"])


async def test_a_won_dispute_returns_the_money_once(sandbox):
    charge, dispute = await opened(sandbox)
    order = {"world": "7", "provider": "omise", "reference": charge["id"], "outcome": "won"}
    await sandbox.control.dispute(**order)
    assert await balance(sandbox) == charge["net"]
    with pytest.raises(SandboxRefused):
        await sandbox.control.dispute(**order)
    assert await balance(sandbox) == charge["net"]
    won = (await sandbox.omise("GET", f"/disputes/{dispute['id']}")).json()
    assert (won["status"], won["closed_at"] is not None, len(won["transactions"])) == ("won", True, 2)


async def test_an_answer_makes_it_pending_and_giving_in_ends_it(sandbox):
    charge, dispute = await opened(sandbox)
    path = f"/disputes/{dispute['id']}"
    body = {"message": "a bicycle", "metadata": {"receipt": "file_1"}}
    answered = (await sandbox.omise("PATCH", path, json=body)).json()
    assert (answered["status"], answered["message"], answered["metadata"]) == ("pending", "a bicycle", body["metadata"])
    assert (await sandbox.omise("PATCH", f"{path}/accept", json={})).json()["status"] == "lost"
    assert error_of(await sandbox.omise("PATCH", path, json={"message": "late"})) == (400, "bad_request")
    assert await balance(sandbox) == charge["net"] - 10_000
    for which, count in (("", 1), ("/open", 0), ("/pending", 0), ("/closed", 1)):
        assert (await sandbox.omise("GET", f"/disputes{which}")).json()["total"] == count


async def test_what_cannot_be_disputed_or_refunded_is_refused(sandbox):
    charge, _ = await opened(sandbox)
    again = await sandbox.omise("POST", f"/charges/{charge['id']}/disputes", json={})
    assert error_of(again) == (400, "invalid_charge")
    nowhere = await sandbox.omise("POST", "/charges/chrg_test_none/disputes", json={})
    assert error_of(nowhere) == (404, "not_found")
    qr = (await sandbox.charge_promptpay(5000)).json()
    assert error_of(await sandbox.omise("POST", f"/charges/{qr['id']}/disputes", json={})) == (400, "invalid_charge")
    refund = await sandbox.omise("POST", f"/charges/{charge['id']}/refunds", json={"amount": 100})
    assert error_of(refund) == (400, "failed_refund")
    assert error_of(await sandbox.omise("GET", "/disputes/dspt_test_none")) == (404, "not_found")
    for order in (
        {"provider": "scb", "reference": "x"},
        {"provider": "omise", "reference": qr["id"], "outcome": "won"},
        {"provider": "omise", "reference": "chrg_test_none"},
    ):
        with pytest.raises(SandboxRefused):
            await sandbox.control.dispute(world="7", **order)
