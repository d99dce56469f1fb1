"""Blocklists: a blocked payer is refused before anybody is asked, and the payment says why."""

from datetime import timedelta

import msgspec
import pytest

from gateway.foundation.clock import real_now
from gateway.merchants import customers
from gateway.payments import blocklists
from gateway.payments.blocklists import HOUSE_REASON
from gateway.payments.errors import InvalidRequest, NotFound, PayerBlocked
from gateway.payments.payers import PayerKind
from gateway.payments.requests import ConfirmIntent, CreateIntent, Payer
from gateway.payments.states import IntentStatus
from gateway.providers.base import Method
from tests.payments.conftest import VAULT

IP = "203.0.113.77"
PAYER = Payer(ip=IP, card_fingerprint="fingerprint-0001", account_hash="account-0002")
LATER = CreateIntent(amount=1_000_00, currency="thb", confirm=False)
QR = ConfirmIntent(payment_method=Method.PROMPTPAY, payer=PAYER)
QR_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.PROMPTPAY, payer=PAYER)
PI, ATT = "pi_test_01k80000000000000000000001", "att_test_01k80000000000000000000001"


async def block(house, merchant, kind=PayerKind.IP, value=IP, *, expires_at=None):
    async with house.database.transaction() as connection:
        return await blocklists.block(
            connection, VAULT, merchant, kind=kind, value=value, reason="stolen card", expires_at=expires_at
        )


async def block_for_the_house(house, kind=PayerKind.IP, value=IP, *, expires_at=None):
    async with house.database.transaction() as connection:
        return await blocklists.block_for_the_house(
            connection, VAULT, kind=kind, value=value, expires_at=expires_at, actor="cli:tests", reason="court order"
        )


async def is_blocked(house, merchant, request=QR_ASKED):
    before = house.scb.count("charge")
    with pytest.raises(PayerBlocked):
        await house.intents.create(merchant, request)
    return house.scb.count("charge") == before


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (PayerKind.IP, f"::ffff:{IP}"),
        (PayerKind.CARD_FINGERPRINT, "fingerprint-0001"),
        (PayerKind.PAYER_ACCOUNT, "account-0002"),
    ],
)
async def test_a_blocked_payer_is_refused_and_the_payment_says_why(house, merchant, kind, value):
    entry = await block(house, merchant, kind, value)
    assert value not in repr(entry)
    with pytest.raises(PayerBlocked) as refused:
        await house.intents.create(merchant, QR_ASKED, intent_id=PI)
    assert (refused.value.code, refused.value.intent_id) == ("payer_blocked", PI)
    intent = await house.intents.get(merchant, PI)
    assert (intent.status, intent.latest_attempt) == (IntentStatus.REQUIRES_PAYMENT_METHOD, None)
    assert (intent.last_error.code, intent.last_error.reason) == ("payer_blocked", f"{kind}: stolen card")
    assert await house.event_types(merchant) == ["payment_intent.created", "payment_intent.blocked"]
    assert (house.scb.calls, house.omise.calls, await house.balances(merchant)) == ([], [], {})
    assert await house.rows("SELECT FROM gateway.payment_attempts") == []
    assert await house.rows("SELECT FROM gateway.limit_usage") == []


async def test_the_same_request_again_is_the_same_answer(house, merchant):
    await block(house, merchant)
    for _ in range(2):
        with pytest.raises(PayerBlocked):
            await house.intents.create(merchant, QR_ASKED, intent_id=PI)
    assert await house.event_types(merchant) == ["payment_intent.created", "payment_intent.blocked"]


async def test_another_payer_may_pay_what_a_blocked_one_could_not(house, merchant):
    await block(house, merchant)
    intent = await house.intents.create(merchant, LATER)
    with pytest.raises(PayerBlocked):
        await house.intents.confirm(merchant, intent.id, QR, attempt_id=ATT)
    blocked = await house.intents.get(merchant, intent.id)
    assert (blocked.version, blocked.last_error.code) == (2, "payer_blocked")
    assert (await house.event_types(merchant))[-1] == "payment_intent.blocked"
    how = msgspec.structs.replace(QR, payer=Payer(ip="198.51.100.1"))
    waiting = await house.intents.confirm(merchant, intent.id, how, attempt_id=ATT)
    assert (waiting.status, waiting.last_error) == (IntentStatus.REQUIRES_ACTION, None)


async def test_an_entry_ends_by_itself_or_by_hand_and_stays(house, merchant):
    await block(house, merchant, expires_at=merchant.clock.now() + timedelta(hours=1))
    assert await is_blocked(house, merchant)
    later = await house.move_clock(merchant, hours=2)
    await house.intents.create(later, QR_ASKED)
    entry = await block(house, later)
    assert await is_blocked(house, later)
    async with house.database.transaction() as connection:
        ended = await blocklists.end(connection, later, entry.block_id)
        again = await blocklists.end(connection, later, entry.block_id)
    assert (ended.ended_by, ended, ended.reason) == ("key_x", again, "stolen card")
    await house.intents.create(later, QR_ASKED)
    assert len(await house.rows("SELECT FROM gateway.blocked_payers")) == 2
    for statement in ("DELETE FROM gateway.blocked_payers", "UPDATE gateway.blocked_payers SET reason = 'x'"):
        with pytest.raises(Exception, match="permission denied"):
            await house.run(statement)


async def test_an_accounts_list_is_its_own(house, merchant):
    other = await house.new_merchant("another shop")
    entry = await block(house, merchant)
    await house.intents.create(other, QR_ASKED)
    async with house.database.transaction() as connection:
        for act in (blocklists.get, blocklists.end):
            with pytest.raises(NotFound):
                await act(connection, other, entry.block_id)


async def test_the_houses_list_holds_for_everybody_and_keeps_its_reason(house, merchant):
    block_id = await block_for_the_house(house)
    other = await house.new_merchant("another shop")
    for principal in (merchant, other):
        with pytest.raises(PayerBlocked) as refused:
            await house.intents.create(principal, QR_ASKED)
        assert refused.value.reason == f"ip: {HOUSE_REASON}"
    async with house.database.transaction() as connection:
        assert [entry.block_id for entry in await blocklists.house_list(connection)] == [block_id]
        assert await blocklists.end_for_the_house(connection, block_id, actor="cli:tests", reason="lifted")
        assert not await blocklists.end_for_the_house(connection, block_id, actor="cli:tests", reason="lifted")
    await house.intents.create(merchant, QR_ASKED)
    acts = await house.rows("SELECT act, reason FROM gateway.operator_acts WHERE subject = $1 ORDER BY act", block_id)
    assert [tuple(act.values()) for act in acts] == [("payer.blocked", "court order"), ("payer.unblocked", "lifted")]


async def test_a_customers_address_is_blocked_however_it_is_written(house, merchant):
    await block(house, merchant, PayerKind.EMAIL, "Thief@Example.test")
    async with house.database.transaction() as connection:
        details = customers.Details(email="thief@example.TEST")
        customer = await customers.create(connection, VAULT, merchant, details=details, metadata={})
    asked = msgspec.structs.replace(QR_ASKED, payer=None, customer=customer.id)
    assert await is_blocked(house, merchant, asked)
    await block(house, merchant, PayerKind.CUSTOMER, customer.id)
    assert await is_blocked(house, merchant, asked)


async def test_ends_lie_ahead_and_addresses_are_addresses(house, merchant):
    for arguments in (
        {"expires_at": merchant.clock.now() - timedelta(seconds=1)},
        {"expires_at": real_now().replace(tzinfo=None)},
        {"value": "nonsense"},
    ):
        with pytest.raises(InvalidRequest):
            await block(house, merchant, **arguments)
    assert await house.rows("SELECT FROM gateway.blocked_payers") == []


async def test_short_values_show_nothing_of_themselves(house, merchant):
    assert (await block(house, merchant, PayerKind.PAYER_ACCOUNT, "1234567")).last_characters == ""
    assert (await block(house, merchant, PayerKind.PAYER_ACCOUNT, "12345678")).last_characters == "5678"
