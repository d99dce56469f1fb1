"""Authorised money: taken once, in full or in part; given up; and nothing is lost or doubled by silence."""

import asyncio

import msgspec
import pytest

from gateway.payments.errors import Refused
from gateway.payments.requests import CaptureIntent, CreateIntent
from gateway.payments.states import AttemptStatus, IntentStatus
from gateway.providers.base import FactKind, Method

ASKED = CreateIntent(
    amount=1_000_00, currency="thb", payment_method=Method.CARD, card_token="tokn_1", capture_method="manual"
)
ALL = CaptureIntent()


@pytest.fixture
async def authorized(house, merchant):
    intent = await house.intents.create(merchant, ASKED)
    assert (intent.status, intent.latest_attempt.status) == (IntentStatus.REQUIRES_CAPTURE, AttemptStatus.AUTHORIZED)
    assert (intent.amount_capturable, intent.amount_captured) == (1_000_00, 0)
    assert await house.entries(merchant) == []
    return intent


async def test_authorised_money_is_taken_whole(house, merchant, authorized):
    paid = await house.intents.capture(merchant, authorized.id, ALL)
    assert (paid.status, paid.amount_captured, paid.amount_capturable) == (IntentStatus.SUCCEEDED, 1_000_00, 0)
    assert (await house.balances(merchant))["provider_receivable"] == 1_000_00
    assert (await house.event_types(merchant))[1:] == [
        "payment_intent.amount_capturable_updated",
        "payment_intent.succeeded",
    ]


async def test_a_part_is_taken_with_the_fee_of_that_part_and_refunds_end_at_it(house, merchant, authorized):
    paid = await house.intents.capture(merchant, authorized.id, CaptureIntent(amount=400_00))
    assert (paid.status, paid.qualifiers, paid.amount_held) == (IntentStatus.SUCCEEDED, [], 0)
    assert (paid.amount, paid.amount_captured, paid.amount_refundable) == (1_000_00, 400_00, 400_00)
    # 3.65 % of 400 baht is 14.60, VAT 7 % of it 1.022, half-up 1.02.
    assert await house.balances(merchant) == {
        "provider_receivable": 400_00,
        "merchant_pending": 400_00 - 14_60 - 1_02,
        "fee_income": 14_60,
        "output_vat": 1_02,
    }


async def test_more_than_is_authorised_or_a_second_capture_is_refused(house, merchant, authorized):
    with pytest.raises(Refused) as refused:
        await house.intents.capture(merchant, authorized.id, CaptureIntent(amount=1_000_01))
    assert refused.value.code == "capture_exceeds_authorized"
    assert house.omise.count("capture") == 0
    await house.intents.capture(merchant, authorized.id, CaptureIntent(amount=400_00))
    with pytest.raises(Refused) as refused:
        await house.intents.capture(merchant, authorized.id, CaptureIntent(amount=100_00))
    assert refused.value.code == "not_capturable"
    assert (await house.balances(merchant))["provider_receivable"] == 400_00


async def test_racing_captures_take_the_money_once(house, merchant, authorized):
    results = await asyncio.gather(
        *(house.intents.capture(merchant, authorized.id, CaptureIntent(amount=each)) for each in (300_00, 700_00) * 3),
        return_exceptions=True,
    )
    refusals = {each.code for each in results if isinstance(each, Refused)}
    assert refusals <= {"not_capturable", "payment_processing"}
    paid = await house.intents.get(merchant, authorized.id)
    assert paid.amount_captured in {300_00, 700_00}
    assert (await house.balances(merchant))["provider_receivable"] == paid.amount_captured
    assert len({key for operation, key in house.omise.calls if operation == "capture"}) == 1


@pytest.mark.parametrize(
    ("word", "code"), [("declined", "capture_refused"), ("not_attempted", "provider_not_attempted")]
)
async def test_a_certain_no_takes_the_wish_back(house, merchant, authorized, word, code):
    house.omise.capture_script.append(word)
    with pytest.raises(Refused) as refused:
        await house.intents.capture(merchant, authorized.id, ALL)
    assert refused.value.code == code
    again = await house.intents.get(merchant, authorized.id)
    assert (again.status, again.amount_capturable) == (IntentStatus.REQUIRES_CAPTURE, 1_000_00)
    assert await house.entries(merchant) == []
    assert (await house.intents.capture(merchant, authorized.id, ALL)).status is IntentStatus.SUCCEEDED


@pytest.mark.parametrize("word", ["lost_before", "lost_after"])
async def test_after_silence_nothing_else_is_done_and_the_janitor_finds_out(house, merchant, authorized, word):
    house.omise.capture_script.append(word)
    silent = await house.intents.capture(merchant, authorized.id, CaptureIntent(amount=400_00))
    assert (silent.status, silent.amount_capturable) == (IntentStatus.REQUIRES_CAPTURE, 0)
    for other in (house.intents.cancel(merchant, authorized.id), house.intents.capture(merchant, authorized.id, ALL)):
        with pytest.raises(Refused) as refused:
            await other
        assert refused.value.code == "payment_processing"
    for _ in range(2):
        await house.move_clock(merchant, seconds=600)
        await house.janitor.run_once()
    paid = await house.intents.get(merchant, authorized.id)
    assert (paid.status, paid.amount_captured) == (IntentStatus.SUCCEEDED, 400_00)
    assert (await house.balances(merchant))["provider_receivable"] == 400_00
    assert house.omise.count("capture") == {"lost_before": 2, "lost_after": 1}[word]
    assert len({key for operation, key in house.omise.calls if operation == "capture"}) == 1


async def test_a_retry_after_silence_asks_before_it_sends_again(house, merchant, authorized):
    house.omise.capture_script.append("lost_after")
    await house.intents.capture(merchant, authorized.id, ALL)
    paid = await house.intents.capture(merchant, authorized.id, ALL)
    assert paid.status is IntentStatus.SUCCEEDED
    assert (house.omise.count("capture"), house.omise.count("inquire")) == (1, 1)


async def test_an_authorisation_is_given_up(house, merchant, authorized):
    canceled = await house.intents.cancel(merchant, authorized.id)
    assert (canceled.status, canceled.latest_attempt.status) == (IntentStatus.CANCELED, AttemptStatus.VOIDED)
    assert await house.entries(merchant) == []
    with pytest.raises(Refused) as refused:
        await house.intents.capture(merchant, authorized.id, ALL)
    assert refused.value.code == "not_capturable"


async def test_money_that_the_provider_took_unasked_is_booked(house, merchant, authorized):
    """Captured in the provider's own dashboard: a part of what was authorised is no short payment."""
    fact = await house.paid_fact(authorized, house.omise, amount=250_00, transaction="chrg_x")
    await house.applier.apply(msgspec.structs.replace(fact, kind=FactKind.CAPTURED), book_id=merchant.book_id)
    paid = await house.intents.get(merchant, authorized.id)
    assert (paid.status, paid.amount_captured, paid.qualifiers) == (IntentStatus.SUCCEEDED, 250_00, [])
