"""Velocity rules: one payer, told by any of its marks, may not try too often, however it races."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from gateway.merchants import customers
from gateway.payments.errors import InvalidRequest, Refused
from gateway.payments.payers import PayerKind
from gateway.payments.requests import ConfirmIntent, CreateIntent, Payer
from gateway.payments.states import IntentStatus
from gateway.payments.velocity import Counting, VelocityRule, forget_old, set_rule
from gateway.providers.base import Method
from tests.payments.conftest import VAULT

IP = "203.0.113.77"
FINGERPRINT = "fingerprint-planted-0001"
ACCOUNT = "account-planted-0002"
EMAIL = "payer.planted@example.test"
PAYER = Payer(ip=IP, card_fingerprint=FINGERPRINT, account_hash=ACCOUNT)
QR_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.PROMPTPAY, payer=PAYER)
CARD_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.CARD, card_token="tokn_1", payer=PAYER)
EVERY_ROW = """
    SELECT string_agg(t.row_text, ' ') AS everything FROM (
        SELECT row_to_json(a)::text AS row_text FROM gateway.payer_marks AS a
        UNION ALL SELECT row_to_json(b)::text FROM gateway.blocked_payers AS b
        UNION ALL SELECT row_to_json(h)::text FROM gateway.house_blocks AS h
        UNION ALL SELECT row_to_json(c)::text FROM gateway.customers AS c
        UNION ALL SELECT row_to_json(m)::text FROM gateway.customer_moves AS m
        UNION ALL SELECT row_to_json(i)::text FROM gateway.payment_intents AS i
        UNION ALL SELECT row_to_json(p)::text FROM gateway.payment_attempts AS p
        UNION ALL SELECT convert_from(e.payload, 'UTF8') FROM gateway.events AS e
        UNION ALL SELECT row_to_json(o)::text FROM gateway.operator_acts AS o
    ) AS t
"""


async def rule(house, merchant, kind, counting, *, most, seconds=3600):
    async with house.database.transaction() as connection:
        return await set_rule(
            connection,
            book_id=merchant.book_id,
            account_id=merchant.account_id,
            rule=VelocityRule(payer_kind=kind, counting=counting, window_seconds=seconds, count_max=most),
            actor="cli:tests",
            reason="a test needs it",
        )


async def is_refused(house, merchant, request):
    with pytest.raises(Refused) as refused:
        await house.intents.create(merchant, request)
    return refused.value.code == "velocity_exceeded"


@pytest.mark.parametrize(
    ("kind", "alone"),
    [
        (PayerKind.IP, Payer(ip=IP)),
        (PayerKind.CARD_FINGERPRINT, Payer(card_fingerprint=FINGERPRINT)),
        (PayerKind.PAYER_ACCOUNT, Payer(account_hash=ACCOUNT)),
    ],
)
async def test_a_payer_makes_at_most_so_many_payments(house, merchant, kind, alone):
    await rule(house, merchant, kind, Counting.PAYMENTS, most=2)
    for _ in range(2):
        await house.intents.create(merchant, QR_ASKED)
    before = await house.rows("SELECT * FROM gateway.limit_usage ORDER BY method, period")
    assert await is_refused(house, merchant, msgspec.structs.replace(QR_ASKED, payer=alone))
    # Nothing moved: neither a row nor a counter nor a provider.
    assert len(await house.rows("SELECT FROM gateway.payment_intents")) == house.scb.count("charge") == 2
    assert await house.rows("SELECT * FROM gateway.limit_usage ORDER BY method, period") == before
    # Another payer, and one that nobody knows, may.
    await house.intents.create(merchant, msgspec.structs.replace(QR_ASKED, payer=Payer(ip="198.51.100.1")))
    await house.intents.create(merchant, msgspec.structs.replace(QR_ASKED, payer=None))


async def test_the_window_passes_and_other_accounts_have_their_own(house, merchant):
    await rule(house, merchant, PayerKind.IP, Counting.PAYMENTS, most=1, seconds=60)
    await house.intents.create(merchant, QR_ASKED)
    assert await is_refused(house, merchant, QR_ASKED)
    await house.intents.create(await house.new_merchant("another shop"), QR_ASKED)
    later = await house.move_clock(merchant, seconds=61)
    await house.intents.create(later, QR_ASKED)
    assert await is_refused(house, later, QR_ASKED)


async def test_racing_payments_of_one_payer_are_counted_one_after_the_other(house, merchant):
    await rule(house, merchant, PayerKind.IP, Counting.PAYMENTS, most=3)
    done = await asyncio.gather(*(house.intents.create(merchant, QR_ASKED) for _ in range(15)), return_exceptions=True)
    assert sum(isinstance(answer, Refused) for answer in done) == 12
    assert house.scb.count("charge") == 3


async def test_further_attempts_at_one_payment_are_one_payment(house, merchant):
    await rule(house, merchant, PayerKind.IP, Counting.PAYMENTS, most=1)
    house.omise.charge_script.append("declined")
    intent = await house.intents.create(merchant, CARD_ASKED)
    how = ConfirmIntent(payment_method=Method.CARD, card_token="tokn_2", payer=PAYER)
    paid = await house.intents.confirm(merchant, intent.id, how, attempt_id="att_test_01k80000000000000000000001")
    assert paid.status is IntentStatus.SUCCEEDED


async def test_so_many_declines_are_enough(house, merchant):
    await rule(house, merchant, PayerKind.CARD_FINGERPRINT, Counting.DECLINES, most=2)
    await house.intents.create(merchant, CARD_ASKED)
    house.omise.charge_script.extend(["declined", "declined"])
    declined = [await house.intents.create(merchant, CARD_ASKED) for _ in range(2)]
    assert await is_refused(house, merchant, CARD_ASKED)
    # Card testing at one payment is refused as well.
    how = ConfirmIntent(payment_method=Method.CARD, card_token="tokn_2", payer=PAYER)
    with pytest.raises(Refused) as refused:
        await house.intents.confirm(merchant, declined[0].id, how, attempt_id="att_test_01k80000000000000000000001")
    assert (refused.value.code, house.omise.count("charge")) == ("velocity_exceeded", 3)
    assert await house.intents.get(merchant, declined[0].id) == declined[0]


async def test_a_customer_is_a_payer_too(house, merchant):
    await rule(house, merchant, PayerKind.CUSTOMER, Counting.PAYMENTS, most=1)
    async with house.database.transaction() as connection:
        customer = await customers.create(
            connection, VAULT, merchant, details=customers.Details(email=EMAIL), metadata={}
        )
    asked = msgspec.structs.replace(QR_ASKED, payer=None, customer=customer.id)
    await house.intents.create(merchant, asked)
    assert await is_refused(house, merchant, asked)


async def test_one_address_written_in_different_ways_is_one_payer(house, merchant):
    await rule(house, merchant, PayerKind.IP, Counting.PAYMENTS, most=1)
    await house.intents.create(merchant, msgspec.structs.replace(QR_ASKED, payer=Payer(ip="2001:db8:0:0::1")))
    assert await is_refused(house, merchant, msgspec.structs.replace(QR_ASKED, payer=Payer(ip="2001:DB8::1")))
    await house.intents.create(merchant, QR_ASKED)
    assert await is_refused(house, merchant, msgspec.structs.replace(QR_ASKED, payer=Payer(ip=f"::ffff:{IP}")))


async def test_what_is_no_address_is_refused_and_nothing_begins(house, merchant):
    with pytest.raises(InvalidRequest) as refused:
        await house.intents.create(merchant, msgspec.structs.replace(QR_ASKED, payer=Payer(ip="not an address")))
    assert (refused.value.code, refused.value.param) == ("parameter_invalid", "payer.ip")
    assert (await house.rows("SELECT FROM gateway.payment_intents"), house.scb.calls) == ([], [])


async def test_a_rule_is_changed_and_withdrawn_by_a_new_version(house, merchant):
    await rule(house, merchant, PayerKind.IP, Counting.PAYMENTS, most=0)
    assert await is_refused(house, merchant, QR_ASKED)
    assert await rule(house, merchant, PayerKind.IP, Counting.PAYMENTS, most=None) == 2
    await house.intents.create(merchant, QR_ASKED)
    acts = await house.rows("SELECT act, reason FROM gateway.operator_acts WHERE act = 'velocity_rule.set'")
    assert acts == [{"act": "velocity_rule.set", "reason": "a test needs it"}] * 2


async def test_nothing_of_a_payer_is_stored_or_logged_in_clear(house, merchant, caplog, capfd):
    caplog.set_level("DEBUG")
    await rule(house, merchant, PayerKind.IP, Counting.PAYMENTS, most=1)
    async with house.database.transaction() as connection:
        details = customers.Details(name="Planted Name", email=EMAIL, phone="+66 81 000 4242")
        customer = await customers.create(connection, VAULT, merchant, details=details, metadata={})
    house.omise.charge_script.append("raises")
    await house.intents.create(merchant, msgspec.structs.replace(CARD_ASKED, customer=customer.id))
    assert await is_refused(house, merchant, QR_ASKED)
    stored = (await house.rows(EVERY_ROW))[0]["everything"]
    printed = capfd.readouterr()
    told = stored + caplog.text + printed.out + printed.err + repr(CARD_ASKED) + repr(details) + repr(customer)
    assert len(await house.rows("SELECT FROM gateway.payer_marks")) == 5
    for planted in (IP, FINGERPRINT, ACCOUNT, EMAIL, "Planted", "81 000 4242"):
        assert planted not in told
        assert planted.encode().hex() not in told


@pytest.mark.parametrize(("seconds", "most"), [(0, 1), (91 * 86_400, 1), (60, -1)])
async def test_rules_that_make_no_sense_are_refused(house, merchant, seconds, most):
    with pytest.raises(InvalidRequest):
        await rule(house, merchant, PayerKind.IP, Counting.PAYMENTS, most=most, seconds=seconds)


async def test_marks_are_never_rewritten(house, merchant):
    await house.intents.create(merchant, QR_ASKED)
    with pytest.raises(Exception, match="permission denied"):
        await house.run("UPDATE gateway.payer_marks SET lookup = ''")


async def test_marks_that_no_rule_can_ask_for_are_forgotten(house, merchant):
    await house.intents.create(merchant, QR_ASKED)
    assert await forget_old(house.database) == 0
    await house.run(
        "INSERT INTO gateway.payer_marks SELECT book_id, 'att_old', kind, account_id, intent_id, lookup,"
        " created_at - interval '91 days' FROM gateway.payer_marks"
    )
    assert [await forget_old(house.database) for _ in range(2)] == [3, 0]
    assert len(await house.rows("SELECT FROM gateway.payer_marks")) == 3


async def test_declines_that_race_get_past_no_rule(house, merchant):
    await rule(house, merchant, PayerKind.CARD_FINGERPRINT, Counting.DECLINES, most=3)
    house.omise.charge_script.extend(["declined"] * 12)
    done = await asyncio.gather(
        *(house.intents.create(merchant, CARD_ASKED) for _ in range(12)), return_exceptions=True
    )
    assert sum(isinstance(answer, Refused) for answer in done) == 9
    assert house.omise.count("charge") == 3


async def test_time_of_the_window_is_the_books(house, merchant):
    await rule(house, merchant, PayerKind.IP, Counting.PAYMENTS, most=1, seconds=86_400)
    ahead = await house.move_clock(merchant, days=400)
    await house.intents.create(ahead, QR_ASKED)
    rows = await house.rows("SELECT created_at FROM gateway.payer_marks LIMIT 1")
    assert rows[0]["created_at"] > merchant.clock.now() + timedelta(days=399)
