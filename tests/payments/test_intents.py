"""Asking for a payment: what is committed when, and what each answer of a provider comes to."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from gateway.payments.errors import InvalidRequest, NotFound, Refused
from gateway.payments.requests import CreateIntent
from gateway.payments.states import AttemptStatus, IntentStatus
from gateway.providers.base import Method
from tests.statements import noted

QR_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.PROMPTPAY)
CARD_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.CARD, card_token="tokn_1")
SETTLED_CARD = {
    "provider_receivable": 1_000_00,
    "merchant_pending": 1_000_00 - 36_50 - 2_56,
    "fee_income": 36_50,
    "output_vat": 2_56,
}
"""1,000 baht by card at 3.65 %: fee 36.50, VAT 7 % of it 2.555, half-up 2.56."""


async def test_qr_payment_shows_its_code_and_moves_no_money(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    assert (intent.status, intent.latest_attempt.status) == (IntentStatus.REQUIRES_ACTION, AttemptStatus.PENDING)
    assert intent.next_action.qr_data == "000201"
    assert intent.expires_at == intent.created_at + timedelta(seconds=900)
    assert (intent.latest_attempt.provider, intent.amount_received, intent.version) == ("scb", 0, 2)
    assert await house.entries(merchant) == []
    assert await house.event_types(merchant) == ["payment_intent.created", "payment_intent.requires_action"]
    moves = await house.rows("SELECT object, from_status, to_status FROM gateway.state_moves ORDER BY object")
    assert [tuple(move.values()) for move in moves] == [
        ("attempt", "submitted", "pending"),
        ("intent", "requires_confirmation", "requires_action"),
    ]


async def test_qr_payment_succeeds_when_the_payer_pays(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    applied = await house.pay(merchant, intent, house.scb)
    assert (applied.new_facts, applied.intent.intent_id) == (1, intent.id)
    paid = await house.intents.get(merchant, intent.id)
    assert (paid.status, paid.qualifiers) == (IntentStatus.SUCCEEDED, [])
    assert (paid.amount_received, paid.amount_captured, paid.amount_held) == (1_000_00, 1_000_00, 0)
    assert (paid.amount_refundable, paid.next_action, paid.version) == (1_000_00, None, 3)
    assert await house.balances(merchant) == {
        "provider_receivable": 1_000_00,
        "merchant_pending": 982_34,
        "fee_income": 16_50,
        "output_vat": 1_16,
    }
    assert (await house.event_types(merchant))[2:] == ["payment_intent.succeeded"]
    assert (await house.attempt(intent.id))["due_at"] is None


async def test_card_payment_succeeds_in_one_call(house, merchant):
    intent = await house.intents.create(merchant, CARD_ASKED)
    assert (intent.status, intent.latest_attempt.status) == (IntentStatus.SUCCEEDED, AttemptStatus.CAPTURED)
    assert intent.latest_attempt.provider_reference.startswith("chrg_")
    assert await house.balances(merchant) == SETTLED_CARD
    assert await house.entries(merchant) == ["payment_captured"]
    assert await house.event_types(merchant) == ["payment_intent.created", "payment_intent.succeeded"]


async def test_promptpay_goes_to_omise_when_the_merchant_says_so(house, merchant):
    intent = await house.intents.create(merchant, msgspec.structs.replace(QR_ASKED, provider="omise"))
    assert intent.latest_attempt.provider == "omise"
    assert (house.omise.count("charge"), house.scb.count("charge")) == (1, 0)


async def test_declined_card_waits_for_another_method_and_says_why(house, merchant):
    house.omise.charge_script.append("declined")
    intent = await house.intents.create(merchant, CARD_ASKED)
    assert (intent.status, intent.latest_attempt.status) == (
        IntentStatus.REQUIRES_PAYMENT_METHOD,
        AttemptStatus.DECLINED,
    )
    assert (intent.last_error.code, intent.last_error.provider_code) == ("insufficient_funds", "insufficient_fund")
    assert await house.entries(merchant) == []
    assert (await house.event_types(merchant))[1:] == ["payment_intent.payment_failed"]


async def test_unreachable_provider_is_told_from_a_decline(house, merchant):
    house.omise.charge_script.append("not_attempted")
    intent = await house.intents.create(merchant, CARD_ASKED)
    assert (intent.status, intent.latest_attempt.status) == (
        IntentStatus.REQUIRES_PAYMENT_METHOD,
        AttemptStatus.NOT_ATTEMPTED,
    )
    assert (intent.last_error.code, intent.last_error.retryable) == ("provider_not_attempted", True)
    assert (await house.attempt(intent.id))["due_at"] is None


async def test_retry_of_a_payment_that_never_left_sends_it_under_the_same_key(house, merchant):
    house.omise.charge_script.extend(["not_attempted", "not_attempted"])
    intent_id = "pi_test_01k80000000000000000000000"
    for status in (AttemptStatus.NOT_ATTEMPTED, AttemptStatus.NOT_ATTEMPTED, AttemptStatus.CAPTURED):
        intent = await house.intents.create(merchant, CARD_ASKED, intent_id=intent_id)
        assert (intent.id, intent.latest_attempt.status) == (intent_id, status)
        attempt = await house.attempt(intent.id)
        assert (attempt["due_at"], attempt["leased_until"]) == (None, None)
    assert len({key for _, key in house.omise.calls}) == 1
    assert house.omise.count("inquire") == 0
    assert await house.balances(merchant) == SETTLED_CARD


async def test_payment_cancelled_while_its_retry_is_being_sent_stays_cancelled(house, merchant, monkeypatch):
    """The provider takes what nobody wants any more; money that comes for it is booked and held."""
    house.omise.charge_script.append("not_attempted")
    asked = msgspec.structs.replace(QR_ASKED, provider="omise")
    intent_id = "pi_test_01k80000000000000000000000"
    await house.intents.create(merchant, asked, intent_id=intent_id)
    charge = house.omise.charge

    async def cancelled_meanwhile(account, request):
        assert (await house.intents.cancel(merchant, intent_id)).status is IntentStatus.CANCELED
        return await charge(account, request)

    monkeypatch.setattr(house.omise, "charge", cancelled_meanwhile)
    intent = await house.intents.create(merchant, asked, intent_id=intent_id)
    assert (intent.status, intent.latest_attempt.status) == (IntentStatus.CANCELED, AttemptStatus.PENDING)
    await house.pay(merchant, intent, house.omise)
    assert await house.entries(merchant) == ["payer_money_held"]
    intent = await house.intents.get(merchant, intent_id)
    assert (intent.status, intent.amount_captured, intent.amount_held) == (IntentStatus.CANCELED, 0, 1_000_00)


async def test_list_asks_the_same_number_of_questions_for_any_number_of_rows(house, merchant, monkeypatch):
    statements = noted(monkeypatch, house.database)
    counts = []
    for wanted in (1, 6):
        while len((await house.intents.list(merchant, limit=100)).data) < wanted:
            await house.intents.create(merchant, CARD_ASKED)
        statements.clear()
        assert len((await house.intents.list(merchant, limit=100)).data) == wanted
        counts.append(len(statements))
    assert counts == [2, 2]


async def test_unknown_outcome_is_processing_and_never_failed(house, merchant):
    for word in ("lost_before", "lost_after", "raises"):
        house.omise.charge_script.append(word)
        intent = await house.intents.create(merchant, CARD_ASKED)
        assert (intent.status, intent.latest_attempt.status) == (IntentStatus.PROCESSING, AttemptStatus.UNKNOWN)
        assert intent.last_error is None
        attempt = await house.attempt(intent.id)
        assert attempt["due_at"] == intent.created_at + timedelta(seconds=10)
        assert attempt["leased_until"] is None
    assert await house.entries(merchant) == []


BAD_REQUESTS = [
    ({"amount": 19_99}, "amount_invalid", "amount"),
    ({"amount": 150_000_01}, "amount_invalid", "amount"),
    ({"amount": -1}, "amount_invalid", "amount"),
    ({"amount": 0}, "amount_invalid", "amount"),
    ({"currency": "usd"}, "currency_invalid", "currency"),
    ({"currency": "THB"}, "currency_invalid", "currency"),
    ({"card_token": "tokn_1"}, "parameter_invalid", "card_token"),
    ({"payment_method": Method.CARD}, "parameter_missing", "card_token"),
    ({"provider": "nobody"}, "parameter_invalid", "provider"),
    (
        {"payment_method": Method.CARD, "card_token": "tokn_1", "provider": "scb"},
        "parameter_invalid",
        "provider",
    ),
    ({"metadata": {"k": "v" * 501}}, "parameter_invalid", "metadata"),
    ({"metadata": {"k[0]": "v"}}, "parameter_invalid", "metadata"),
    ({"metadata": {f"k{number}": "" for number in range(51)}}, "parameter_invalid", "metadata"),
]


async def test_bad_request_leaves_nothing_behind(house, merchant):
    for change, code, param in BAD_REQUESTS:
        with pytest.raises(InvalidRequest) as refused:
            await house.intents.create(merchant, msgspec.structs.replace(QR_ASKED, **change))
        assert (refused.value.code, refused.value.param) == (code, param)
    assert await house.rows("SELECT 1 FROM gateway.payment_intents") == []
    assert house.scb.calls + house.omise.calls == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"amount": 100.0, "currency": "thb", "payment_method": "promptpay"}',
        b'{"amount": "100", "currency": "thb", "payment_method": "promptpay"}',
        b'{"amount": -5, "currency": "thb", "payment_method": "promptpay"}',
        b'{"amount": 9223372036854775808, "currency": "thb", "payment_method": "promptpay"}',
        b'{"amount": 100, "currency": "thb", "payment_method": "cash"}',
        b'{"amount": 100, "currency": "thb", "payment_method": "promptpay", "surprise": 1}',
    ],
)
def test_wire_request_is_strict(body):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=CreateIntent)


async def test_merchant_reference_is_unique_in_its_account(house, merchant):
    asked = msgspec.structs.replace(QR_ASKED, merchant_reference="order-1")
    await house.intents.create(merchant, asked)
    with pytest.raises(InvalidRequest) as refused:
        await house.intents.create(merchant, asked)
    assert refused.value.code == "merchant_reference_used"
    assert await house.rows("SELECT count(*) FROM gateway.payment_intents") == [{"count": 1}]
    assert house.scb.count("charge") == 1
    other = await house.new_merchant("another shop")
    assert (await house.intents.create(other, asked)).merchant_reference == "order-1"


async def test_a_used_reference_stops_none_of_those_that_are_made_with_it(house, merchant):
    names = ["order-1", "order-2", "order-1", "order-3", "order-2"]
    done = await asyncio.gather(
        *(house.intents.create(merchant, msgspec.structs.replace(QR_ASKED, merchant_reference=name)) for name in names),
        return_exceptions=True,
    )
    refused = [answer for answer in done if isinstance(answer, InvalidRequest)]
    assert {answer.code for answer in refused} == {"merchant_reference_used"}
    made = await house.rows("SELECT merchant_reference FROM gateway.payment_intents ORDER BY merchant_reference")
    assert [row["merchant_reference"] for row in made] == ["order-1", "order-2", "order-3"]
    assert (len(refused), house.scb.count("charge")) == (2, 3)
    assert await house.rows("SELECT count(*) FROM gateway.payment_attempts") == [{"count": 3}]
    assert (await house.event_types(merchant)).count("payment_intent.created") == 3


async def test_other_accounts_payments_are_not_found(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    other = await house.new_merchant("another shop")
    same_book = msgspec.structs.replace(other, book_id=merchant.book_id)
    for stranger in (other, same_book):
        with pytest.raises(NotFound):
            await house.intents.get(stranger, intent.id)
        with pytest.raises(NotFound):
            await house.intents.cancel(stranger, intent.id)
        assert (await house.intents.list(stranger)).data == []
        with pytest.raises(InvalidRequest):
            await house.intents.list(stranger, starting_after=intent.id)
    assert (await house.intents.get(merchant, intent.id)).status is IntentStatus.REQUIRES_ACTION


async def test_list_walks_newest_first_in_both_directions(house, merchant):
    made = [(await house.intents.create(merchant, QR_ASKED)).id for _ in range(5)]
    newest_first = made[::-1]
    first = await house.intents.list(merchant, limit=2)
    assert ([intent.id for intent in first.data], first.has_more) == (newest_first[:2], True)
    rest = await house.intents.list(merchant, limit=3, starting_after=newest_first[1])
    assert ([intent.id for intent in rest.data], rest.has_more) == (newest_first[2:], False)
    back = await house.intents.list(merchant, limit=2, ending_before=newest_first[3])
    assert ([intent.id for intent in back.data], back.has_more) == (newest_first[1:3], True)


async def test_cancel_needs_the_providers_word(house, merchant):
    asked = msgspec.structs.replace(QR_ASKED, provider="omise")
    intent = await house.intents.create(merchant, asked)
    house.omise.cancel_answer = "declined"
    with pytest.raises(Refused) as refused:
        await house.intents.cancel(merchant, intent.id)
    assert refused.value.code == "not_cancelable"
    assert (await house.intents.get(merchant, intent.id)).status is IntentStatus.REQUIRES_ACTION
    house.omise.cancel_answer = "voided"
    canceled = await house.intents.cancel(merchant, intent.id)
    assert (canceled.status, canceled.latest_attempt.status) == (IntentStatus.CANCELED, AttemptStatus.VOIDED)
    assert (await house.intents.cancel(merchant, intent.id)).status is IntentStatus.CANCELED
    assert (await house.event_types(merchant))[2:] == ["payment_intent.canceled"]
    assert house.omise.count("cancel") == 2


async def test_cancel_is_refused_while_the_outcome_is_unknown_and_after_success(house, merchant):
    house.omise.charge_script.append("lost_after")
    unknown = await house.intents.create(merchant, CARD_ASKED)
    with pytest.raises(Refused) as refused:
        await house.intents.cancel(merchant, unknown.id)
    assert refused.value.code == "payment_processing"
    paid = await house.intents.create(merchant, CARD_ASKED)
    with pytest.raises(Refused) as refused:
        await house.intents.cancel(merchant, paid.id)
    assert refused.value.code == "not_cancelable"
    assert house.omise.count("cancel") == 0
    assert await house.balances(merchant) == SETTLED_CARD


async def test_declined_payment_is_cancelled_without_asking_anybody(house, merchant):
    house.omise.charge_script.append("declined")
    intent = await house.intents.create(merchant, CARD_ASKED)
    assert (await house.intents.cancel(merchant, intent.id)).status is IntentStatus.CANCELED
    assert house.omise.count("cancel") == 0


async def test_money_after_cancelling_is_held_for_the_payer(house, merchant):
    intent = await house.intents.create(merchant, msgspec.structs.replace(QR_ASKED, provider="omise"))
    await house.intents.cancel(merchant, intent.id)
    await house.pay(merchant, intent, house.omise, seconds=60)
    late = await house.intents.get(merchant, intent.id)
    assert (late.status, late.qualifiers, late.amount_held) == (IntentStatus.CANCELED, ["paid_late"], 1_000_00)
    assert await house.balances(merchant) == {"provider_receivable": 1_000_00, "payer_refundable": 1_000_00}
