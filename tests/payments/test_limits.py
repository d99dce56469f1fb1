"""Limits: what an account may take, counted exactly, given back where nothing came of it, however many race."""

import asyncio

import pytest

from gateway.payments.errors import InvalidRequest, LimitExceeded, Refused
from gateway.payments.limits import Limits, Used, set_limits, used_on
from gateway.payments.requests import ConfirmIntent, CreateIntent, CreateRefund
from gateway.payments.states import IntentStatus
from gateway.providers.base import FactKind, Method

LATER = CreateIntent(amount=1_000_00, currency="thb", confirm=False)
QR = ConfirmIntent(payment_method=Method.PROMPTPAY)
QR_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.PROMPTPAY)
CARD_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.CARD, card_token="tokn_1")
COUNTED = """
    SELECT coalesce(sum(amount_minor), 0)::bigint AS amount_minor, count(*)::integer AS payments
    FROM gateway.payment_attempts WHERE counted
"""


async def limit(house, merchant, *, method=None, **limits):
    async with house.database.transaction() as connection:
        return await set_limits(
            connection,
            book_id=merchant.book_id,
            account_id=merchant.account_id,
            method=method,
            currency="THB",
            limits=Limits(**limits),
            actor="cli:tests",
            reason="a test needs it",
        )


async def used(house, merchant, method="*", period="day"):
    """What is used; for all methods together it must be what the attempts say."""
    async with house.database.read() as connection:
        found = await used_on(connection, merchant.book_id, merchant.account_id, merchant.clock.today())
    if (method, period) == ("*", "day"):
        assert (await house.rows(COUNTED))[0] == found.get(("THB", "*", "day"), Used())._asdict()
    return tuple(found.get(("THB", method, period), Used()))


async def refusal(awaitable):
    with pytest.raises(Refused) as refused:
        await awaitable
    return refused.value


async def confirm(house, merchant, intent, how, number):
    return await house.intents.confirm(
        merchant, intent.id, how, attempt_id=f"att_test_01k80000000000000000000{number:03}"
    )


async def nothing_moved(house, merchant):
    assert await house.balances(merchant) == {}
    assert (house.scb.calls, house.omise.calls) == ([], [])
    assert await house.event_types(merchant) == []
    assert await house.rows("SELECT FROM gateway.payment_intents") == []
    assert await house.rows("SELECT FROM gateway.limit_usage WHERE payments <> 0") == []


@pytest.mark.parametrize(
    ("limits", "name", "left"),
    [
        ({"payment_min_minor": 1_000_01}, "payment_min", None),
        ({"payment_max_minor": 999_99}, "payment_max", 999_99),
        ({"day_max_minor": 999_99}, "day_max", 999_99),
        ({"month_max_minor": 500_00}, "month_max", 500_00),
        ({"day_payments_max": 0}, "day_payments_max", 0),
    ],
)
async def test_each_limit_refuses_and_says_what_is_left(house, merchant, limits, name, left):
    await limit(house, merchant, **limits)
    refused = await refusal(house.intents.create(merchant, QR_ASKED))
    assert (type(refused), refused.code, refused.limit, refused.left) == (LimitExceeded, "limit_exceeded", name, left)
    await nothing_moved(house, merchant)


async def test_a_limit_may_be_reached_and_not_passed(house, merchant):
    await limit(house, merchant, payment_min_minor=1_000_00, payment_max_minor=1_000_00, day_max_minor=2_500_00)
    for _ in range(2):
        await house.intents.create(merchant, QR_ASKED)
    assert (await refusal(house.intents.create(merchant, QR_ASKED))).left == 500_00
    assert await used(house, merchant) == await used(house, merchant, period="month") == (2_000_00, 2)


async def test_limits_of_a_method_hold_for_it_alone(house, merchant):
    await limit(house, merchant, method=Method.CARD, day_payments_max=1)
    await house.intents.create(merchant, CARD_ASKED)
    assert (await refusal(house.intents.create(merchant, CARD_ASKED))).limit == "day_payments_max"
    await house.intents.create(merchant, QR_ASKED)
    assert await used(house, merchant, "card") == await used(house, merchant, "promptpay") == (1_000_00, 1)


async def test_payments_of_other_accounts_and_those_not_confirmed_count_nothing(house, merchant):
    other = await house.new_merchant("another shop")
    await limit(house, merchant, day_payments_max=1)
    await house.intents.create(other, QR_ASKED)
    await house.intents.create(merchant, LATER)
    await house.intents.create(merchant, QR_ASKED)


async def test_limits_set_at_noon_know_of_the_morning(house, merchant):
    await house.intents.create(merchant, QR_ASKED)
    await limit(house, merchant, day_max_minor=1_500_00)
    assert (await refusal(house.intents.create(merchant, QR_ASKED))).left == 500_00


async def test_twenty_racing_confirmations_take_exactly_what_the_day_allows(house, merchant):
    await limit(house, merchant, day_payments_max=5)
    intents = [await house.intents.create(merchant, LATER) for _ in range(20)]
    done = await asyncio.gather(
        *(confirm(house, merchant, intent, QR, number) for number, intent in enumerate(intents)),
        return_exceptions=True,
    )
    refused = [answer for answer in done if isinstance(answer, LimitExceeded)]
    assert (len(refused), {answer.limit for answer in refused}) == (15, {"day_payments_max"})
    assert sum(getattr(answer, "status", None) is IntentStatus.REQUIRES_ACTION for answer in done) == 5
    assert (await used(house, merchant), house.scb.count("charge")) == ((5_000_00, 5), 5)
    waiting = await house.rows("SELECT FROM gateway.payment_intents WHERE status = 'requires_payment_method'")
    assert len(waiting) == 15


async def test_racing_payments_pass_no_amount_of_a_month_either(house, merchant):
    await limit(house, merchant, month_max_minor=3_999_99)
    done = await asyncio.gather(*(house.intents.create(merchant, QR_ASKED) for _ in range(12)), return_exceptions=True)
    assert sum(isinstance(answer, LimitExceeded) for answer in done) == 9
    assert await used(house, merchant, period="month") == (3_000_00, 3)


async def test_a_decline_gives_its_amount_back(house, merchant):
    await limit(house, merchant, day_payments_max=1)
    house.omise.charge_script.append("declined")
    declined = await house.intents.create(merchant, CARD_ASKED)
    assert await used(house, merchant) == (0, 0)
    how = ConfirmIntent(payment_method=Method.CARD, card_token="tokn_2")
    paid = await confirm(house, merchant, declined, how, 1)
    assert paid.status is IntentStatus.SUCCEEDED
    assert await used(house, merchant) == (1_000_00, 1)
    assert (await refusal(house.intents.create(merchant, QR_ASKED))).left == 0


async def test_a_cancellation_gives_its_amount_back(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    await house.intents.cancel(merchant, intent.id)
    assert await used(house, merchant) == (0, 0)


async def test_expiry_gives_its_amount_back_and_money_after_all_is_counted_again(house, merchant):
    await limit(house, merchant, day_payments_max=1)
    first = await house.intents.create(merchant, QR_ASKED)
    expired = await house.paid_fact(first, house.scb, seconds=901, transaction="exp", kind=FactKind.EXPIRED)
    await house.applier.apply(expired, book_id=merchant.book_id)
    assert await used(house, merchant) == (0, 0)
    await house.applier.apply(expired, book_id=merchant.book_id)
    assert await used(house, merchant) == (0, 0)
    await house.intents.create(merchant, QR_ASKED)
    # Paid in time and told late: a fact is recorded whatever the limit says.
    await house.pay(merchant, first, house.scb)
    assert (await house.intents.get(merchant, first.id)).status is IntentStatus.SUCCEEDED
    assert await used(house, merchant) == (2_000_00, 2)


async def test_a_refund_gives_nothing_back(house, merchant):
    intent = await house.intents.create(merchant, CARD_ASKED)
    await house.intents.create(merchant, CARD_ASKED)
    await house.refunds.create(merchant, CreateRefund(payment_intent=intent.id))
    assert await used(house, merchant) == (2_000_00, 2)


async def test_a_payment_at_its_second_provider_counts_once(house, merchant):
    await limit(house, merchant, day_payments_max=1)
    house.scb.charge_script.append("not_attempted")
    intent = await house.intents.create(merchant, QR_ASKED)
    assert (intent.status, intent.latest_attempt.provider) == (IntentStatus.REQUIRES_ACTION, "omise")
    assert await used(house, merchant) == (1_000_00, 1)


async def test_a_payment_sent_again_after_502_is_counted_again_or_refused(house, merchant):
    await limit(house, merchant, day_payments_max=1)
    house.omise.charge_script.extend(["not_attempted", "not_attempted"])
    kept = await house.intents.create(merchant, CARD_ASKED, intent_id="pi_test_01k80000000000000000000001")
    assert await used(house, merchant) == (0, 0)
    await house.intents.create(merchant, CARD_ASKED, intent_id=kept.id)
    assert await used(house, merchant) == (0, 0)
    other = await house.intents.create(merchant, QR_ASKED)
    assert (await refusal(house.intents.create(merchant, CARD_ASKED, intent_id=kept.id))).limit == "day_payments_max"
    assert house.omise.count("charge") == 2
    await house.intents.cancel(merchant, other.id)
    await house.end_leases()
    paid = await house.intents.create(merchant, CARD_ASKED, intent_id=kept.id)
    assert paid.status is IntentStatus.SUCCEEDED
    assert await used(house, merchant) == (1_000_00, 1)


async def test_the_next_day_and_the_next_month_begin_with_nothing(house, merchant):
    await limit(house, merchant, day_payments_max=1, month_max_minor=10_000_00)
    await house.intents.create(merchant, QR_ASKED)
    tomorrow = await house.move_clock(merchant, days=1)
    await house.intents.create(tomorrow, QR_ASKED)
    assert await refusal(house.intents.create(tomorrow, QR_ASKED))
    later = await house.move_clock(tomorrow, days=31)
    async with house.database.read() as connection:
        assert await used_on(connection, later.book_id, later.account_id, later.clock.today()) == {}


async def test_what_expires_tomorrow_is_given_back_to_the_day_it_began(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    tomorrow = await house.move_clock(merchant, days=1)
    await house.intents.create(tomorrow, QR_ASKED)
    await house.intents.cancel(tomorrow, intent.id)
    days = await house.rows(
        "SELECT payments FROM gateway.limit_usage WHERE method = '*' AND period = 'day' ORDER BY starts_on"
    )
    assert [day["payments"] for day in days] == [0, 1]


async def test_changed_limits_are_a_new_version_on_record(house, merchant):
    assert await limit(house, merchant, day_payments_max=1) == 1
    assert await limit(house, merchant) == 2
    for _ in range(2):
        await house.intents.create(merchant, QR_ASKED)
    acts = await house.rows("SELECT actor, act, reason FROM gateway.operator_acts WHERE act = 'limits.set'")
    assert acts == [{"actor": "cli:tests", "act": "limits.set", "reason": "a test needs it"}] * 2


@pytest.mark.parametrize("limits", [{"day_max_minor": -1}, {"payment_min_minor": 2, "payment_max_minor": 1}])
async def test_limits_that_make_no_sense_are_refused(house, merchant, limits):
    with pytest.raises(InvalidRequest):
        await limit(house, merchant, **limits)


async def test_app_role_cannot_rewrite_limits(house, merchant):
    await limit(house, merchant, day_payments_max=1)
    for statement in ("UPDATE gateway.payment_limits SET day_payments_max = 9", "DELETE FROM gateway.limit_usage"):
        with pytest.raises(Exception, match="permission denied"):
            await house.run(statement)
