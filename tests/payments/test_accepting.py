"""Held money that the merchant takes: late, short, over, twice; once, with its fee, and refundable afterwards."""

import asyncio

import pytest
from msgspec.structs import asdict, replace
from prometheus_client import REGISTRY

from gateway.foundation.clock import business_date_of
from gateway.foundation.ids import new_id
from gateway.merchants.fee_plans import plan_for, set_plan
from gateway.payments.claims import HeldMoney
from gateway.payments.entries import entry_of_acceptance
from gateway.payments.errors import NotFound, Refused
from gateway.payments.records import attempts_of, facts_of, lock_intents
from gateway.payments.requests import CreateIntent, CreateRefund
from gateway.payments.timeline import timeline
from gateway.providers.base import Method
from gateway.settlement.unmatched import unmatched
from gateway.webhooks import events
from ledger.business_days import thai_banks
from ledger.chart_of_accounts import AccountKind
from ledger.feed import read_entries
from ledger.journal import EntryKind
from tests.payments.conftest import VAULT, clock_of
from tests.payments.test_refunds import CARD_ASKED
from tests.payments.test_unmatched import line, seen

QR_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.PROMPTPAY)
LATE_SECONDS = 3_600
FEE_MINOR, VAT_MINOR = 16_50, 1_16


async def created(house, merchant):
    return await house.intents.create(merchant, QR_ASKED)


async def accept(house, merchant, intent, acceptance_id=None, held_id=None):
    own = acceptance_id or new_id("acp", livemode=False)
    return await house.accepting.accept(merchant, intent.id, held_id=held_id, acceptance_id=own)


async def offer(house, merchant, intent, claim_id=None, held_id=None):
    held = HeldMoney(house.database, VAULT, clock_of=clock_of, record_events=events.record)
    return await held.offer(
        merchant.book_id,
        intent.id,
        account_id=merchant.account_id,
        actor=merchant.account_id,
        claim_id=claim_id,
        held_id=held_id,
    )


async def acceptance_entries(house, merchant):
    async with house.database.ledger_pool.acquire() as connection:
        found = await read_entries(connection, merchant.book_id, after=0, limit=1_000)
    return [entry for entry in found if entry.kind is EntryKind.PAYER_MONEY_ACCEPTED]


async def refused(doing):
    with pytest.raises(Refused) as no:
        await doing
    return no.value.code


async def test_late_payment_is_the_payment_once_it_is_accepted(house, merchant):
    intent = await created(house, merchant)
    await house.pay(merchant, intent, house.scb, seconds=LATE_SECONDS)
    merchant = await house.move_clock(merchant, days=3)
    assert await house.balances(merchant) == {"provider_receivable": 1_000_00, "payer_refundable": 1_000_00}
    view = await accept(house, merchant, intent)
    now = await house.intents.get(merchant, intent.id)
    assert asdict(view) == asdict(now) | {"held": view.held}
    assert (view.status, view.qualifiers, view.latest_attempt.status) == ("succeeded", ["paid_late"], "captured")
    assert (view.amount_received, view.amount_captured, view.amount_held) == (1_000_00, 1_000_00, 0)
    assert (view.amount_refundable, view.amount_returned) == (1_000_00, 0)
    assert await house.balances(merchant) == {
        "provider_receivable": 1_000_00,
        "merchant_pending": 1_000_00 - FEE_MINOR - VAT_MINOR,
        "fee_income": FEE_MINOR,
        "output_vat": VAT_MINOR,
    }
    assert await seen(house, merchant) == []
    assert (await house.event_types(merchant))[-2:] == ["payment_intent.succeeded", "payment_intent.held_accepted"]
    [entry] = await acceptance_entries(house, merchant)
    today, days = merchant.clock.today(), (await house.attempt(intent.id))["settlement_days"]
    assert (entry.effective_on, entry.postings[0].available_on) == (today, thai_banks().add(today, days))
    assert entry.postings[0].available_on > business_date_of(intent.created_at)
    moves = await house.rows(
        "SELECT to_status, actor, reason FROM gateway.state_moves WHERE subject_id = $1 ORDER BY version", intent.id
    )
    assert tuple(moves[-1].values()) == ("succeeded", merchant.account_id, "held money accepted")
    told = await timeline(house.database, merchant, intent.id)
    assert any(item.details.get("kind") == "payer_money_accepted" for item in told.data)
    assert await refused(accept(house, merchant, intent)) == "nothing_held"
    assert await refused(offer(house, merchant, intent)) == "nothing_held"


async def test_what_comes_within_the_grace_of_the_terms_needs_nobody_to_accept_it(house, merchant):
    before = await created(house, merchant)
    async with house.database.transaction() as connection:
        plan = await plan_for(connection, merchant.account_id, Method.PROMPTPAY)
        await set_plan(connection, merchant.account_id, replace(plan, late_grace_seconds=LATE_SECONDS))
    intent = await created(house, merchant)
    expires_in = int((intent.expires_at - intent.created_at).total_seconds())
    await house.pay(merchant, intent, house.scb, seconds=expires_in + LATE_SECONDS)
    view = await house.intents.get(merchant, intent.id)
    assert (view.status, view.qualifiers, view.amount_captured) == ("succeeded", ["paid_late"], 1_000_00)
    assert (view.amount_held, await house.entries(merchant)) == (0, ["payment_captured"])
    assert (await house.event_types(merchant))[-2:] == ["payment_intent.succeeded", "payment_intent.paid_late"]
    late = await created(house, merchant)
    await house.pay(merchant, late, house.scb, seconds=expires_in + LATE_SECONDS + 1, transaction="txn_late")
    assert (await house.intents.get(merchant, late.id)).amount_held == 1_000_00
    await house.pay(merchant, before, house.scb, seconds=expires_in + 1, transaction="txn_before")
    assert (await house.intents.get(merchant, before.id)).amount_held == 1_000_00, "begun on the terms before"


async def test_late_payment_of_a_cancelled_one_is_the_payment_once_it_is_accepted(house, merchant):
    intent = await created(house, merchant)
    await house.intents.cancel(merchant, intent.id)
    await house.pay(merchant, intent, house.scb, seconds=LATE_SECONDS)
    assert (await house.intents.get(merchant, intent.id)).status == "canceled"
    view = await accept(house, merchant, intent)
    assert (view.status, view.amount_captured, view.amount_held) == ("succeeded", 1_000_00, 0)
    assert await seen(house, merchant) == []


async def test_short_payment_is_accepted_for_what_it_is_and_the_rest_is_held(house, merchant):
    intent = await created(house, merchant)
    await house.pay(merchant, intent, house.scb, amount=400_00)
    view = await accept(house, merchant, intent)
    assert (view.status, view.qualifiers) == ("succeeded", [])
    assert (view.amount_captured, view.amount_held, view.amount_refundable) == (400_00, 0, 400_00)
    assert (await house.balances(merchant))["fee_income"] == 6_60
    await house.pay(merchant, intent, house.scb, amount=600_00, transaction="txn_rest")
    view = await house.intents.get(merchant, intent.id)
    assert (view.amount_captured, view.amount_held, view.qualifiers) == (400_00, 600_00, ["overpaid"])
    assert await seen(house, merchant) == [("twice", 600_00)]
    view = await accept(house, merchant, intent)
    assert (view.amount_captured, view.amount_held, view.qualifiers) == (1_000_00, 0, [])
    assert (await house.balances(merchant))["fee_income"] == 16_50
    assert await seen(house, merchant) == []


@pytest.mark.parametrize(
    ("first_minor", "second_minor", "fee_minor"), [(1_250_00, None, 16_50 + 4_13), (1_000_00, 1_000_00, 33_00)]
)
async def test_what_was_paid_over_or_twice_is_accepted_on_top(house, merchant, first_minor, second_minor, fee_minor):
    intent = await created(house, merchant)
    await house.pay(merchant, intent, house.scb, amount=first_minor)
    if second_minor:
        await house.pay(merchant, intent, house.scb, amount=second_minor, transaction="txn_2")
    all_minor = first_minor + (second_minor or 0)
    before = await house.intents.get(merchant, intent.id)
    assert (before.amount_captured, before.amount_held, before.qualifiers) == (
        1_000_00,
        all_minor - 1_000_00,
        ["overpaid"],
    )
    view = await accept(house, merchant, intent)
    assert (view.status, view.qualifiers, view.version) == ("succeeded", [], before.version + 1)
    assert (view.amount_captured, view.amount_held, view.amount_refundable) == (all_minor, 0, all_minor)
    balances = await house.balances(merchant)
    assert (balances["fee_income"], balances["provider_receivable"]) == (fee_minor, all_minor)
    assert "payer_refundable" not in balances
    assert (await house.event_types(merchant))[-1] == "payment_intent.held_accepted"
    assert await seen(house, merchant) == []


async def test_a_payment_is_counted_once_for_each_status_that_it_reaches(house, merchant):
    def counted(status):
        labels = {"method": "promptpay", "provider": "scb", "status": status}
        return REGISTRY.get_sample_value("quickkub_payment_intents_total", labels) or 0

    before = (counted("succeeded"), counted("requires_action"))
    intent = await created(house, merchant)
    await house.pay(merchant, intent, house.scb, seconds=LATE_SECONDS)
    assert (counted("succeeded"), counted("requires_action")) == (before[0], before[1] + 1)
    await accept(house, merchant, intent)
    assert counted("succeeded") == before[0] + 1
    await house.pay(merchant, intent, house.scb, transaction="txn_2", seconds=LATE_SECONDS)
    await accept(house, merchant, intent)
    assert counted("succeeded") == before[0] + 1, "more of its money is no other status"


async def test_assigned_receipt_that_is_held_is_accepted_as_well(house, merchant):
    intent = await created(house, merchant)
    await house.pay(merchant, intent, house.scb)
    receipt = await house.receipts.note(merchant.book_id, await line(house, merchant), actor="op_ann", reason="x")
    await house.receipts.assign(merchant.book_id, receipt.receipt_id, "payment", intent.id, actor="op_ann", reason="x")
    assert await seen(house, merchant) == [("twice", 1_000_00)]
    [held] = (await unmatched(house.database, merchant.book_id)).rows
    said = {"actor": "op_ann", "reason": "the merchant asked"}
    view = await house.accepting.accept_receipt(merchant.book_id, held.id, **said)
    assert await house.accepting.accept_receipt(merchant.book_id, held.id, **said) == view
    assert (view.amount_captured, view.amount_held) == (2_000_00, 0)
    assert await seen(house, merchant) == []
    acts = await house.rows("SELECT actor, reason FROM gateway.operator_acts WHERE act = 'held_money.accepted'")
    assert [tuple(act.values()) for act in acts] == [("op_ann", "the merchant asked")]


async def test_money_that_came_to_our_bank_goes_back_by_claim_and_never_by_the_provider(house, merchant):
    await house.intents.create(merchant, CARD_ASKED)  # so that the merchant can afford two refunds
    intent = await house.intents.create(merchant, CARD_ASKED)
    receipt = await house.receipts.note(merchant.book_id, await line(house, merchant), actor="op_ann", reason="x")
    await house.receipts.assign(merchant.book_id, receipt.receipt_id, "payment", intent.id, actor="op_ann", reason="x")
    assert (await accept(house, merchant, intent)).amount_refundable == 2_000_00

    def ask(via):
        return house.refunds.create(merchant, CreateRefund(payment_intent=intent.id, amount=1_000_00, via=via))

    assert (await ask("provider")).status == "succeeded"
    assert (await refused(ask("provider")), len(house.omise.refunds)) == ("refund_not_supported", 1)
    assert (await ask("claim")).status == "requires_action"
    assert (await house.intents.get(merchant, intent.id)).amount_refundable == 0


@pytest.mark.parametrize(
    ("captured_minor", "held_minor", "fixed_minor"), [(0, 1_200_00, 5_00), (1_000_00, 200_00, 0), (0, 200_00, 0)]
)
async def test_the_fixed_part_of_the_fee_is_due_once_a_receipt(
    house, merchant, captured_minor, held_minor, fixed_minor
):
    # The last: a mark was proved by the receipt, and has brought the fixed part before.
    intent = await created(house, merchant)
    await house.pay(merchant, intent, house.scb, amount=1_200_00)
    async with house.database.read() as connection:
        [row] = await lock_intents(connection, merchant.book_id, [intent.id])
        [attempt] = await attempts_of(connection, merchant.book_id, [intent.id])
        known = await facts_of(connection, merchant.book_id, [intent.id])
    [fact] = [each for each in known if each.held_minor]
    entry = entry_of_acceptance(
        replace(fact, captured_minor=captured_minor, held_minor=held_minor),
        row,
        replace(attempt, fee_rate_ppm=0, fee_fixed_minor=5_00),
        amount_minor=held_minor,
        available_on=merchant.clock.today(),
        accepted_on=merchant.clock.today(),
        caller="x",
    )
    fees = [posting.amount_minor for posting in entry.postings if posting.credit.kind is AccountKind.FEE_INCOME]
    assert fees == [fixed_minor] * bool(fixed_minor)


async def test_accepted_money_is_refunded_by_receipt_and_goes_back_to_its_own_day(house, merchant):
    intent = await created(house, merchant)
    await house.pay(merchant, intent, house.scb)
    await house.pay(merchant, intent, house.scb, transaction="txn_2", amount=500_00)
    later = await house.move_clock(merchant, days=1)
    await accept(house, later, intent)

    def ask(amount):
        return house.refunds.create(later, CreateRefund(payment_intent=intent.id, amount=amount, via="claim"))

    assert await refused(ask(1_200_00)) == "exceeds_original"
    assert await refused(ask(None)) == "exceeds_original"
    assert (await house.balances(later)).get("refunds_payable") is None
    first, second = await ask(900_00), await ask(400_00)
    assert await refused(ask(200_00)) == "exceeds_original"
    rows = await house.rows(
        "SELECT refund_id, available_on, capture_key FROM gateway.refunds WHERE book_id = $1 ORDER BY refund_id",
        merchant.book_id,
    )
    assert [row["refund_id"] for row in rows] == [first.id, second.id]
    assert len({row["capture_key"] for row in rows}) == 2
    assert rows[0]["available_on"] < rows[1]["available_on"]
    view = await house.intents.get(later, intent.id)
    assert (view.amount_captured, view.amount_refundable) == (1_500_00, 200_00)
    third = await ask(100_00)
    assert third.status == "requires_action"
    assert (await house.balances(later))["refunds_payable"] == 1_400_00


async def test_accepting_and_returning_at_once_does_exactly_one(house, merchant):
    intent = await created(house, merchant)
    done = set()
    for turn in range(16):
        transaction = f"txn_{turn}"
        await house.pay(merchant, intent, house.scb, seconds=LATE_SECONDS, transaction=transaction, amount=10_00 + turn)
        held_before = (await house.intents.get(merchant, intent.id)).amount_held
        work = [accept(house, merchant, intent), offer(house, merchant, intent)]
        answers = await asyncio.gather(*(reversed(work) if turn % 2 else work), return_exceptions=True)
        [no] = [answer for answer in answers if isinstance(answer, Refused)]
        [yes] = [answer for answer in answers if not isinstance(answer, Refused)]
        assert no.code == "nothing_held"
        done.add(yes.object)
        held = (await house.intents.get(merchant, intent.id)).amount_held
        assert held == held_before - (10_00 + turn if yes.object == "payment_intent" else 0)
        assert (await house.balances(merchant)).get("payer_refundable", 0) == held
        found = await unmatched(house.database, merchant.book_id)
        assert [tie.difference_minor for tie in found.tie_outs] == [0]
    assert done == {"payment_intent", "refund_claim"}


async def test_many_who_accept_at_once_take_it_once_and_a_retry_finds_what_was_done(house, merchant):
    intent = await created(house, merchant)
    await house.pay(merchant, intent, house.scb, seconds=LATE_SECONDS)
    answers = await asyncio.gather(*(accept(house, merchant, intent) for _ in range(5)), return_exceptions=True)
    assert sorted(getattr(answer, "code", "done") for answer in answers) == ["done", *["nothing_held"] * 4]
    assert len(await acceptance_entries(house, merchant)) == 1
    again = await created(house, merchant)
    await house.pay(merchant, again, house.scb, seconds=LATE_SECONDS, transaction="txn_again")
    own = "acp_test_00000000000000000000000001"
    first = await accept(house, merchant, again, acceptance_id=own)
    assert await accept(house, merchant, again, acceptance_id=own) == first
    assert len(await acceptance_entries(house, merchant)) == 2


async def test_crash_before_the_commit_leaves_nothing(house, merchant, monkeypatch):
    intent = await created(house, merchant)
    await house.pay(merchant, intent, house.scb, seconds=LATE_SECONDS)
    before = (await house.balances(merchant), await house.intents.get(merchant, intent.id))

    async def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gateway.payments.accepting._post", crash)
        with pytest.raises(KeyboardInterrupt):
            await accept(house, merchant, intent)
    assert (await house.balances(merchant), await house.intents.get(merchant, intent.id)) == before
    assert (await accept(house, merchant, intent)).status == "succeeded"


async def test_what_is_offered_conflicted_or_a_strangers_is_refused_and_nothing_moves(house, merchant):
    over = await created(house, merchant)
    await house.pay(merchant, over, house.scb, amount=1_250_00)
    other = await house.new_merchant("another shop")
    clean = await created(house, merchant)
    conflicted = await created(house, merchant)
    await house.pay(merchant, conflicted, house.scb, transaction="txn_c", amount=400_00)
    voided = await house.paid_fact(conflicted, house.scb, transaction="txn_no", kind="declined")
    await house.applier.apply(voided, book_id=merchant.book_id)
    assert (await house.intents.get(merchant, conflicted.id)).status == "conflicted"
    before = (await house.balances(merchant), await house.event_types(merchant))
    with pytest.raises(NotFound):
        await house.accepting.accept(other, over.id, acceptance_id="acp_test_x")
    assert await refused(accept(house, merchant, clean)) == "nothing_held"
    assert await refused(accept(house, merchant, conflicted)) == "payment_conflicted"
    assert (await house.balances(merchant), await house.event_types(merchant)) == before
    await offer(house, merchant, over)
    before = (await house.balances(merchant), await house.event_types(merchant))
    assert await refused(accept(house, merchant, over)) == "nothing_held"
    assert (await house.balances(merchant), await house.event_types(merchant)) == before


async def test_a_named_receipt_is_accepted_or_returned_and_no_other_in_its_place(house, merchant):
    intent, other = await created(house, merchant), await created(house, merchant)
    await house.pay(merchant, intent, house.scb, seconds=LATE_SECONDS, transaction="txn_1", amount=100_00)
    await house.pay(merchant, intent, house.scb, seconds=LATE_SECONDS, transaction="txn_2", amount=200_00)
    await house.pay(merchant, intent, house.scb, seconds=LATE_SECONDS, transaction="txn_3", amount=300_00)
    await house.pay(merchant, other, house.scb, seconds=LATE_SECONDS, transaction="txn_4", amount=400_00)
    first, second, third, strange = [row.id for row in (await unmatched(house.database, merchant.book_id)).rows]

    async def nothing_moves(doing, code):
        before = (await house.balances(merchant), await house.event_types(merchant))
        if code == "not_found":
            with pytest.raises(NotFound):
                await doing
        else:
            assert await refused(doing) == code
        assert (await house.balances(merchant), await house.event_types(merchant)) == before

    taken = await accept(house, merchant, intent, held_id=second)
    assert (taken.held, taken.amount_captured, taken.amount_held) == (second, 200_00, 400_00)
    offered = await offer(house, merchant, intent, held_id=third)
    assert (offered.held, offered.amount) == (third, 300_00)
    for gone in (second, third):
        await nothing_moves(accept(house, merchant, intent, held_id=gone), "nothing_held")
        await nothing_moves(offer(house, merchant, intent, held_id=gone), "nothing_held")
    for unknown in (strange, "fact_test_x"):
        await nothing_moves(accept(house, merchant, intent, held_id=unknown), "not_found")
        await nothing_moves(offer(house, merchant, intent, held_id=unknown), "not_found")
    assert (await accept(house, merchant, intent)).held == first, "without a name the oldest, as ever"
    assert await seen(house, merchant) == [("twice", 300_00), ("late", 400_00)]


async def test_facts_that_come_after_an_acceptance_fold_with_it(house, merchant):
    intent = await created(house, merchant)
    await house.pay(merchant, intent, house.scb, seconds=LATE_SECONDS)
    await accept(house, merchant, intent)
    await house.pay(merchant, intent, house.scb, transaction="txn_in_time")
    view = await house.intents.get(merchant, intent.id)
    assert (view.status, view.amount_captured, view.amount_held) == ("succeeded", 1_000_00, 1_000_00)
    assert await seen(house, merchant) == [("twice", 1_000_00)]
    claim = await offer(house, merchant, intent)
    assert claim.amount == 1_000_00
