"""Refunds: reserved first, capped by the capture entry, done or given back; never more than was captured."""

import asyncio
from uuid import uuid4

import pytest

from gateway.payments.errors import FactContradicts, InvalidRequest, NotFound, Refused
from gateway.payments.requests import CreateIntent, CreateRefund
from gateway.providers.base import FactKind, Method
from ledger import feed
from ledger.errors import LedgerBusy
from ledger.journal import Posted
from ledger.journal import Refused as RefusedEntry
from ledger.posting_rules.settlement import became_available
from tests.payments.conftest import Asked

CARD_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.CARD, card_token="tokn_1")
PAID = {
    "provider_receivable": 1_000_00,
    "merchant_pending": 960_94,
    "fee_income": 36_50,
    "output_vat": 2_56,
}


@pytest.fixture
async def paid(house, merchant):
    """A captured card payment of 1,000 baht, and a second one, so that the merchant can afford a full refund."""
    await house.intents.create(merchant, CARD_ASKED)
    return await house.intents.create(merchant, CARD_ASKED)


BOTH = {name: 2 * amount for name, amount in PAID.items()}


async def test_refund_takes_pending_money_and_gives_it_to_the_payer(house, merchant, paid):
    refund = await house.refunds.create(merchant, CreateRefund(payment_intent=paid.id, amount=400_00))
    assert (refund.status, refund.amount, refund.version) == ("succeeded", 400_00, 3)
    assert await house.entries(merchant) == [
        "payment_captured",
        "payment_captured",
        "refund_reserved",
        "refund_succeeded",
    ]
    assert await house.balances(merchant) == BOTH | {
        "provider_receivable": 1_600_00,
        "merchant_pending": 2 * 960_94 - 400_00,
    }
    view = await house.intents.get(merchant, paid.id)
    assert (view.amount_refunded, view.amount_refundable, view.amount_captured) == (400_00, 600_00, 1_000_00)
    assert (await house.event_types(merchant))[-3:] == ["refund.created", "charge.refunded", "refund.succeeded"]
    assert [entry["due_at"] for entry in await house.rows("SELECT due_at FROM gateway.refunds")] == [None]
    assert (await house.refunds.get(merchant, refund.id)) == refund
    assert (await house.refunds.list(merchant, payment_intent=paid.id)).data == [refund]


async def test_refund_without_amount_gives_all_that_is_left(house, merchant, paid):
    await house.refunds.create(merchant, CreateRefund(payment_intent=paid.id, amount=1))
    refund = await house.refunds.create(merchant, CreateRefund(payment_intent=paid.id))
    assert refund.amount == 999_99
    with pytest.raises(Refused) as refused:
        await house.refunds.create(merchant, CreateRefund(payment_intent=paid.id))
    assert refused.value.code == "exceeds_original"
    assert (await house.intents.get(merchant, paid.id)).amount_refundable == 0


async def moved(house, merchant, paid, amount_minor):
    """The availability job of the payment's day, so much of it."""
    [row] = await house.rows("SELECT available_on FROM gateway.payment_intents WHERE intent_id = $1", paid.id)
    entry = became_available(
        key=uuid4(),
        merchant=merchant.account_id,
        amount_minor=amount_minor,
        currency="THB",
        available_on=row["available_on"],
        effective_on=row["available_on"],
        caller="test",
    )
    assert isinstance(await house.ledger.post(merchant.book_id, entry), Posted)


async def test_refund_after_the_date_and_before_its_job_takes_what_is_still_pending(house, merchant, paid):
    later = await house.move_clock(merchant, days=7)
    refund = await house.refunds.create(later, CreateRefund(payment_intent=paid.id, amount=400_00))
    assert (refund.status, refund.amount) == ("succeeded", 400_00)
    assert (await house.balances(merchant))["merchant_pending"] == 2 * 960_94 - 400_00
    await moved(house, merchant, paid, 2 * 960_94 - 400_00)
    balances = await house.balances(merchant)
    assert (balances["merchant_available"], "merchant_pending" in balances) == (2 * 960_94 - 400_00, False)
    # The rest of the payment is available now.
    await house.refunds.create(later, CreateRefund(payment_intent=paid.id))
    assert (await house.balances(merchant))["merchant_available"] == 2 * 960_94 - 1_000_00
    rows = await house.rows("SELECT reserve_pending_until IS NULL AS available FROM gateway.refunds ORDER BY refund_id")
    assert [row["available"] for row in rows] == [False, True]


async def test_refund_of_what_was_moved_and_paid_out_takes_no_other_days_pending_money(house, merchant, paid):
    later = await house.move_clock(merchant, days=7)
    await moved(house, merchant, paid, 2 * 960_94)
    await house.intents.create(later, CARD_ASKED)
    await house.refunds.create(later, CreateRefund(payment_intent=paid.id))
    others = (await house.intents.list(later)).data
    [other] = [each for each in others if each.amount_refundable and each.created_at < later.clock.now()][-1:]
    before = await house.balances(merchant)
    with pytest.raises(Refused) as refused:
        await house.refunds.create(later, CreateRefund(payment_intent=other.id))
    assert refused.value.code == "below_floor"
    assert await house.balances(merchant) == before
    rows = await house.rows("SELECT status, failure_code, due_at FROM gateway.refunds ORDER BY refund_id")
    assert rows[-1] == {"status": "failed", "failure_code": "below_floor", "due_at": None}
    assert house.omise.count("refund") == 1


@pytest.mark.parametrize("asked_for", [1_000_00, 400_00])
async def test_job_that_moves_the_money_at_that_moment_is_followed(house, merchant, paid, monkeypatch, asked_for):
    later = await house.move_clock(merchant, days=7)
    pending_on = feed.pending_on

    async def then_the_job_runs(*arguments):
        found = await pending_on(*arguments)
        if found:
            await moved(house, merchant, paid, found)
        return found

    monkeypatch.setattr(feed, "pending_on", then_the_job_runs)
    refund = await house.refunds.create(later, CreateRefund(payment_intent=paid.id, amount=asked_for))
    assert refund.status == "succeeded"
    balances = await house.balances(merchant)
    assert (balances["merchant_available"], "merchant_pending" in balances) == (2 * 960_94 - asked_for, False)
    assert (await house.entries(merchant)).count("refund_reserved") == 1


async def test_crash_after_the_turn_to_pending_posts_the_same_reserve(house, merchant, paid, monkeypatch):
    later = await house.move_clock(merchant, days=7)
    post, posted = house.ledger.post, []

    async def dies_after_the_second(book_id, entry):
        posted.append(await post(book_id, entry))
        if len(posted) == 2:
            raise LedgerBusy("the process died")
        return posted[-1]

    monkeypatch.setattr(house.ledger, "post", dies_after_the_second)
    with pytest.raises(LedgerBusy):
        await house.refunds.create(later, CreateRefund(payment_intent=paid.id, amount=400_00))
    assert [type(result) for result in posted] == [RefusedEntry, Posted]
    await house.make_due()
    assert await house.janitor.run_once() == 1
    assert [row["status"] for row in await house.rows("SELECT status FROM gateway.refunds")] == ["succeeded"]
    assert (await house.entries(merchant)).count("refund_reserved") == 1
    assert (await house.balances(merchant))["merchant_pending"] == 2 * 960_94 - 400_00


async def test_racing_refunds_never_exceed_what_was_captured(house, merchant, paid):
    """Eight at once ask for 300 of 1,000: three can be given, whoever they are."""
    for _ in range(3):
        await house.intents.create(merchant, CARD_ASKED)
    results = await asyncio.gather(
        *(house.refunds.create(merchant, CreateRefund(payment_intent=paid.id, amount=300_00)) for _ in range(8)),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, Refused)]
    assert len(refused) == 5
    assert {error.code for error in refused} == {"exceeds_original"}
    assert [result.status for result in results if not isinstance(result, Refused)] == ["succeeded"] * 3
    assert house.omise.count("refund") == 3
    view = await house.intents.get(merchant, paid.id)
    assert (view.amount_refunded, view.amount_refundable) == (900_00, 100_00)
    entries = await house.entries(merchant)
    assert (entries.count("refund_reserved"), entries.count("refund_succeeded")) == (3, 3)


async def test_declined_refund_gives_the_money_back_and_frees_the_charge(house, merchant, paid):
    house.omise.refund_script.append("declined")
    refund = await house.refunds.create(merchant, CreateRefund(payment_intent=paid.id, amount=1_000_00))
    assert (refund.status, refund.last_error.code) == ("failed", "refund_refused")
    assert (await house.entries(merchant))[-2:] == ["refund_reserved", "refund_failed"]
    assert await house.balances(merchant) == BOTH
    assert (await house.event_types(merchant))[-2:] == ["refund.created", "refund.failed"]
    again = await house.refunds.create(merchant, CreateRefund(payment_intent=paid.id, amount=1_000_00))
    assert again.status == "succeeded"


async def test_refund_that_fails_after_the_charge_became_available_goes_to_available(house, merchant, paid):
    house.omise.refund_script.append("pending")
    refund = await house.refunds.create(merchant, CreateRefund(payment_intent=paid.id, amount=400_00))
    assert refund.status == "pending"
    assert (await house.intents.get(merchant, paid.id)).amount_refundable == 600_00
    assert (await house.balances(merchant))["refunds_payable"] == 400_00
    await house.move_clock(merchant, days=7)
    await tell(house, merchant, refund, FactKind.REFUND_FAILED)
    balances = await house.balances(merchant)
    assert (balances["merchant_available"], balances["merchant_pending"]) == (400_00, 2 * 960_94 - 400_00)
    assert "refunds_payable" not in balances


async def test_refund_facts_in_both_orders_and_twice_book_the_same(house, merchant, paid):
    for kinds in (
        [FactKind.REFUND_PENDING, FactKind.REFUND_SUCCEEDED],
        [FactKind.REFUND_SUCCEEDED, FactKind.REFUND_PENDING, FactKind.REFUND_SUCCEEDED],
    ):
        house.omise.refund_script.append("lost_before")
        refund = await house.refunds.create(merchant, CreateRefund(payment_intent=paid.id, amount=100_00))
        for number, kind in enumerate(kinds):
            await tell(house, merchant, refund, kind, transaction=f"{refund.id}-{number}")
        assert (await house.refunds.get(merchant, refund.id)).status == "succeeded"
    assert (await house.entries(merchant)).count("refund_succeeded") == 2
    assert (await house.intents.get(merchant, paid.id)).amount_refunded == 200_00


async def test_refund_that_succeeded_and_failed_is_a_conflict_in_both_orders(house, merchant, paid):
    for kinds in (
        [FactKind.REFUND_SUCCEEDED, FactKind.REFUND_FAILED],
        [FactKind.REFUND_FAILED, FactKind.REFUND_SUCCEEDED],
    ):
        house.omise.refund_script.append("lost_before")
        refund = await house.refunds.create(merchant, CreateRefund(payment_intent=paid.id, amount=100_00))
        for kind in kinds:
            await tell(house, merchant, refund, kind, transaction=f"{refund.id}-{kind}")
        assert (await house.refunds.get(merchant, refund.id)).status == "conflicted"
    entries = await house.entries(merchant)
    assert (entries.count("refund_succeeded"), entries.count("refund_failed")) == (2, 2)
    assert (await house.intents.get(merchant, paid.id)).amount_refundable == 800_00


async def test_wrong_refund_amount_from_the_provider_is_put_aside(house, merchant, paid):
    house.omise.refund_script.append("lost_before")
    refund = await house.refunds.create(merchant, CreateRefund(payment_intent=paid.id, amount=100_00))
    before = await house.balances(merchant)
    with pytest.raises(FactContradicts, match="the provider speaks of 9000"):
        await tell(house, merchant, refund, FactKind.REFUND_SUCCEEDED, amount=90_00)
    assert await house.balances(merchant) == before
    assert len(await house.rows("SELECT 1 FROM gateway.fact_quarantine")) == 1


async def test_refund_is_refused_where_there_is_nothing_to_refund(house, merchant, paid):
    qr = await house.intents.create(
        merchant, CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.PROMPTPAY)
    )
    stranger = await house.new_merchant("another shop")
    before = await house.balances(merchant)
    for who, asked, error, code in [
        (merchant, CreateRefund(payment_intent=qr.id), Refused, "payment_not_refundable"),
        (merchant, CreateRefund(payment_intent=paid.id, amount=1_000_01), Refused, "exceeds_original"),
        (merchant, CreateRefund(payment_intent=paid.id, amount=-1), Refused, "exceeds_original"),
        (merchant, CreateRefund(payment_intent="pi_test_nothing"), NotFound, "not_found"),
        (stranger, CreateRefund(payment_intent=paid.id), NotFound, "not_found"),
        (merchant, CreateRefund(payment_intent=paid.id, metadata={"[": ""}), InvalidRequest, "parameter_invalid"),
    ]:
        with pytest.raises(error) as refused:
            await house.refunds.create(who, asked)
        assert refused.value.code == code
    await house.pay(merchant, qr, house.scb)
    with pytest.raises(Refused) as refused:
        await house.refunds.create(merchant, CreateRefund(payment_intent=qr.id))
    assert refused.value.code == "refund_not_supported"
    assert await house.rows("SELECT 1 FROM gateway.refunds") == []
    assert "refunds_payable" not in await house.balances(merchant)
    assert before == BOTH


async def test_other_accounts_refunds_are_not_found(house, merchant, paid):
    refund = await house.refunds.create(merchant, CreateRefund(payment_intent=paid.id, amount=1_00))
    stranger = await house.new_merchant("another shop")
    with pytest.raises(NotFound):
        await house.refunds.get(stranger, refund.id)
    assert (await house.refunds.list(stranger)).data == []
    assert (await house.refunds.list(stranger, payment_intent=paid.id)).data == []


async def test_busy_ledger_leaves_the_refund_to_be_taken_up(house, merchant, paid):
    post = house.ledger.post

    async def busy(book_id, entry):
        raise LedgerBusy

    house.ledger.post = busy
    with pytest.raises(LedgerBusy):
        await house.refunds.create(merchant, CreateRefund(payment_intent=paid.id, amount=100_00))
    assert await house.balances(merchant) == BOTH
    house.ledger.post = post
    (refund,) = (await house.refunds.list(merchant)).data
    with pytest.raises(FactContradicts):
        await tell(house, merchant, refund, FactKind.REFUND_SUCCEEDED)
    await house.make_due()
    assert await house.janitor.run_once() == 1
    (refund,) = (await house.refunds.list(merchant)).data
    assert refund.status == "succeeded"
    assert house.omise.count("refund") == 1


async def tell(house, merchant, refund, kind, *, transaction=None, amount=None):
    """The provider tells of a refund by callback."""
    row = (await house.rows("SELECT * FROM gateway.refunds WHERE refund_id = $1", refund.id))[0]
    asked = Asked(provider_key=row["provider_key"], amount_minor=refund.amount)
    fact = house.omise.refund_fact(asked, kind, merchant.clock.now(), transaction=transaction, amount=amount)
    return await house.applier.apply(fact, book_id=merchant.book_id)
