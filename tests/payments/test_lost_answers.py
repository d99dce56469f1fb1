"""A QR whose answer was lost: the payer sees it after all, or pays by another; never twice, and no money is missed."""

import msgspec
import pytest

from gateway.foundation.ids import new_id
from gateway.payments.errors import Refused
from gateway.payments.requests import ConfirmIntent, CreateIntent
from gateway.payments.states import AttemptStatus, IntentStatus, Qualifier
from gateway.providers.base import FactKind, Method

QR_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.PROMPTPAY)
AGAIN = ConfirmIntent(payment_method=Method.PROMPTPAY)


async def lost(house, merchant, *words):
    """A payment by QR whose first answer was lost; `words` follow for what is sent later."""
    house.scb.charge_script.extend(words)
    intent = await house.intents.create(merchant, QR_ASKED)
    assert intent.status is IntentStatus.PROCESSING
    return intent


async def confirm(house, merchant, intent):
    return await house.intents.confirm(merchant, intent.id, AGAIN, attempt_id=new_id("att", livemode=False))


async def ask(house, merchant):
    """The janitor, once the first request has surely ended."""
    await house.make_due()
    assert await house.janitor.run_once() == 1


async def abandoned(house, merchant):
    intent = await lost(house, merchant, "lost_after", "lost_after")
    await house.move_clock(merchant, seconds=60)
    await ask(house, merchant)
    return intent, await house.intents.get(merchant, intent.id)


@pytest.mark.parametrize("word", ["lost_before", "lost_after", "raises"])
async def test_shown_after_all_under_the_same_key_and_paid_once(house, merchant, word):
    intent = await lost(house, merchant, word)
    await ask(house, merchant)
    assert house.scb.count("charge") == 1, "the first request may still be under way"
    await house.move_clock(merchant, seconds=60)
    await ask(house, merchant)
    shown = await house.intents.get(merchant, intent.id)
    assert (shown.status, shown.next_action.qr_data) == (IntentStatus.REQUIRES_ACTION, "000201")
    assert len(house.scb.charges) == 1
    assert {key for operation, key in house.scb.calls if operation == "charge"} == set(house.scb.charges)
    assert house.scb.count("cancel") == 0
    await house.pay(merchant, intent, house.scb)
    paid = await house.intents.get(merchant, intent.id)
    assert (paid.status, paid.amount_captured, paid.qualifiers) == (IntentStatus.SUCCEEDED, 1_000_00, [])
    assert await house.entries(merchant) == ["payment_captured"]


async def test_what_is_not_shown_twice_is_canceled_and_the_payer_pays_by_another(house, merchant):
    intent, view = await abandoned(house, merchant)
    assert (view.status, view.latest_attempt.status) == (
        IntentStatus.REQUIRES_PAYMENT_METHOD,
        AttemptStatus.ABANDONED,
    )
    assert (view.last_error.code, view.last_error.retryable) == ("provider_answer_lost", True)
    assert (await house.event_types(merchant))[-1] == "payment_intent.payment_failed"
    assert await house.entries(merchant) == []
    assert [operation for operation, _ in house.scb.calls] == ["charge", "inquire", "charge", "cancel"]
    assert (await house.attempt(intent.id))["due_at"] is None
    following = await confirm(house, merchant, intent)
    assert following.status is IntentStatus.REQUIRES_ACTION
    assert following.latest_attempt.id != view.latest_attempt.id
    assert len(house.scb.charges) == 2


async def test_money_that_comes_on_the_abandoned_one_is_the_payment(house, merchant):
    intent, _ = await abandoned(house, merchant)
    await house.pay(merchant, intent, house.scb)
    paid = await house.intents.get(merchant, intent.id)
    assert (paid.status, paid.amount_captured, paid.qualifiers) == (IntentStatus.SUCCEEDED, 1_000_00, [])
    with pytest.raises(Refused, match="succeeded"):
        await confirm(house, merchant, intent)
    assert await house.entries(merchant) == ["payment_captured"]


async def test_money_that_comes_on_both_is_held_the_second_time(house, merchant):
    intent, _ = await abandoned(house, merchant)
    first_key = (await house.attempt(intent.id))["provider_key"]
    await confirm(house, merchant, intent)
    second_key = next(key for key in house.scb.charges if key != first_key)
    for number, key in enumerate((second_key, first_key)):
        fact = await house.paid_fact(intent, house.scb, seconds=90 + number, transaction=f"txn_{number}")
        fact = msgspec.structs.replace(fact, provider_reference=key)
        await house.applier.apply(fact, book_id=merchant.book_id)
    paid = await house.intents.get(merchant, intent.id)
    assert (paid.status, paid.qualifiers) == (IntentStatus.SUCCEEDED, [Qualifier.OVERPAID])
    balances = await house.balances(merchant)
    assert (paid.amount_captured, balances["payer_refundable"]) == (1_000_00, 1_000_00)


@pytest.mark.parametrize("cancel_answer", ["unknown", "declined"])
async def test_what_is_not_certainly_dead_is_waited_for(house, merchant, cancel_answer):
    house.scb.cancel_answer = cancel_answer
    intent, view = await abandoned(house, merchant)
    assert (view.status, view.latest_attempt.status) == (IntentStatus.PROCESSING, AttemptStatus.PENDING)
    with pytest.raises(Refused, match="not known yet"):
        await confirm(house, merchant, intent)
    house.scb.charge_script.append("lost_after")
    house.scb.cancel_answer = "voided"
    await ask(house, merchant)
    view = await house.intents.get(merchant, intent.id)
    assert view.status is IntentStatus.REQUIRES_PAYMENT_METHOD


@pytest.mark.parametrize("who_hears", ["janitor", "merchant"])
async def test_cancellation_whose_answer_is_lost_too_leaves_the_payment_payable(house, merchant, who_hears):
    house.scb.cancel_answer = "unknown"
    intent, view = await abandoned(house, merchant)
    assert view.status is IntentStatus.PROCESSING
    key = (await house.attempt(intent.id))["provider_key"]
    void = await house.paid_fact(intent, house.scb, kind=FactKind.VOIDED)
    house.scb.charges[key].append(void)
    if who_hears == "janitor":
        await ask(house, merchant)
    else:
        await house.applier.apply(void, book_id=merchant.book_id)
    view = await house.intents.get(merchant, intent.id)
    assert (view.status, view.last_error.code, view.last_error.retryable) == (
        IntentStatus.REQUIRES_PAYMENT_METHOD,
        "provider_answer_lost",
        True,
    )
    assert (await confirm(house, merchant, intent)).status is IntentStatus.REQUIRES_ACTION


async def test_merchant_who_cancels_meanwhile_is_heard(house, merchant):
    intent, _ = await abandoned(house, merchant)
    assert (await house.intents.cancel(merchant, intent.id)).status is IntentStatus.CANCELED


async def test_paid_meanwhile_is_neither_sent_again_nor_canceled(house, merchant):
    intent = await lost(house, merchant, "lost_after")
    key = (await house.attempt(intent.id))["provider_key"]
    house.scb.charges[key] = [await house.paid_fact(intent, house.scb)]
    await house.move_clock(merchant, seconds=60)
    await ask(house, merchant)
    assert (await house.intents.get(merchant, intent.id)).status is IntentStatus.SUCCEEDED
    assert [operation for operation, _ in house.scb.calls] == ["charge", "inquire"]


async def test_over_when_its_time_is_over(house, merchant):
    intent = await lost(house, merchant, "lost_after")
    await house.move_clock(merchant, seconds=901)
    await ask(house, merchant)
    assert (await house.intents.get(merchant, intent.id)).status is IntentStatus.EXPIRED
    assert (house.scb.count("charge"), house.scb.count("cancel")) == (1, 0)


async def test_no_to_what_the_provider_never_heard_of_is_believed_but_money_is_not_refused(house, merchant):
    house.scb.charge_script.append("lost_before")
    intent = await house.intents.create(merchant, QR_ASKED)
    house.scb.charge_script.append("declined")
    await house.move_clock(merchant, seconds=60)
    await ask(house, merchant)
    view = await house.intents.get(merchant, intent.id)
    assert (view.status, view.last_error.code, view.last_error.retryable) == (
        IntentStatus.REQUIRES_PAYMENT_METHOD,
        "insufficient_funds",
        False,
    )
    await house.pay(merchant, intent, house.scb)
    assert (await house.intents.get(merchant, intent.id)).status is IntentStatus.SUCCEEDED
