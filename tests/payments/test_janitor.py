"""The janitor: what nobody knows is asked about until somebody does; what a crash left is taken up."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from gateway.payments.requests import CreateIntent, CreateRefund
from gateway.payments.schedule import Schedule
from gateway.payments.states import AttemptStatus, IntentStatus
from gateway.providers.base import FactKind, Method

QR_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.PROMPTPAY)
CARD_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.CARD, card_token="tokn_1")


async def test_unknown_charge_that_had_succeeded_is_found_and_booked_once(house, merchant):
    house.omise.charge_script.append("lost_after")
    intent = await house.intents.create(merchant, CARD_ASKED)
    assert await house.janitor.run_once() == 0, "nothing is due before ten seconds have passed"
    await house.move_clock(merchant, seconds=11)
    assert await house.janitor.run_once() == 1
    assert await house.janitor.run_once() == 0
    view = await house.intents.get(merchant, intent.id)
    assert (view.status, view.amount_captured) == (IntentStatus.SUCCEEDED, 1_000_00)
    assert await house.entries(merchant) == ["payment_captured"]
    assert (house.omise.count("charge"), house.omise.count("inquire")) == (1, 1)


async def test_unknown_charge_that_was_declined_is_found(house, merchant):
    house.omise.charge_script.append("lost_before")
    intent = await house.intents.create(merchant, CARD_ASKED)
    key = (await house.attempt(intent.id))["provider_key"]
    house.omise.charges[key] = [await house.paid_fact(intent, house.omise, kind=FactKind.DECLINED)]
    await house.make_due()
    await house.janitor.run_once()
    view = await house.intents.get(merchant, intent.id)
    assert (view.status, view.last_error.code) == (IntentStatus.REQUIRES_PAYMENT_METHOD, "insufficient_funds")
    assert await house.entries(merchant) == []


async def test_silence_is_asked_again_at_the_documented_pace_and_never_read_as_failed(house, merchant):
    house.omise.charge_script.append("lost_before")
    intent = await house.intents.create(merchant, CARD_ASKED)
    house.omise.inquiry_script.append("unknown")
    for asks in (1, 2):
        await house.make_due()
        assert await house.janitor.run_once() == 1
        attempt = await house.attempt(intent.id)
        assert (attempt["asks"], attempt["status"], attempt["leased_until"]) == (asks, "unknown", None)
    assert (await house.intents.get(merchant, intent.id)).status is IntentStatus.PROCESSING
    assert house.omise.count("charge") == 1


async def test_question_that_a_circuit_stopped_does_not_count(house, merchant):
    house.omise.charge_script.append("lost_after")
    intent = await house.intents.create(merchant, CARD_ASKED)
    house.omise.inquiry_script.extend(["circuit_open"] * 12)
    for _ in range(12):
        await house.make_due()
        assert await house.janitor.run_once() == 1
        attempt = await house.attempt(intent.id)
        assert (attempt["asks"], attempt["status"], attempt["leased_until"]) == (0, "unknown", None)
        due_in = attempt["due_at"] - merchant.clock.now()
        assert timedelta(seconds=25) < due_in <= timedelta(seconds=30)
    await house.make_due()
    await house.janitor.run_once()
    assert (await house.intents.get(merchant, intent.id)).status is IntentStatus.SUCCEEDED


async def test_question_about_a_refund_that_a_circuit_stopped_is_no_reason_to_send_it_again(house, merchant):
    await house.intents.create(merchant, CARD_ASKED)
    intent = await house.intents.create(merchant, CARD_ASKED)
    house.omise.refund_script.append("lost_before")
    await house.refunds.create(merchant, CreateRefund(payment_intent=intent.id))
    await house.move_clock(merchant, seconds=60)
    house.omise.inquiry_script.extend(["circuit_open", "ok"])
    for _ in range(2):
        await house.make_due()
        await house.janitor.run_once()
    assert house.omise.count("refund") == 1
    assert [row["asks"] for row in await house.rows("SELECT asks FROM gateway.refunds")] == [1]


def test_pace_of_the_questions():
    schedule = Schedule(first_delay_seconds=10, lease_seconds=30)
    now = schedule.lease_end()
    delays = [schedule.next_due_at(asks, now) for asks in range(12)]
    day = timedelta(days=1)
    assert [None if due is None else due - now for due in delays] == [
        timedelta(seconds=10),
        timedelta(seconds=30),
        timedelta(minutes=2),
        timedelta(minutes=10),
        timedelta(hours=1),
        timedelta(hours=6),
        *[day] * 5,
        None,
    ]
    assert schedule.next_due_at(11, now, endless=True) == now + day
    assert schedule.retry_at(now, not_after=now + day) == schedule.retry_at(now) == now + timedelta(seconds=30)
    deadline = now + timedelta(seconds=5)
    assert schedule.retry_at(now, not_after=deadline) == deadline
    assert schedule.next_due_at(11, now, not_after=deadline) == deadline
    assert schedule.next_due_at(0, now, not_after=deadline) == deadline
    assert schedule.next_due_at(0, now, not_after=now) == now + timedelta(seconds=10)


async def test_expiry_asks_the_provider_first(house, merchant):
    """Two codes reach their deadline; one was paid in time and its callback was lost."""
    unpaid = await house.intents.create(merchant, QR_ASKED)
    paid = await house.intents.create(merchant, QR_ASKED)
    fact = await house.paid_fact(paid, house.scb, seconds=899)
    house.scb.charges[fact.provider_reference].append(fact)
    await house.move_clock(merchant, seconds=901)
    assert await house.janitor.run_once() == 2
    assert (await house.intents.get(merchant, unpaid.id)).status is IntentStatus.EXPIRED
    assert (await house.intents.get(merchant, paid.id)).status is IntentStatus.SUCCEEDED
    assert await house.entries(merchant) == ["payment_captured"]
    assert (await house.event_types(merchant)).count("payment_intent.expired") == 1
    assert await house.janitor.run_once() == 0


async def test_code_that_lives_past_midnight_is_asked_about_to_its_end(house, merchant):
    """A provider that answers by day would else not know of what was paid on the second one."""
    asked = msgspec.structs.replace(QR_ASKED, expires_in_seconds=24 * 60 * 60)
    intent = await house.intents.create(merchant, asked)
    await house.make_due()
    await house.janitor.run_once()
    assert house.scb.lives_asked_about == [(intent.created_at, intent.created_at + timedelta(days=1))]


async def test_expiry_waits_for_a_provider_that_does_not_answer(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    await house.move_clock(merchant, seconds=901)
    house.scb.inquiry_script.append("unknown")
    await house.janitor.run_once()
    assert (await house.intents.get(merchant, intent.id)).status is IntentStatus.REQUIRES_ACTION
    await house.make_due()
    await house.janitor.run_once()
    assert (await house.intents.get(merchant, intent.id)).status is IntentStatus.EXPIRED


async def test_code_paid_short_expires_and_its_money_stays_held(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    fact = await house.paid_fact(intent, house.scb, amount=400_00)
    house.scb.charges[fact.provider_reference].append(fact)
    await house.move_clock(merchant, seconds=901)
    await house.janitor.run_once()
    view = await house.intents.get(merchant, intent.id)
    assert (view.status, view.qualifiers, view.amount_held) == (IntentStatus.EXPIRED, ["partially_paid"], 400_00)


async def test_cancelling_that_nobody_answered_is_asked_again(house, merchant):
    intent = await house.intents.create(merchant, msgspec.structs.replace(QR_ASKED, provider="omise"))
    house.omise.cancel_answer = "unknown"
    assert (await house.intents.cancel(merchant, intent.id)).status is IntentStatus.REQUIRES_ACTION
    house.omise.cancel_answer = "voided"
    await house.make_due()
    await house.janitor.run_once()
    assert (await house.intents.get(merchant, intent.id)).status is IntentStatus.CANCELED


async def test_attempt_that_somebody_is_on_is_left_alone_until_the_lease_lapsed(house, merchant):
    house.omise.charge_script.append("lost_after")
    intent = await house.intents.create(merchant, CARD_ASKED)
    await house.make_due()
    await house.run("UPDATE gateway.payment_attempts SET leased_until = now() + interval '1 minute'")
    assert await house.janitor.run_once() == 0
    await house.end_leases()
    assert await house.janitor.run_once() == 1
    assert (await house.intents.get(merchant, intent.id)).latest_attempt.status is AttemptStatus.CAPTURED
    assert await house.entries(merchant) == ["payment_captured"]


async def test_two_janitors_share_the_work(house, merchant):
    for _ in range(6):
        house.omise.charge_script.append("lost_after")
        await house.intents.create(merchant, CARD_ASKED)
    await house.make_due()
    seen = await asyncio.gather(house.janitor.run_once(), house.janitor.run_once())
    assert sum(seen) == 6
    assert house.omise.count("inquire") == 6
    assert await house.entries(merchant) == ["payment_captured"] * 6


async def test_unknown_refund_that_had_succeeded_is_found_by_the_same_key(house, merchant):
    await house.intents.create(merchant, CARD_ASKED)
    intent = await house.intents.create(merchant, CARD_ASKED)
    house.omise.refund_script.append("lost_after")
    refund = await house.refunds.create(merchant, CreateRefund(payment_intent=intent.id))
    assert refund.status == "pending"
    assert (await house.balances(merchant))["refunds_payable"] == 1_000_00
    await house.make_due()
    assert await house.janitor.run_once() == 1
    assert (await house.refunds.get(merchant, refund.id)).status == "succeeded"
    keys = {key for operation, key in house.omise.calls if "refund" in operation}
    assert len(keys) == 1
    assert house.omise.count("refund") == 1
    assert "refunds_payable" not in await house.balances(merchant)


async def test_refund_that_the_provider_never_got_is_sent_again_only_after_a_second_look(house, merchant):
    await house.intents.create(merchant, CARD_ASKED)
    intent = await house.intents.create(merchant, CARD_ASKED)
    house.omise.refund_script.append("lost_before")
    refund = await house.refunds.create(merchant, CreateRefund(payment_intent=intent.id))
    await house.move_clock(merchant, seconds=60)
    await house.make_due()
    await house.janitor.run_once()
    assert house.omise.count("refund") == 1
    await house.make_due()
    await house.janitor.run_once()
    assert house.omise.count("refund") == 2
    assert (await house.refunds.get(merchant, refund.id)).status == "succeeded"
    assert (await house.entries(merchant)).count("refund_reserved") == 1


async def test_refund_that_is_being_sent_again_is_left_alone_by_other_janitors(house, merchant, monkeypatch):
    await house.intents.create(merchant, CARD_ASKED)
    intent = await house.intents.create(merchant, CARD_ASKED)
    house.omise.refund_script.append("lost_before")
    await house.refunds.create(merchant, CreateRefund(payment_intent=intent.id))
    await house.move_clock(merchant, seconds=60)
    await house.make_due()
    await house.janitor.run_once()
    await house.make_due()
    send, taken_meanwhile = house.omise.refund, []

    async def slow_refund(account, request):
        monkeypatch.setattr(house.omise, "refund", send)
        taken_meanwhile.append(await house.janitor.run_once())
        return await send(account, request)

    monkeypatch.setattr(house.omise, "refund", slow_refund)
    await house.janitor.run_once()
    assert taken_meanwhile == [0]
    assert house.omise.count("refund") == 2
    assert await house.rows("SELECT status, leased_until FROM gateway.refunds") == [
        {"status": "succeeded", "leased_until": None}
    ]


@pytest.mark.parametrize("sent_before", ["lost_before", "not_attempted"])
async def test_refund_sent_again_without_an_answer_is_not_sent_at_once_by_another_janitor(
    house, merchant, monkeypatch, sent_before
):
    """The moment between the janitor's noting of silence and its putting off of the next question."""
    await house.intents.create(merchant, CARD_ASKED)
    intent = await house.intents.create(merchant, CARD_ASKED)
    house.omise.refund_script.extend([sent_before, "lost_before"])
    await house.refunds.create(merchant, CreateRefund(payment_intent=intent.id))
    await house.move_clock(merchant, seconds=60)
    await house.run("UPDATE gateway.refunds SET asks = 1")
    await house.make_due()
    report, taken_meanwhile = house.applier.report, []

    async def then_others_look(finding, *, book_id):
        applied = await report(finding, book_id=book_id)
        taken_meanwhile.append(await house.janitor.run_once())
        return applied

    monkeypatch.setattr(house.applier, "report", then_others_look)
    await house.janitor.run_once()
    assert set(taken_meanwhile) == {0}
    assert house.omise.count("refund") == 2
    assert await house.rows("SELECT asks, leased_until FROM gateway.refunds") == [{"asks": 2, "leased_until": None}]


async def test_refund_that_never_left_waits_reserved_and_is_sent_later(house, merchant):
    await house.intents.create(merchant, CARD_ASKED)
    intent = await house.intents.create(merchant, CARD_ASKED)
    house.omise.refund_script.append("not_attempted")
    refund = await house.refunds.create(merchant, CreateRefund(payment_intent=intent.id))
    assert refund.status == "pending"
    assert await house.rows("SELECT status FROM gateway.refunds") == [{"status": "reserved"}]
    await house.make_due()
    await house.janitor.run_once()
    assert (await house.refunds.get(merchant, refund.id)).status == "succeeded"
    assert (await house.entries(merchant)).count("refund_reserved") == 1
