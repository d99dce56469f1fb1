"""Omise's disputes: every status in facts, answers and what becomes of them; by a scripted Omise and the sandbox."""

import pytest

from gateway.foundation.clock import real_now
from gateway.providers.base import Accepted, Declined, FactKind, Inquiry, Method, Unknown
from gateway.providers.disputes import DisputeAnswer, HandlesDisputes
from gateway.providers.http import ProviderHttp
from gateway.providers.omise import Omise
from gateway.providers.registry import Providers
from tests.providers.stub import account_at, serving
from tests.providers.test_against_sandbox import _account, _callback, _request
from tests.providers.test_omise import CHARGE, NOON, FakeOmise, _error
from tests.sandbox.conftest import WORLD, Sandbox

DISPUTE = {
    "object": "dispute",
    "id": "dspt_test_1",
    "livemode": False,
    "status": "open",
    "amount": 12345,
    "currency": "THB",
    "charge": "chrg_test_1",
    "reason_code": "goods_or_services_not_provided",
    "created_at": "2026-01-05T05:00:00Z",
    "closed_at": None,
}
ANSWER = DisputeAnswer(reference="dspt_test_1", text={"description": "a bicycle"}, files={"receipt": "file_1"})
TAKEN = [FactKind.DISPUTE_OPENED, FactKind.DISPUTE_FUNDS_WITHDRAWN]


async def ask(act, **replies):
    async with serving(FakeOmise(**replies)) as stub, ProviderHttp(timeout_seconds=10) as http:
        return await act(Omise(http), account_at(stub.url, "omise"))


async def inquired(dispute, **more):
    replies = {"GET /disputes/dspt_test_1": (200, dispute), "GET /charges/chrg_test_1": (200, CHARGE), **more}
    return await ask(lambda omise, account: omise.inquire(account, "dspt_test_1", NOON), **replies)


@pytest.mark.parametrize(
    ("status", "more"),
    [
        ("open", []),
        ("pending", [FactKind.DISPUTE_UNDER_REVIEW]),
        ("won", [FactKind.DISPUTE_WON]),
        ("lost", [FactKind.DISPUTE_LOST]),
    ],
)
async def test_each_status_is_told_in_facts_after_those_of_the_charge(status, more):
    closed_at = "2026-01-20T05:00:00Z" if status in {"won", "lost"} else None
    inquiry = await inquired({**DISPUTE, "status": status, "closed_at": closed_at})
    assert isinstance(inquiry, Inquiry)
    charge, *facts = inquiry.facts
    assert charge.kind is FactKind.CAPTURED
    assert [fact.kind for fact in facts] == [*TAKEN, *more]
    for fact in facts:
        assert (fact.provider_reference, fact.provider_transaction_id) == ("QK0001", "dspt_test_1")
        assert (fact.amount_minor, fact.currency) == (12345, "THB")
        assert (fact.dispute.reason_code, fact.dispute.provider_reason) == (
            "product_not_received",
            "goods_or_services_not_provided",
        )
        assert fact.dispute.evidence_due_at.isoformat() == "2026-01-19T05:00:00+00:00"
    if closed_at:
        assert facts[-1].occurred_at.isoformat() == "2026-01-20T05:00:00+00:00"


async def test_what_is_not_understood_or_not_there_is_never_guessed():
    assert isinstance(await inquired({**DISPUTE, "status": "frozen"}), Unknown)
    assert isinstance(await inquired({"object": "dispute"}), Unknown)
    assert isinstance(await inquired(DISPUTE, **{"GET /charges/chrg_test_1": _error("not_found", 404)}), Unknown)
    assert isinstance(await inquired(DISPUTE, **{"GET /disputes/dspt_test_1": _error("internal_error", 500)}), Unknown)
    gone = {"GET /disputes/dspt_test_1": _error("not_found", 404)}
    assert await inquired(DISPUTE, **gone) == Inquiry(found=False)


async def test_an_answer_is_taken_refused_or_not_known():
    place = "PATCH /disputes/dspt_test_1"
    for reply, kind in (
        ((200, {**DISPUTE, "status": "pending"}), Accepted),
        (_error("bad_request"), Declined),
        (_error("internal_error", 500), Unknown),
    ):
        replies = {place: reply, "GET /disputes/dspt_test_1": (200, DISPUTE)}
        outcome = await ask(lambda omise, account: omise.answer_dispute(account, ANSWER), **replies)
        assert isinstance(outcome, kind)
    unseen = await ask(lambda omise, account: omise.answer_dispute(account, ANSWER), **{place: _error("bad_request")})
    assert isinstance(unseen, Unknown), "a no about a dispute that cannot be read is no certain no"
    accepted = await ask(
        lambda omise, account: omise.accept_dispute(account, "dspt_test_1"),
        **{f"{place}/accept": (200, {**DISPUTE, "status": "lost"})},
    )
    assert isinstance(accepted, Accepted)


async def test_only_providers_with_an_interface_for_it_take_answers():
    async with Providers(timeout_seconds=10) as providers:
        assert [name for name in providers if isinstance(providers[name], HandlesDisputes)] == ["omise"]


async def test_a_dispute_is_told_answered_and_decided_by_the_sandbox(sandbox: Sandbox):
    account = _account(sandbox, "omise")
    token = (await sandbox.token()).json()["id"]
    async with Providers(timeout_seconds=10) as providers:
        omise = providers["omise"]
        request = _request(Method.CARD, card_token=token, amount_minor=12345)
        assert isinstance(await omise.charge(account, request), Accepted)
        order = {"world": WORLD, "provider": "omise", "reference": request.provider_key}
        reference = await sandbox.control.dispute(**order)
        told = [each for each in await sandbox.gateway.wait_for(3) if each.fields["key"] == "dispute.create"]
        assert [omise.parse_callback(account, _callback(each)).inquire for each in told] == [(reference,)]
        assert await kinds(omise, account, reference) == TAKEN
        answer = DisputeAnswer(reference=reference, text=ANSWER.text, files=ANSWER.files)
        for _ in range(2):
            assert isinstance(await omise.answer_dispute(account, answer), Accepted)
        assert await kinds(omise, account, reference) == [*TAKEN, FactKind.DISPUTE_UNDER_REVIEW]
        assert await sandbox.control.dispute(**order, outcome="won") == reference
        assert await kinds(omise, account, reference) == [*TAKEN, FactKind.DISPUTE_WON]
        assert isinstance(await omise.accept_dispute(account, reference), Declined)
        balance = (await sandbox.omise("GET", "/balance")).json()
        assert balance["total"] == 12345 - 451 - 32


async def kinds(omise, account, reference):
    inquiry = await omise.inquire(account, reference, real_now())
    return [fact.kind for fact in inquiry.facts[1:]]
