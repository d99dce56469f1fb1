"""Two people settle what nobody else settles: never one alone, on the record, and the provider's word still counts."""

import asyncio
import itertools

import asyncpg
import msgspec
import pytest

from gateway.payments.errors import NotFound, Refused
from gateway.payments.requests import CreateRefund
from gateway.payments.states import IntentStatus
from gateway.providers.base import FactKind
from gateway.settlement.override_records import OverrideState
from gateway.settlement.overrides import Proposal
from gateway.settlement.rounds import AT_ONCE
from tests.payments.test_janitor import CARD_ASKED

ANN, BEN = "op_ann", "op_ben"
FEE_MINOR, VAT_MINOR = 36_50, 2_56
"""Of 1,000.00 baht by card: 3.65 %, and 7 % VAT on it."""
MARKED = {
    "unidentified_receipts": -1_000_00,
    "merchant_pending": 1_000_00 - FEE_MINOR - VAT_MINOR,
    "fee_income": FEE_MINOR,
    "output_vat": VAT_MINOR,
}
PROVED = MARKED | {"provider_receivable": 1_000_00}
del PROVED["unidentified_receipts"]


def proposal(subject, outcome="succeeded", **changes):
    return Proposal(subject=subject, outcome=outcome, **{"evidence": "letter 77", "reason": "silence"} | changes)


async def refused(work, code):
    with pytest.raises(Refused) as no:
        await work
    assert no.value.code == code


@pytest.fixture
async def unknown(house, merchant):
    """A card payment of which nobody knows what became, two hours old; its provider does not answer."""
    house.omise.charge_script.append("lost_before")
    intent = await house.intents.create(merchant, CARD_ASKED)
    await house.move_clock(merchant, hours=2)
    return intent


@pytest.fixture
async def unknown_refund(house, merchant):
    intent = await house.intents.create(merchant, CARD_ASKED)
    house.omise.refund_script.append("lost_before")
    refund = await house.refunds.create(merchant, CreateRefund(payment_intent=intent.id, amount=400_00))
    await house.move_clock(merchant, hours=2)
    return refund


async def settled(house, merchant, subject, outcome="succeeded"):
    row = await house.overrides.propose(merchant.book_id, proposal(subject, outcome), actor=ANN)
    return await house.overrides.approve(merchant.book_id, row.override_id, actor=BEN, reason="seen")


async def test_a_payment_is_marked_by_two_people_and_proved_by_its_provider(house, merchant, unknown):
    row = await house.overrides.propose(merchant.book_id, proposal(unknown.id), actor=ANN)
    assert await house.balances(merchant) == {}
    assert (await house.intents.get(merchant, unknown.id)).status is IntentStatus.PROCESSING
    done = await house.overrides.approve(merchant.book_id, row.override_id, actor=BEN, reason="seen")
    view = await house.intents.get(merchant, unknown.id)
    assert (view.status, view.qualifiers, view.amount_captured) == ("succeeded", ["marked_manually"], 1_000_00)
    assert (done.proposed_by, done.decided_by, done.decision_reason, done.result) == (ANN, BEN, "seen", "applied")
    assert await house.balances(merchant) == MARKED
    assert (await house.event_types(merchant))[-2:] == ["payment_intent.succeeded", "payment_intent.marked_manually"]
    await house.pay(merchant, unknown, house.omise)
    assert await house.balances(merchant) == PROVED
    view = await house.intents.get(merchant, unknown.id)
    assert (view.status, view.qualifiers, view.amount_held) == ("succeeded", ["marked_manually"], 0)
    assert await house.entries(merchant) == ["payment_marked", "payment_mark_proved"]
    acts = await house.rows("SELECT actor, act, reason FROM gateway.operator_acts WHERE act LIKE 'override%'")
    assert [tuple(act.values()) for act in sorted(acts, key=lambda act: act["actor"])] == [
        (ANN, "override.proposed", "silence"),
        (BEN, "override.approved", "seen"),
    ]


async def test_more_than_was_marked_is_held_and_a_second_payment_as_ever(house, merchant, unknown):
    await settled(house, merchant, unknown.id)
    await house.pay(merchant, unknown, house.omise, amount=1_000_70)
    assert await house.balances(merchant) == PROVED | {"provider_receivable": 1_000_70, "payer_refundable": 70}
    await house.pay(merchant, unknown, house.omise, transaction="txn_2")
    assert (await house.balances(merchant))["payer_refundable"] == 1_000_70
    view = await house.intents.get(merchant, unknown.id)
    assert (view.status, view.amount_captured, view.amount_held) == ("succeeded", 1_000_00, 1_000_70)


async def test_less_than_was_marked_is_booked_and_a_person_must_look(house, merchant, unknown):
    await settled(house, merchant, unknown.id)
    await house.pay(merchant, unknown, house.omise, amount=600_00)
    assert await house.balances(merchant) == MARKED | {
        "unidentified_receipts": -400_00,
        "provider_receivable": 600_00,
    }
    assert (await house.intents.get(merchant, unknown.id)).status is IntentStatus.CONFLICTED
    assert (await house.event_types(merchant))[-1] == "payment_intent.conflicted"
    await house.pay(merchant, unknown, house.omise, amount=400_00, transaction="txn_2")
    assert await house.balances(merchant) == PROVED, "the rest is booked as well"
    assert (await house.intents.get(merchant, unknown.id)).status is IntentStatus.CONFLICTED


@pytest.mark.parametrize("kind", [FactKind.DECLINED, FactKind.EXPIRED, FactKind.VOIDED])
async def test_a_provider_that_says_no_after_a_mark_raises_a_review_and_moves_nothing(house, merchant, unknown, kind):
    await settled(house, merchant, unknown.id)
    fact = await house.paid_fact(unknown, house.omise, kind=kind)
    await house.applier.apply(fact, book_id=merchant.book_id)
    assert await house.balances(merchant) == MARKED
    assert (await house.intents.get(merchant, unknown.id)).status is IntentStatus.CONFLICTED
    await house.pay(merchant, unknown, house.omise)
    assert await house.balances(merchant) == PROVED, "money after it is booked as well"
    assert (await house.intents.get(merchant, unknown.id)).status is IntentStatus.CONFLICTED


async def test_a_payment_held_to_have_failed_may_be_tried_again_and_late_money_is_booked(house, merchant, unknown):
    await settled(house, merchant, unknown.id, "failed")
    view = await house.intents.get(merchant, unknown.id)
    assert (view.status, view.last_error.code) == ("requires_payment_method", "settled_as_failed")
    assert await house.balances(merchant) == {}
    await house.pay(merchant, unknown, house.omise)
    assert await house.balances(merchant) == PROVED
    view = await house.intents.get(merchant, unknown.id)
    assert (view.status, view.amount_captured, view.qualifiers) == ("conflicted", 1_000_00, [])


async def test_a_refund_is_marked_and_proved(house, merchant, unknown_refund):
    await settled(house, merchant, unknown_refund.id)
    assert await house.balances(merchant) == PROVED | {
        "merchant_pending": PROVED["merchant_pending"] - 400_00,
        "unidentified_receipts": 400_00,
    }
    assert (await house.refunds.get(merchant, unknown_refund.id)).status == "succeeded"
    await refund_fact(house, merchant, unknown_refund, FactKind.REFUND_SUCCEEDED)
    assert await house.balances(merchant) == PROVED | {
        "merchant_pending": PROVED["merchant_pending"] - 400_00,
        "provider_receivable": 600_00,
    }
    assert (await house.refunds.get(merchant, unknown_refund.id)).status == "succeeded"
    assert (await house.entries(merchant))[-2:] == ["refund_marked", "refund_mark_proved"]


async def test_a_marked_refund_that_its_provider_did_not_make_gives_the_money_back(house, merchant, unknown_refund):
    await settled(house, merchant, unknown_refund.id)
    await refund_fact(house, merchant, unknown_refund, FactKind.REFUND_FAILED)
    assert await house.balances(merchant) == PROVED
    assert (await house.entries(merchant))[-2:] == ["refund_mark_undone", "refund_failed"]
    assert (await house.event_types(merchant))[-1] == "refund.conflicted"
    await refund_fact(house, merchant, unknown_refund, FactKind.REFUND_SUCCEEDED)
    assert (await house.entries(merchant))[-1] == "refund_succeeded", "the mark is undone, so this proves nothing"
    after = await house.balances(merchant)
    assert (after["provider_receivable"], after["refunds_payable"]) == (600_00, -400_00), "for a person to see"


async def test_a_refund_held_to_have_failed_gives_the_money_back_once(house, merchant, unknown_refund):
    await settled(house, merchant, unknown_refund.id, "failed")
    assert await house.balances(merchant) == PROVED
    await refund_fact(house, merchant, unknown_refund, FactKind.REFUND_FAILED)
    assert await house.balances(merchant) == PROVED
    assert (await house.refunds.get(merchant, unknown_refund.id)).status == "failed"


@pytest.fixture(params=["before", "together", "together, later"])
def overtake(house, merchant, monkeypatch, request):
    """Lets the provider tell it after the decision: before the applier gets the mark, or in one flush with it."""

    def begin(told):
        state = house.overrides._state

        async def overtaken(row, subject):
            telling = house.applier.apply(told, book_id=merchant.book_id)
            if request.param == "before":
                await telling
                await state(row, subject)
            else:
                works = [telling, state(row, subject)]
                await asyncio.gather(*(works if request.param == "together" else works[::-1]))

        monkeypatch.setattr(house.overrides, "_state", overtaken)

    return begin


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [*itertools.product(["succeeded", "failed"], [FactKind.REFUND_SUCCEEDED, FactKind.REFUND_FAILED])],
)
async def test_the_end_of_a_refund_that_is_known_before_the_mark_gets_there_is_the_only_one(
    house, merchant, unknown_refund, overtake, *, outcome, kind
):
    overtake(await refund_fact_of(house, unknown_refund, kind))
    done = await settled(house, merchant, unknown_refund.id, outcome)
    assert (done.result, await house.overrides.run_once()) == ("not_needed", 0)
    status = kind.removeprefix("refund_")
    assert (await house.refunds.get(merchant, unknown_refund.id)).status == status
    assert (await house.entries(merchant))[-2:] == ["refund_reserved", kind]
    back = {"provider_receivable": 600_00, "merchant_pending": PROVED["merchant_pending"] - 400_00}
    assert await house.balances(merchant) == PROVED | (back if status == "succeeded" else {})
    assert await house.rows("SELECT 1 FROM gateway.facts WHERE source = 'operator'") == []
    assert await house.rows("SELECT 1 FROM gateway.fact_quarantine") == []


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
async def test_money_that_is_known_before_the_mark_gets_there_is_the_merchants_once(
    house, merchant, unknown, outcome, overtake
):
    overtake(await house.paid_fact(unknown, house.omise))
    done = await settled(house, merchant, unknown.id, outcome)
    view = await house.intents.get(merchant, unknown.id)
    assert (done.result, view.status, view.qualifiers) == ("not_needed", "succeeded", [])
    assert await house.balances(merchant) == PROVED
    assert await house.entries(merchant) == ["payment_captured"]


async def test_money_that_is_held_before_the_mark_gets_there_is_its_payers_alone(house, merchant, unknown, overtake):
    overtake(await house.paid_fact(unknown, house.omise, amount=600_00))
    done = await settled(house, merchant, unknown.id)
    view = await house.intents.get(merchant, unknown.id)
    assert (done.result, view.status, view.qualifiers) == ("not_needed", "processing", ["partially_paid"])
    assert (view.amount_captured, view.amount_held) == (0, 600_00)
    assert await house.balances(merchant) == {"provider_receivable": 600_00, "payer_refundable": 600_00}


async def test_a_decline_that_is_known_before_the_mark_gets_there_stands(house, merchant, unknown, overtake):
    told = await house.paid_fact(unknown, house.omise, kind=FactKind.DECLINED)
    overtake(told)
    done = await settled(house, merchant, unknown.id)
    view = await house.intents.get(merchant, unknown.id)
    assert (done.result, view.status, view.amount_captured) == ("not_needed", "requires_payment_method", 0)
    assert (await house.balances(merchant), await house.entries(merchant)) == ({}, [])


async def refund_fact_of(house, refund, kind):
    [row] = await house.rows("SELECT provider_key, amount_minor FROM gateway.refunds WHERE refund_id = $1", refund.id)
    request = type("Asked", (), row)
    return house.omise.refund_fact(request, kind, refund.created_at, transaction=f"rfnd {kind}")


async def refund_fact(house, merchant, refund, kind):
    await house.applier.apply(await refund_fact_of(house, refund, kind), book_id=merchant.book_id)


async def test_what_may_not_be_proposed_is_refused_in_this_order(house, merchant, unknown):
    book_id = merchant.book_id
    with pytest.raises(NotFound):
        await house.overrides.propose(book_id, proposal("pi_test_00000000000000000000000000"), actor=ANN)
    known = await house.intents.create(merchant, CARD_ASKED)
    await refused(house.overrides.propose(book_id, proposal(known.id), actor=ANN), "override_not_needed")
    house.omise.charge_script.append("lost_before")
    now = await house.principal(merchant.account_id, book_id)
    manual = await house.intents.create(now, msgspec.structs.replace(CARD_ASKED, capture_method="manual"))
    await refused(house.overrides.propose(book_id, proposal(manual.id), actor=ANN), "override_not_possible")
    await refused(house.overrides.propose(book_id, proposal(manual.id, "failed"), actor=ANN), "override_too_early")
    await house.overrides.propose(book_id, proposal(unknown.id), actor=ANN)
    await refused(house.overrides.propose(book_id, proposal(unknown.id), actor=BEN), "override_open")
    assert len((await house.overrides.list(book_id))[0]) == 1
    assert await house.entries(merchant) == ["payment_captured"]


@pytest.mark.parametrize("same", [ANN, "cli:ann"])
async def test_nobody_approves_alone_and_the_database_refuses_it_too(house, merchant, unknown, same, database):
    row = await house.overrides.propose(merchant.book_id, proposal(unknown.id), actor=ANN)
    before = await house.event_types(merchant)
    await refused(
        house.overrides.approve(merchant.book_id, row.override_id, actor=same, reason="seen"), "second_person_required"
    )
    values = (merchant.book_id, row.override_id, ANN, same)
    statement = (
        "INSERT INTO gateway.override_decisions (book_id, override_id, proposed_by, decision, reason, decided_by,"
        " decided_at) SELECT $1, $2, $3, 'approved', 'seen', $4, proposed_at FROM gateway.overrides"
    )
    with pytest.raises(asyncpg.CheckViolationError, match="second_person"):
        await house.run(statement, *values)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await house.run(statement, merchant.book_id, row.override_id, BEN, ANN)
    assert (await house.overrides.get(merchant.book_id, row.override_id)).decision is None
    assert (await house.entries(merchant), await house.event_types(merchant)) == ([], before)


async def test_decisions_are_refused_in_this_order(house, merchant, unknown):
    book_id = merchant.book_id
    with pytest.raises(NotFound):
        await house.overrides.approve(book_id, "ovr_test_00000000000000000000000000", actor=BEN, reason="seen")
    first = await house.overrides.propose(book_id, proposal(unknown.id), actor=ANN)
    await house.overrides.reject(book_id, first.override_id, actor=ANN, reason="mistaken")
    again = await house.overrides.reject(book_id, first.override_id, actor=ANN, reason="mistaken")
    assert again.state_at(again.proposed_at) is OverrideState.REJECTED
    await refused(house.overrides.approve(book_id, first.override_id, actor=ANN, reason="x"), "override_closed")
    second = await house.overrides.propose(book_id, proposal(unknown.id), actor=ANN)
    await house.move_clock(merchant, days=3, hours=3)
    await refused(house.overrides.approve(book_id, second.override_id, actor=ANN, reason="x"), "override_expired")
    await refused(house.overrides.reject(book_id, second.override_id, actor=BEN, reason="x"), "override_expired")
    third = await house.overrides.propose(book_id, proposal(unknown.id), actor=ANN)
    rows, now = await house.overrides.list(book_id)
    assert [row.state_at(now) for row in rows] == ["rejected", "expired", "open"]
    for state, row in (("rejected", first), ("expired", second), ("open", third)):
        found, _ = await house.overrides.list(book_id, state=OverrideState(state))
        assert [each.override_id for each in found] == [row.override_id]
    await house.pay(merchant, unknown, house.omise)
    await refused(house.overrides.approve(book_id, third.override_id, actor=BEN, reason="x"), "override_not_needed")
    assert await house.entries(merchant) == ["payment_captured"]


async def test_the_provider_is_asked_once_more_and_its_word_wins(house, merchant, unknown):
    row = await house.overrides.propose(merchant.book_id, proposal(unknown.id, "failed"), actor=ANN)
    key = (await house.attempt(unknown.id))["provider_key"]
    house.omise.charges[key] = [await house.paid_fact(unknown, house.omise)]
    work = house.overrides.approve(merchant.book_id, row.override_id, actor=BEN, reason="seen")
    await refused(work, "override_not_needed")
    assert (await house.intents.get(merchant, unknown.id)).status is IntentStatus.SUCCEEDED
    assert await house.entries(merchant) == ["payment_captured"]


async def test_more_than_a_round_of_what_cannot_be_carried_out_hold_nothing_back(house, merchant, unknown, monkeypatch):
    for number in range(AT_ONCE + 1):
        await house.run(
            "WITH made AS (INSERT INTO gateway.overrides VALUES ($1, $2, $3, false, 'attempt', 'att_none', 'pi_none',"
            " 'omise', 'failed', 1, 'THB', 'x', 'x', 'op_a', now(), now()) RETURNING book_id, override_id, proposed_by)"
            " INSERT INTO gateway.override_decisions"
            " SELECT book_id, override_id, proposed_by, 'approved', 'x', 'op_b', now() FROM made",
            merchant.book_id,
            f"ovr_test_{number:026}",
            merchant.account_id,
        )
    row = await house.overrides.propose(merchant.book_id, proposal(unknown.id), actor=ANN)
    with monkeypatch.context() as broken:
        broken.setattr(house.overrides, "_carry_out", dies)
        with pytest.raises(RuntimeError):
            await house.overrides.approve(merchant.book_id, row.override_id, actor=BEN, reason="seen")
    assert (await house.overrides.run_once(), await house.balances(merchant)) == (AT_ONCE, {})
    assert (await house.overrides.run_once(), await house.balances(merchant)) == (2, MARKED)
    assert await house.overrides.run_once() == AT_ONCE, "and from the start again"


async def test_what_a_crash_left_is_carried_out_once(house, merchant, unknown, monkeypatch):
    row = await house.overrides.propose(merchant.book_id, proposal(unknown.id), actor=ANN)
    with monkeypatch.context() as broken:
        broken.setattr(house.overrides, "_carry_out", dies)
        with pytest.raises(RuntimeError):
            await house.overrides.approve(merchant.book_id, row.override_id, actor=BEN, reason="seen")
    assert (await house.balances(merchant), await house.overrides.run_once()) == ({}, 1)
    assert (await house.balances(merchant), await house.overrides.run_once()) == (MARKED, 0)
    again = await house.overrides.approve(merchant.book_id, row.override_id, actor=BEN, reason="seen")
    assert (again.result, await house.entries(merchant)) == ("applied", ["payment_marked"])


async def test_what_is_on_the_record_cannot_be_rewritten(house, merchant, unknown):
    await settled(house, merchant, unknown.id)
    for table in ("overrides", "override_decisions", "override_results"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await house.run(f"UPDATE gateway.{table} SET override_id = 'x'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await house.run(f"DELETE FROM gateway.{table}")


async def dies(_):
    raise RuntimeError("killed")


async def test_of_racing_approvers_one_decides(house, merchant, unknown):
    row = await house.overrides.propose(merchant.book_id, proposal(unknown.id), actor=ANN)
    answers = await asyncio.gather(
        *(
            house.overrides.approve(merchant.book_id, row.override_id, actor=f"op_{number}", reason="seen")
            for number in range(4)
        ),
        return_exceptions=True,
    )
    assert sorted(getattr(answer, "code", "done") for answer in answers) == ["done", *["override_closed"] * 3]
    assert (await house.balances(merchant), await house.entries(merchant)) == (MARKED, ["payment_marked"])
