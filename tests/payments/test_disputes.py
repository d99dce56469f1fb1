"""Disputes as merchants and operators deal with them: answered once, in time, told to the provider, kept on record."""

import asyncio
from collections import deque
from datetime import timedelta

import msgspec
import pytest

from gateway.payments.errors import FactContradicts, InvalidRequest, NotFound, Refused
from gateway.payments.requests import CreateIntent, SubmitEvidence
from gateway.providers.base import Accepted, Declined, FactKind, Inquiry, Method, Unknown
from gateway.providers.dispute_terms import DisputeStage, DisputeTerms
from tests.payments.scripted_provider import CARD, QR, ScriptedProvider
from tests.payments.test_disputes_money import CARD_ASKED, OPENED, WITHDRAWN, WON, fact_of, tell

EVIDENCE = SubmitEvidence(text={"product_description": "a red bicycle"}, files={"receipt": "file_1"})
QR_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.PROMPTPAY)


class DisputingProvider(ScriptedProvider):
    """One that takes answers; `dispute_script` holds words for them: `ok`, `declined`, `lost`."""

    def __init__(self, name, capabilities):
        super().__init__(name, capabilities)
        self.dispute_script = deque()
        self.dispute_facts = ()
        self.answers = []

    async def answer_dispute(self, account, answer):
        self.answers.append(answer)
        return self._outcome("answer_dispute", answer.reference)

    async def accept_dispute(self, account, reference):
        return self._outcome("accept_dispute", reference)

    async def inquire_dispute(self, account, reference):
        self.calls.append(("inquire_dispute", reference))
        return Inquiry(found=bool(self.dispute_facts), facts=self.dispute_facts)

    def _outcome(self, operation, reference):
        self.calls.append((operation, reference))
        word = self.dispute_script.popleft() if self.dispute_script else "ok"
        if word == "lost":
            return Unknown(reason="timeout")
        if word == "declined":
            return Declined(failure_code="dispute_closed", provider_code="failed", message="no")
        return Accepted(provider_references=(reference,))


@pytest.fixture
def omise(house):
    house.omise = DisputingProvider("omise", [CARD, msgspec.structs.replace(QR, rank=50)])
    house.providers["omise"] = house.omise
    return house.omise


@pytest.fixture
async def paid(house, merchant, omise):
    return await house.intents.create(merchant, CARD_ASKED)


@pytest.fixture
async def dispute(house, merchant, paid):
    return await opened(house, merchant, paid)


async def opened(house, merchant, intent, *, days=14, **how):
    fact = await fact_of(house, merchant, intent, OPENED, **how)
    due_at = None if days is None else merchant.clock.now() + timedelta(days=days)
    terms = msgspec.structs.replace(fact.dispute, evidence_due_at=due_at)
    await house.applier.apply(msgspec.structs.replace(fact, dispute=terms), book_id=merchant.book_id)
    return (await house.disputes.list(merchant)).data[0]


async def row(house, dispute):
    return (await house.rows("SELECT * FROM gateway.disputes WHERE dispute_id = $1", dispute.id))[0]


async def make_due(house):
    await house.run("UPDATE gateway.disputes SET due_at = created_at, leased_until = NULL WHERE due_at IS NOT NULL")


async def moves(house, dispute):
    return [
        tuple(move.values())
        for move in await house.rows(
            "SELECT from_status, to_status, reason FROM gateway.state_moves WHERE subject_id = $1 ORDER BY version",
            dispute.id,
        )
    ]


async def test_evidence_is_kept_sealed_and_handed_to_the_provider(house, merchant, omise, dispute):
    assert (dispute.status, dispute.amount, dispute.reason_code) == ("needs_response", 1_000_00, "fraudulent")
    answered = await house.disputes.submit_evidence(merchant, dispute.id, EVIDENCE)
    assert (answered.status, answered.version) == ("under_review", 2)
    assert answered.evidence_submitted_at is not None
    [answer] = omise.answers
    assert (answer.reference, answer.text, answer.files) == ("dspt_1", EVIDENCE.text, EVIDENCE.files)
    [kept] = await house.disputes.evidence(merchant, dispute.id)
    assert (kept.text, kept.files, kept.stage) == (EVIDENCE.text, EVIDENCE.files, "dispute")
    [stored] = await house.rows("SELECT sealed_evidence, fields FROM gateway.dispute_evidence")
    assert b"bicycle" not in stored["sealed_evidence"]
    assert stored["fields"] == 2
    assert (await row(house, dispute))["owed_answer"] is None
    assert (await house.event_types(merchant))[-1] == "dispute.updated"
    assert await moves(house, dispute) == [("needs_response", "under_review", "evidence")]
    payloads = await house.rows("SELECT payload FROM gateway.events WHERE type LIKE 'dispute.%'")
    assert all(b"bicycle" not in payload["payload"] for payload in payloads)


async def test_a_dispute_is_answered_once(house, merchant, omise, dispute):
    await house.disputes.submit_evidence(merchant, dispute.id, EVIDENCE, evidence_id="dev_test_1")
    again = await house.disputes.submit_evidence(merchant, dispute.id, EVIDENCE, evidence_id="dev_test_1")
    assert again.status == "under_review"
    for act in (
        house.disputes.submit_evidence(merchant, dispute.id, EVIDENCE),
        house.disputes.accept(merchant, dispute.id),
    ):
        with pytest.raises(Refused) as refused:
            await act
        assert refused.value.code == "dispute_not_open"
    assert (len(omise.answers), omise.count("accept_dispute")) == (1, 0)


async def test_of_racing_answers_one_is_taken(house, merchant, omise, dispute):
    before = await house.balances(merchant)
    results = await asyncio.gather(
        *(house.disputes.submit_evidence(merchant, dispute.id, EVIDENCE) for _ in range(4)),
        *(house.disputes.accept(merchant, dispute.id) for _ in range(4)),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, BaseException)]
    assert {error.code for error in refused} == {"dispute_not_open"}
    assert len({result.status for result in results if not isinstance(result, BaseException)}) == 1
    assert omise.count("answer_dispute") + omise.count("accept_dispute") == 1
    assert len(await moves(house, dispute)) == 1
    assert await house.balances(merchant) == before


async def test_accepting_moves_nothing_until_the_provider_takes_the_money(house, merchant, omise, paid, dispute):
    before = await house.balances(merchant)
    accepted = await house.disputes.accept(merchant, dispute.id)
    assert (accepted.status, accepted.closed_at is not None) == ("accepted", True)
    assert await house.disputes.accept(merchant, dispute.id) == accepted
    assert omise.count("accept_dispute") == 1
    assert await house.balances(merchant) == before
    assert (await house.event_types(merchant))[-1] == "dispute.closed"
    await tell(house, merchant, paid, WITHDRAWN, FactKind.DISPUTE_LOST)
    assert (await house.disputes.get(merchant, dispute.id)).status == "accepted"
    assert (await house.event_types(merchant)).count("dispute.closed") == 1
    assert "dispute_hold" not in await house.balances(merchant)


async def test_a_provider_that_was_not_reached_is_told_later(house, merchant, omise, dispute):
    omise.dispute_script.extend(["lost", "lost"])
    answered = await house.disputes.submit_evidence(merchant, dispute.id, EVIDENCE)
    assert answered.status == "under_review"
    assert (await row(house, dispute))["owed_answer"] == "evidence"
    assert await house.dispute_upkeep.run_once() == 0
    for _ in range(2):
        await make_due(house)
        assert await house.dispute_upkeep.run_once() == 1
    assert (await row(house, dispute))["owed_answer"] is None
    assert [answer.text for answer in omise.answers] == [EVIDENCE.text] * 3


async def test_a_provider_that_has_decided_already_is_asked_how(house, merchant, omise, paid, dispute):
    omise.dispute_script.append("declined")
    omise.dispute_facts = (await fact_of(house, merchant, paid, FactKind.DISPUTE_LOST),)
    answered = await house.disputes.submit_evidence(merchant, dispute.id, EVIDENCE)
    assert answered.status == "lost"
    assert (await row(house, dispute))["owed_answer"] is None


async def test_a_deadline_is_reminded_of_once_and_then_kept(house, merchant, omise, dispute):
    before = await house.balances(merchant)
    soon = await house.move_clock(merchant, days=12)
    for _ in range(2):
        await make_due(house)
        await house.dispute_upkeep.run_once()
    assert (await house.event_types(merchant)).count("dispute.evidence_due") == 1
    assert (await house.disputes.get(soon, dispute.id)).status == "needs_response"
    late = await house.move_clock(soon, days=3)
    with pytest.raises(Refused) as refused:
        await house.disputes.submit_evidence(late, dispute.id, EVIDENCE)
    assert refused.value.code == "evidence_deadline_passed"
    assert await house.rows("SELECT 1 FROM gateway.dispute_evidence") == []
    await asyncio.gather(*(house.dispute_upkeep.run_once() for _ in range(3)))
    ended = await house.disputes.get(late, dispute.id)
    assert (ended.status, ended.closed_at is not None) == ("expired", True)
    assert await moves(house, dispute) == [("needs_response", "expired", "deadline")]
    assert (await house.event_types(merchant)).count("dispute.closed") == 1
    assert await house.balances(merchant) == before


async def test_a_decision_is_learned_by_asking_where_its_news_was_lost(house, merchant, omise, paid, dispute):
    omise.dispute_facts = (await fact_of(house, merchant, paid, WON),)
    await make_due(house)
    await house.dispute_upkeep.run_once()
    assert (await house.disputes.get(merchant, dispute.id)).status == "won"
    assert (await row(house, dispute))["due_at"] is None


async def test_a_later_stage_opens_a_decided_dispute_anew(house, merchant, omise, paid, dispute):
    await house.disputes.submit_evidence(merchant, dispute.id, EVIDENCE)
    await tell(house, merchant, paid, WITHDRAWN, WON)
    again = await opened(house, merchant, paid, stage=DisputeStage.PREARBITRATION)
    assert (again.id, again.stage, again.status, again.closed_at) == (
        dispute.id,
        "prearbitration",
        "needs_response",
        None,
    )
    assert (await house.disputes.submit_evidence(merchant, dispute.id, EVIDENCE)).status == "under_review"
    assert [each.stage for each in await house.disputes.evidence(merchant, dispute.id)] == ["dispute", "prearbitration"]


async def test_evidence_beyond_its_limits_changes_nothing(house, merchant, omise, dispute):
    for evidence, code in (
        (SubmitEvidence(), "parameter_missing"),
        (SubmitEvidence(text={f"f{number}": "x" for number in range(21)}), "parameter_invalid"),
        (SubmitEvidence(text={"Name": "x"}), "parameter_invalid"),
        (SubmitEvidence(text={"name": ""}), "parameter_invalid"),
        (SubmitEvidence(text={"name": "x" * 5_001}), "parameter_invalid"),
        (SubmitEvidence(files={"name": "x" * 501}), "parameter_invalid"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            await house.disputes.submit_evidence(merchant, dispute.id, evidence)
        assert refused.value.code == code
    assert await house.disputes.get(merchant, dispute.id) == dispute
    assert omise.answers == []


async def test_disputes_of_others_are_not_found(house, merchant, omise, dispute):
    stranger = await house.new_merchant("another shop")
    for act in (
        house.disputes.get(stranger, dispute.id),
        house.disputes.evidence(stranger, dispute.id),
        house.disputes.submit_evidence(stranger, dispute.id, EVIDENCE),
        house.disputes.accept(stranger, dispute.id),
    ):
        with pytest.raises(NotFound):
            await act
    assert (await house.disputes.list(stranger)).data == []


async def test_disputes_are_listed_by_deadline_in_pages(house, merchant, omise, paid):
    for reference, days in (("a", 9), ("b", None), ("c", 3), ("d", 5)):
        await opened(house, merchant, paid, days=days, reference=reference, amount=100_00)
    everything = (await house.disputes.list(merchant, sort="deadline")).data
    assert [each.provider_reference for each in everything] == ["c", "d", "a", "b"]
    first = await house.disputes.list(merchant, sort="deadline", limit=2)
    rest = await house.disputes.list(merchant, sort="deadline", limit=2, starting_after=first.data[-1].id)
    assert (first.data + rest.data, first.has_more, rest.has_more) == (everything, True, False)
    back = await house.disputes.list(merchant, sort="deadline", limit=2, ending_before=everything[-1].id)
    assert (back.data, back.has_more) == (everything[1:3], True)
    with pytest.raises(InvalidRequest):
        await house.disputes.list(merchant, sort="deadline", starting_after="dp_test_nothing")
    await house.disputes.accept(merchant, everything[0].id)
    waiting = await house.disputes.list(merchant, status="needs_response", payment_intent=paid.id)
    assert [each.provider_reference for each in waiting.data] == ["d", "b", "a"]


async def test_an_operator_states_what_a_letter_said_once_and_on_record(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    await house.pay(merchant, intent, house.scb)
    paid = await house.balances(merchant)
    terms = DisputeTerms(reference="case 7", reason_code="duplicate")
    who = {"actor": "cli:tester", "reason": "letter of the bank"}
    first = await house.dispute_acts.open(merchant.book_id, intent.id, terms, amount_minor=400_00, **who)
    again = await house.dispute_acts.open(merchant.book_id, intent.id, terms, amount_minor=400_00, **who)
    assert (first.is_news, again.is_news, first.dispute.status) == (True, False, "needs_response")
    assert (await house.balances(merchant))["dispute_hold"] == 400_00
    dispute_id = first.dispute.dispute_id
    # No interface of the provider takes the answer: a person sends it on.
    await house.disputes.submit_evidence(merchant, dispute_id, EVIDENCE)
    assert (await row(house, await house.disputes.get(merchant, dispute_id)))["owed_answer"] is None
    for kind, status in ((WITHDRAWN, "under_review"), (WON, "won"), (WON, "won")):
        stated = await house.dispute_acts.record(merchant.book_id, dispute_id, kind, **who)
        assert stated.dispute.status == status
    # QR payments have no dispute fee in the list price.
    assert await house.balances(merchant) == paid
    acts = await house.rows("SELECT actor, act, subject, reason FROM gateway.operator_acts ORDER BY act_id OFFSET 1")
    assert [tuple(act.values()) for act in acts] == [
        ("cli:tester", act, dispute_id, "letter of the bank")
        for act in ("dispute.opened", "dispute.funds_withdrawn", "dispute.won")
    ]
    [move] = await house.rows("SELECT actor, reason FROM gateway.state_moves WHERE to_status = 'won'")
    assert move == {"actor": "cli:tester", "reason": "letter of the bank"}


async def test_an_operator_cannot_state_what_cannot_be(house, merchant, paid):
    qr = await house.intents.create(merchant, QR_ASKED)
    terms, who = DisputeTerms(reference="case 7"), {"actor": "cli:tester", "reason": "letter"}
    before = await house.balances(merchant)
    for intent_id, amount_minor, error, code in (
        ("pi_test_nothing", None, NotFound, "not_found"),
        (qr.id, None, Refused, "payment_not_captured"),
        (paid.id, 1_000_01, InvalidRequest, "amount_invalid"),
        (paid.id, 0, InvalidRequest, "amount_invalid"),
    ):
        with pytest.raises(error) as refused:
            await house.dispute_acts.open(merchant.book_id, intent_id, terms, amount_minor=amount_minor, **who)
        assert refused.value.code == code
    with pytest.raises(NotFound):
        await house.dispute_acts.record(merchant.book_id, "dp_test_nothing", WON, **who)
    assert await house.balances(merchant) == before
    stated = await house.dispute_acts.open(merchant.book_id, paid.id, terms, amount_minor=10_00, **who)
    with pytest.raises(FactContradicts):
        await house.dispute_acts.open(merchant.book_id, paid.id, terms, amount_minor=20_00, **who)
    assert len(await house.dispute_acts.list(merchant.book_id)) == 1
    assert stated.dispute.held_minor == 10_00
