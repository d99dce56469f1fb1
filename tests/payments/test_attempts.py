"""Attempts: confirmed now or later, again after a decline, at the next provider where the first was not reached."""

import asyncio

import msgspec
import pytest

from gateway.payments.errors import InvalidRequest, Refused
from gateway.payments.requests import ConfirmIntent, CreateIntent
from gateway.payments.states import AttemptStatus, IntentStatus
from gateway.providers.base import Method

LATER = CreateIntent(amount=1_000_00, currency="thb", confirm=False)
QR = ConfirmIntent(payment_method=Method.PROMPTPAY)
CARD = ConfirmIntent(payment_method=Method.CARD, card_token="tokn_1")
QR_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.PROMPTPAY)
CARD_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.CARD, card_token="tokn_1")


async def confirm(house, merchant, intent, how, number=1):
    attempt_id = f"att_test_01k8000000000000000000000{number}"
    return await house.intents.confirm(merchant, intent.id, how, attempt_id=attempt_id)


async def attempts(house, intent):
    return await house.rows(
        "SELECT provider, status FROM gateway.payment_attempts WHERE intent_id = $1 ORDER BY created_at, attempt_id",
        intent.id,
    )


async def test_payment_is_confirmed_later(house, merchant):
    intent = await house.intents.create(merchant, LATER)
    assert (intent.status, intent.latest_attempt, intent.payment_method) == (
        IntentStatus.REQUIRES_PAYMENT_METHOD,
        None,
        None,
    )
    assert house.scb.calls == []
    assert (await house.intents.list(merchant)).data == [intent]
    shown = await confirm(house, merchant, intent, QR)
    assert (shown.status, shown.payment_method) == (IntentStatus.REQUIRES_ACTION, Method.PROMPTPAY)
    assert shown.next_action.qr_data == "000201"
    await house.pay(merchant, intent, house.scb)
    assert (await house.intents.get(merchant, intent.id)).status is IntentStatus.SUCCEEDED


async def test_what_is_said_at_confirmation_is_not_said_before(house, merchant):
    with pytest.raises(InvalidRequest) as refused:
        await house.intents.create(merchant, msgspec.structs.replace(LATER, card_token="tokn_1"))
    assert (refused.value.code, refused.value.param) == ("parameter_invalid", "card_token")
    with pytest.raises(InvalidRequest) as refused:
        await house.intents.create(merchant, msgspec.structs.replace(LATER, confirm=True))
    assert (refused.value.code, refused.value.param) == ("parameter_missing", "payment_method")
    assert await house.rows("SELECT FROM gateway.payment_intents") == []


async def test_payment_that_nobody_tried_is_cancelled_without_asking_anybody(house, merchant):
    intent = await house.intents.create(merchant, LATER)
    canceled = await house.intents.cancel(merchant, intent.id)
    assert (canceled.status, canceled.version) == (IntentStatus.CANCELED, 2)
    assert await house.event_types(merchant) == ["payment_intent.created", "payment_intent.canceled"]
    with pytest.raises(Refused) as refused:
        await confirm(house, merchant, intent, QR)
    assert refused.value.code == "not_confirmable"


async def test_after_a_decline_another_card_pays(house, merchant):
    house.omise.charge_script.append("declined")
    intent = await house.intents.create(merchant, CARD_ASKED)
    assert intent.status is IntentStatus.REQUIRES_PAYMENT_METHOD
    paid = await confirm(house, merchant, intent, msgspec.structs.replace(CARD, card_token="tokn_2"))
    assert (paid.status, paid.last_error) == (IntentStatus.SUCCEEDED, None)
    assert [row["status"] for row in await attempts(house, intent)] == ["declined", "captured"]
    assert (await house.balances(merchant))["provider_receivable"] == 1_000_00


async def test_no_second_attempt_while_the_first_may_bring_money(house, merchant):
    house.omise.charge_script.append("lost_after")
    unknown = await house.intents.create(merchant, CARD_ASKED)
    waiting = await house.intents.create(merchant, QR_ASKED)
    for intent, code in ((unknown, "payment_processing"), (waiting, "not_confirmable")):
        with pytest.raises(Refused) as refused:
            await confirm(house, merchant, intent, CARD)
        assert refused.value.code == code
    assert house.omise.count("charge") == 1


async def test_racing_confirmations_make_one_attempt(house, merchant):
    intent = await house.intents.create(merchant, LATER)
    results = await asyncio.gather(
        *(confirm(house, merchant, intent, CARD, number) for number in range(5)), return_exceptions=True
    )
    assert {each.code for each in results if isinstance(each, Refused)} <= {"payment_processing", "not_confirmable"}
    assert len(await attempts(house, intent)) == 1
    assert house.omise.count("charge") == 1


async def test_the_same_confirmation_again_takes_up_its_attempt(house, merchant):
    intent = await house.intents.create(merchant, LATER)
    house.omise.charge_script.append("lost_before")
    assert (await confirm(house, merchant, intent, CARD)).status is IntentStatus.PROCESSING
    assert (await confirm(house, merchant, intent, CARD)).status is IntentStatus.PROCESSING
    later = await house.move_clock(merchant, seconds=3_600)
    assert (await confirm(house, later, intent, CARD)).status is IntentStatus.SUCCEEDED
    assert len({key for operation, key in house.omise.calls if operation == "charge"}) == 1


async def test_next_provider_is_asked_where_the_first_was_not_reached(house, merchant):
    house.scb.charge_script.append("not_attempted")
    intent = await house.intents.create(merchant, QR_ASKED)
    assert (intent.status, intent.latest_attempt.provider) == (IntentStatus.REQUIRES_ACTION, "omise")
    assert [tuple(row.values()) for row in await attempts(house, intent)] == [
        ("scb", "not_attempted"),
        ("omise", "pending"),
    ]
    assert await house.entries(merchant) == []


@pytest.mark.parametrize("word", ["lost_before", "lost_after"])
async def test_silence_goes_nowhere_else(house, merchant, word):
    house.scb.charge_script.append(word)
    intent = await house.intents.create(merchant, QR_ASKED)
    assert (intent.status, intent.latest_attempt.provider) == (IntentStatus.PROCESSING, "scb")
    assert house.omise.count("charge") == 0


async def test_a_named_provider_is_the_only_one(house, merchant):
    house.scb.charge_script.append("not_attempted")
    intent = await house.intents.create(merchant, msgspec.structs.replace(QR_ASKED, provider="scb"))
    assert intent.latest_attempt.status is AttemptStatus.NOT_ATTEMPTED
    assert house.omise.count("charge") == 0


async def test_nobody_reached_says_so_of_the_last(house, merchant):
    house.scb.charge_script.append("not_attempted")
    house.omise.charge_script.append("not_attempted")
    intent = await house.intents.create(merchant, QR_ASKED)
    assert (intent.status, intent.last_error.code) == (
        IntentStatus.REQUIRES_PAYMENT_METHOD,
        "provider_not_attempted",
    )
    assert (house.scb.count("charge"), house.omise.count("charge")) == (1, 1)
