"""The end of an authorisation: known, warned of, and then given up at the provider; never before it was asked."""

from datetime import timedelta

import msgspec
import pytest

from gateway.payments.errors import Refused
from gateway.payments.states import AttemptStatus, IntentStatus
from gateway.providers.base import FactKind
from tests.payments.scripted_provider import CARD
from tests.payments.test_captures import ALL, ASKED

WEEK = timedelta(days=7)


@pytest.fixture
async def authorized(house, merchant):
    return await house.intents.create(merchant, ASKED)


async def at(house, merchant, intent, **before_the_end):
    """The janitor's round so long before the end of the authorisation."""
    now = await house.principal(merchant.account_id, merchant.book_id)
    moment = intent.capture_before - timedelta(**before_the_end)
    moved = await house.move_clock(now, seconds=(moment - now.clock.now()).total_seconds())
    await house.end_leases()
    await house.janitor.run_once()
    return moved


async def warnings(house, merchant):
    return (await house.event_types(merchant)).count("payment_intent.capture_due")


async def test_an_authorisation_says_until_when_it_can_be_taken(house, merchant, authorized):
    [fact] = await house.rows("SELECT occurred_at FROM gateway.facts WHERE kind = 'authorized'")
    assert authorized.capture_before == fact["occurred_at"] + WEEK
    sale = await house.intents.create(merchant, msgspec.structs.replace(ASKED, capture_method="automatic"))
    assert sale.capture_before is None
    house.omise.capabilities = [msgspec.structs.replace(CARD, capture_days_max=None)]
    assert (await house.intents.create(merchant, ASKED)).capture_before is None


async def test_the_merchant_is_warned_once_a_day_before(house, merchant, authorized):
    await at(house, merchant, authorized, hours=24, seconds=60)
    assert await warnings(house, merchant) == 0
    for _ in range(2):
        await at(house, merchant, authorized, hours=23)
        await house.make_due()
        await house.janitor.run_once()
    assert await warnings(house, merchant) == 1
    [told] = await house.rows("SELECT payload FROM gateway.events WHERE type = 'payment_intent.capture_due'")
    body = msgspec.json.decode(told["payload"])["data"]["object"]
    assert (body["id"], body["status"], body["amount_capturable"]) == (authorized.id, "requires_capture", 1_000_00)
    assert (await house.intents.get(merchant, authorized.id)).status is IntentStatus.REQUIRES_CAPTURE
    assert house.omise.count("cancel") == 0


async def test_what_was_not_taken_in_time_is_given_up_at_the_provider(house, merchant, authorized):
    await at(house, merchant, authorized, hours=1)
    asked = house.omise.count("inquire")
    await at(house, merchant, authorized)
    assert (house.omise.count("inquire"), house.omise.count("cancel")) == (asked + 1, 1)
    ended = await house.intents.get(merchant, authorized.id)
    assert (ended.status, ended.latest_attempt.status) == (IntentStatus.CANCELED, AttemptStatus.VOIDED)
    assert (ended.last_error.code, ended.amount_capturable) == ("authorization_expired", 0)
    assert (await house.event_types(merchant))[-2:] == ["payment_intent.capture_due", "payment_intent.canceled"]
    assert await house.entries(merchant) == []
    await house.make_due()
    assert await house.janitor.run_once() == 0


@pytest.mark.parametrize("answer", ["unknown", "declined"])
async def test_a_provider_that_does_not_give_it_up_is_asked_again(house, merchant, authorized, answer):
    house.omise.cancel_answer = answer
    await at(house, merchant, authorized)
    assert (await house.intents.get(merchant, authorized.id)).status is IntentStatus.REQUIRES_CAPTURE
    [row] = await house.rows("SELECT due_at FROM gateway.payment_attempts")
    assert row["due_at"] is not None
    house.omise.cancel_answer = "voided"
    await house.make_due()
    await house.janitor.run_once()
    ended = await house.intents.get(merchant, authorized.id)
    assert (ended.status, ended.last_error.code) == (IntentStatus.CANCELED, "authorization_expired")


async def test_a_capture_after_the_end_is_refused_and_nobody_is_asked(house, merchant, authorized):
    now = await house.move_clock(merchant, days=7, seconds=2)
    with pytest.raises(Refused) as refused:
        await house.intents.capture(now, authorized.id, msgspec.structs.replace(ALL, amount=1_000_01))
    assert (refused.value.code, house.omise.count("capture")) == ("authorization_expired", 0)
    view = await house.intents.get(now, authorized.id)
    assert (view.status, view.amount_capturable) == (IntentStatus.REQUIRES_CAPTURE, 1_000_00)


async def test_a_capture_asked_for_in_time_is_carried_on_after_the_end(house, merchant, authorized):
    house.omise.capture_script.append("lost_before")
    await house.intents.capture(merchant, authorized.id, ALL)
    await at(house, merchant, authorized)
    paid = await house.intents.get(merchant, authorized.id)
    assert (paid.status, paid.amount_captured, house.omise.count("cancel")) == (IntentStatus.SUCCEEDED, 1_000_00, 0)


async def test_money_that_the_provider_took_in_time_is_found_before_anything_is_given_up(house, merchant, authorized):
    key = (await house.attempt(authorized.id))["provider_key"]
    house.omise.charges[key].append(await house.paid_fact(authorized, house.omise))
    await at(house, merchant, authorized)
    paid = await house.intents.get(merchant, authorized.id)
    assert (paid.status, house.omise.count("cancel")) == (IntentStatus.SUCCEEDED, 0)


async def test_a_void_in_time_has_no_such_reason(house, merchant, authorized):
    await house.applier.apply(
        await house.paid_fact(authorized, house.omise, kind=FactKind.VOIDED), book_id=merchant.book_id
    )
    ended = await house.intents.get(merchant, authorized.id)
    assert (ended.status, ended.last_error) == (IntentStatus.CANCELED, None)


async def test_the_end_of_the_payers_page_does_not_end_what_is_authorised(house, merchant):
    house.omise.capabilities = [msgspec.structs.replace(CARD, expiry_seconds=1800)]
    intent = await house.intents.create(merchant, ASKED)
    await house.move_clock(merchant, hours=1)
    await house.end_leases()
    assert await house.janitor.run_once() == 1
    assert (await house.intents.get(merchant, intent.id)).status is IntentStatus.REQUIRES_CAPTURE
