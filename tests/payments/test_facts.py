"""The applier: the same fact twice, late, early, wrong, contradictory, or together with poison."""

import asyncio
import itertools
import sys

import asyncpg
import msgspec
import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gateway.payments.errors import EntryRefused, FactContradicts, UnknownReference
from gateway.payments.facts import Applied, ApplierUnavailable
from gateway.payments.requests import CreateIntent
from gateway.payments.states import IntentStatus
from gateway.providers.base import FactKind, Method

QR_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.PROMPTPAY)
CARD_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.CARD, card_token="tokn_1")
PAID = {"provider_receivable": 1_000_00, "merchant_pending": 982_34, "fee_income": 16_50, "output_vat": 1_16}
"""1,000 baht by PromptPay at 1.65 %: fee 16.50, VAT 1.155 half-up 1.16."""


async def test_second_arrival_of_a_fact_has_no_effect(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    first = await house.pay(merchant, intent, house.scb)
    again = await house.pay(merchant, intent, house.scb)
    assert (first.duplicate, again.duplicate) == (False, True)
    assert (await house.intents.get(merchant, intent.id)).version == 3
    assert await house.entries(merchant) == ["payment_captured"]
    assert await house.event_types(merchant) == [
        "payment_intent.created",
        "payment_intent.requires_action",
        "payment_intent.succeeded",
    ]
    assert await house.balances(merchant) == PAID


async def test_same_movement_with_another_amount_is_put_aside(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    await house.pay(merchant, intent, house.scb)
    for _ in range(2):
        with pytest.raises(FactContradicts):
            await house.pay(merchant, intent, house.scb, amount=999_00)
    quarantined = await house.rows("SELECT error_code, amount_minor FROM gateway.fact_quarantine")
    assert quarantined == [{"error_code": "fact_contradicts", "amount_minor": 999_00}]
    assert await house.balances(merchant) == PAID


async def test_wrong_amounts_are_booked_and_what_is_not_due_is_held(house, merchant):
    short = await house.intents.create(merchant, QR_ASKED)
    await house.pay(merchant, short, house.scb, amount=400_00, transaction="short")
    view = await house.intents.get(merchant, short.id)
    assert (view.status, view.qualifiers) == (IntentStatus.REQUIRES_ACTION, ["partially_paid"])
    assert (view.amount_received, view.amount_captured, view.amount_held) == (400_00, 0, 400_00)
    assert await house.balances(merchant) == {"provider_receivable": 400_00, "payer_refundable": 400_00}
    over = await house.intents.create(merchant, QR_ASKED)
    await house.pay(merchant, over, house.scb, amount=1_000_50, transaction="over")
    view = await house.intents.get(merchant, over.id)
    assert (view.status, view.qualifiers) == (IntentStatus.SUCCEEDED, ["overpaid"])
    assert (view.amount_received, view.amount_captured, view.amount_held) == (1_000_50, 1_000_00, 50)
    assert view.amount_refundable == 1_000_00
    assert await house.balances(merchant) == PAID | {"provider_receivable": 1_400_50, "payer_refundable": 400_50}
    assert await house.entries(merchant) == ["payer_money_held", "payment_captured", "payer_money_held"]
    assert (await house.event_types(merchant))[-2:] == ["payment_intent.succeeded", "payment_intent.overpaid"]


async def test_paid_twice_is_held_for_the_payer(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    await house.pay(merchant, intent, house.scb, transaction="one")
    await house.pay(merchant, intent, house.scb, transaction="two")
    view = await house.intents.get(merchant, intent.id)
    assert (view.status, view.qualifiers, view.amount_held) == (IntentStatus.SUCCEEDED, ["overpaid"], 1_000_00)
    assert await house.balances(merchant) == PAID | {
        "provider_receivable": 2_000_00,
        "payer_refundable": 1_000_00,
    }


async def test_money_paid_after_the_deadline_is_held_whoever_comes_first(house, merchant):
    for expired_first in (True, False):
        intent = await house.intents.create(merchant, QR_ASKED)
        name = f"late-{expired_first}"
        late = await house.paid_fact(intent, house.scb, seconds=901, transaction=name)
        expired = await house.paid_fact(intent, house.scb, seconds=900, transaction=name, kind=FactKind.EXPIRED)
        for fact in (expired, late) if expired_first else (late, expired):
            await house.applier.apply(fact, book_id=merchant.book_id)
        view = await house.intents.get(merchant, intent.id)
        assert (view.status, view.qualifiers, view.amount_held) == (IntentStatus.EXPIRED, ["paid_late"], 1_000_00)
    assert await house.entries(merchant) == ["payer_money_held", "payer_money_held"]
    assert await house.balances(merchant) == {"provider_receivable": 2_000_00, "payer_refundable": 2_000_00}


async def test_money_paid_in_time_and_told_late_revives_an_expired_payment(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    expired = await house.paid_fact(intent, house.scb, seconds=900, kind=FactKind.EXPIRED)
    await house.applier.apply(expired, book_id=merchant.book_id)
    assert (await house.intents.get(merchant, intent.id)).status is IntentStatus.EXPIRED
    await house.pay(merchant, intent, house.scb, seconds=899)
    view = await house.intents.get(merchant, intent.id)
    assert (view.status, view.qualifiers) == (IntentStatus.SUCCEEDED, [])
    assert await house.balances(merchant) == PAID


async def test_facts_out_of_order_end_in_the_same_state_and_money(house, merchant):
    for order in itertools.permutations([FactKind.PENDING, FactKind.AUTHORIZED, FactKind.CAPTURED]):
        house.omise.charge_script.append("lost_before")
        intent = await house.intents.create(merchant, CARD_ASKED)
        for kind in order:
            fact = await house.paid_fact(intent, house.omise, kind=kind, transaction=intent.id)
            await house.applier.apply(fact, book_id=merchant.book_id)
        view = await house.intents.get(merchant, intent.id)
        assert (view.status, view.amount_captured) == (IntentStatus.SUCCEEDED, 1_000_00)
    assert await house.entries(merchant) == ["payment_captured"] * 6


async def test_callback_before_our_response_and_response_after_it_book_once(house, merchant):
    """The callback is applied while `create` still waits for the provider's answer."""
    told = asyncio.Event()
    inner = house.omise.charge

    async def slow_charge(account, request):
        answer = await inner(account, request)
        for fact in answer.facts:
            await house.applier.apply(fact, book_id=merchant.book_id)
        told.set()
        return answer

    house.omise.charge = slow_charge
    intent = await house.intents.create(merchant, CARD_ASKED)
    assert told.is_set()
    assert (intent.status, intent.amount_captured) == (IntentStatus.SUCCEEDED, 1_000_00)
    assert await house.entries(merchant) == ["payment_captured"]
    assert (await house.event_types(merchant)).count("payment_intent.succeeded") == 1


async def test_contradiction_keeps_the_money_and_asks_for_a_person(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    await house.pay(merchant, intent, house.scb)
    declined = await house.paid_fact(intent, house.scb, kind=FactKind.DECLINED, transaction="no")
    await house.applier.apply(declined, book_id=merchant.book_id)
    view = await house.intents.get(merchant, intent.id)
    assert (view.status, view.amount_captured, view.amount_refundable) == (IntentStatus.CONFLICTED, 1_000_00, 0)
    assert await house.balances(merchant) == PAID


async def test_unknown_reference_is_refused_for_now_and_moves_nothing(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    fact = await house.paid_fact(intent, house.scb)
    with pytest.raises(UnknownReference) as refused:
        await house.applier.apply(
            msgspec.structs.replace(fact, provider_reference="never heard of"), book_id=merchant.book_id
        )
    assert refused.value.retryable
    other = await house.new_merchant("another shop")
    with pytest.raises(UnknownReference):
        await house.applier.apply(fact, book_id=other.book_id)
    assert await house.entries(merchant) == await house.entries(other) == []
    assert await house.rows("SELECT 1 FROM gateway.fact_quarantine") == []


async def test_fact_of_another_kind_of_object_is_put_aside(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    fact = await house.paid_fact(intent, house.scb, kind=FactKind.REFUND_SUCCEEDED)
    with pytest.raises(FactContradicts):
        await house.applier.apply(fact, book_id=merchant.book_id)
    assert await house.entries(merchant) == []


async def test_movement_of_one_payment_is_not_believed_of_another(house, merchant):
    one, other = [await house.intents.create(merchant, QR_ASKED) for _ in range(2)]
    await house.pay(merchant, one, house.scb)
    with pytest.raises(FactContradicts):
        await house.pay(merchant, other, house.scb)
    assert (await house.intents.get(merchant, other.id)).amount_received == 0
    assert await house.balances(merchant) == PAID


async def test_poison_hurts_only_its_own_caller(house, merchant):
    """Of twenty facts handed in at once one is more than an account can hold; nineteen are booked."""
    intents = [await house.intents.create(merchant, QR_ASKED) for _ in range(20)]
    facts = [
        await house.paid_fact(intent, house.scb, transaction=f"txn_{number}") for number, intent in enumerate(intents)
    ]
    facts[7] = msgspec.structs.replace(facts[7], amount_minor=2**63 - 1)
    results = await asyncio.gather(
        *(house.applier.apply(fact, book_id=merchant.book_id) for fact in facts), return_exceptions=True
    )
    assert [type(result) for result in results] == [Applied] * 7 + [EntryRefused] + [Applied] * 12
    assert (await house.entries(merchant)).count("payment_captured") == 19
    assert len(await house.rows("SELECT 1 FROM gateway.fact_quarantine")) == 1
    view = await house.intents.get(merchant, intents[7].id)
    assert (view.status, view.amount_received) == (IntentStatus.REQUIRES_ACTION, 0)


@pytest.mark.parametrize(
    "trouble",
    [
        ConnectionRefusedError("nobody listens"),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.TooManyConnectionsError("sorry, too many clients already"),
        PoolTimeout("QueuePool limit reached"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_database_that_gives_no_connection_is_asked_again_and_nothing_is_put_aside(
    house, merchant, monkeypatch, trouble
):
    intent = await house.intents.create(merchant, QR_ASKED)
    transaction = house.database.transaction

    def none_for_now():
        monkeypatch.setattr(house.database, "transaction", transaction)
        raise trouble

    monkeypatch.setattr(house.database, "transaction", none_for_now)
    with pytest.raises(ApplierUnavailable):
        await house.pay(merchant, intent, house.scb)
    assert await house.rows("SELECT 1 FROM gateway.fact_quarantine") == []
    await house.pay(merchant, intent, house.scb)
    assert await house.balances(merchant) == PAID


async def test_two_processes_with_the_same_facts_book_each_once(house, merchant, database):
    intents = [await house.intents.create(merchant, QR_ASKED) for _ in range(25)]
    facts = [
        await house.paid_fact(intent, house.scb, transaction=f"txn_{number}") for number, intent in enumerate(intents)
    ]
    other = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.payments.apply_facts",
        database.app_dsn,
        str(merchant.book_id),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert await other.stdout.readline() == b"ready\n"
    other.stdin.write(msgspec.json.encode(facts[::-1]) + b"\n")
    here = await asyncio.gather(*(house.applier.apply(fact, book_id=merchant.book_id) for fact in facts))
    there, _ = await other.communicate()
    assert other.returncode == 0
    assert sum(applied.new_facts for applied in here) + int(there) == 25
    assert await house.entries(merchant) == ["payment_captured"] * 25
    assert await house.balances(merchant) == {name: 25 * amount for name, amount in PAID.items()}
    assert (await house.event_types(merchant)).count("payment_intent.succeeded") == 25
