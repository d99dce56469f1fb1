"""Money that matches no payment: each row has its reason, all rows are the ledger's balances, each act has a reason."""

import asyncio

import msgspec
import pytest
from prometheus_client import REGISTRY

from gateway.foundation.ids import new_id
from gateway.merchants.clocks import clock_of
from gateway.payments.claims import HeldMoney
from gateway.payments.errors import NotFound, Refused
from gateway.payments.requests import ConfirmIntent, CreateIntent
from gateway.providers.base import Method
from gateway.settlement.rounds import AT_ONCE
from gateway.settlement.unmatched import UnmatchedReason, unmatched
from gateway.webhooks import events
from tests.payments.conftest import VAULT
from tests.payments.test_janitor import CARD_ASKED
from tests.payments.test_overrides import FEE_MINOR, VAT_MINOR, proposal

QR_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.PROMPTPAY)
QR_FEE_MINOR, QR_VAT_MINOR = 16_50, 1_16
ANN = "op_ann"
LIVE_BOOK = 1


async def seen(house, merchant, **wanted):
    """(reason, amount) of each row; the rows must tie out with the ledger."""
    found = await unmatched(house.database, merchant.book_id, **wanted)
    assert [tie.difference_minor for tie in found.tie_outs] == [0] * len(found.tie_outs)
    return [(row.reason, row.amount_minor) for row in found.rows]


async def line(house, merchant, amount=1_000_00, *, kind="credit", side="bank", provider=None):
    line_id = new_id("stl", livemode=False)
    await house.run(
        "INSERT INTO reconciliation.statement_lines (book_id, line_id, file_id, line_number, source, side, account,"
        " stage, kind, provider, amount_minor, currency, value_on, description, line_sha256, content_sha256)"
        " VALUES ($1, $2, 'x', 1, 'mt940', $3, 'x', $4, $5, $6, $7, 'THB', $8, '', $9, 'x')",
        merchant.book_id,
        line_id,
        side,
        side,
        kind,
        provider,
        amount,
        merchant.clock.today(),
        line_id.encode(),
    )
    return line_id


@pytest.fixture
async def receipt(house, merchant):
    return await house.receipts.note(merchant.book_id, await line(house, merchant), actor=ANN, reason="nobody's")


async def test_held_money_is_listed_with_its_reason_and_ties_out(house, merchant):
    async def paid(transaction, **how):
        intent = await house.intents.create(merchant, QR_ASKED)
        await house.pay(merchant, intent, house.scb, transaction=transaction, **how)
        return intent

    await paid("txn_over", amount=1_000_70)
    short = await paid("txn_short", amount=400_00)
    await paid("txn_late", seconds=1_000)
    twice = await paid("txn_once")
    await house.pay(merchant, twice, house.scb, transaction="txn_twice")
    expected = [("over", 70), ("short", 400_00), ("late", 1_000_00), ("twice", 1_000_00)]
    assert await seen(house, merchant) == expected
    assert await seen(house, merchant, reason=UnmatchedReason.SHORT) == [("short", 400_00)]
    assert await seen(house, merchant, account="acct_x") == []
    assert await seen(house, merchant, account=merchant.account_id) == expected
    assert await seen(house, merchant, since_before=short.created_at) == []
    page = await unmatched(house.database, merchant.book_id, limit=3)
    rest = await unmatched(house.database, merchant.book_id, limit=3, after=page.rows[-1].id)
    assert ([len(page.rows), len(rest.rows)], page.has_more, rest.has_more) == ([3, 1], True, False)
    [tie] = page.tie_outs
    assert (tie.account_kind, tie.rows_minor, tie.ledger_minor) == ("payer_refundable", 2_400_70, 2_400_70)
    assert [(each.reason, each.rows, each.amount_minor) for each in rest.sums] == sorted(
        (reason, 1, amount) for reason, amount in expected
    )
    held = HeldMoney(house.database, VAULT, clock_of=clock_of, record_events=events.record)
    await held.offer(merchant.book_id, short.id, account_id=None, actor=ANN, reason="too little")
    [row] = (await unmatched(house.database, merchant.book_id, reason=UnmatchedReason.SHORT)).rows
    assert (row.claim, row.subject, row.account) == ("open", short.id, merchant.account_id)


async def test_marks_are_listed_until_they_are_proved(house, merchant):
    house.omise.charge_script.append("lost_before")
    asked = msgspec.structs.replace(QR_ASKED, payment_method=Method.CARD, card_token="tokn_1")
    intent = await house.intents.create(merchant, asked)
    await house.move_clock(merchant, hours=2)
    row = await house.overrides.propose(merchant.book_id, proposal(intent.id), actor=ANN)
    await house.overrides.approve(merchant.book_id, row.override_id, actor="op_ben", reason="seen")
    assert await seen(house, merchant) == [("mark", -1_000_00)]
    receipt = await house.receipts.note(
        merchant.book_id, await line(house, merchant, 600_00), actor=ANN, reason="a part of it"
    )
    await house.receipts.assign(
        merchant.book_id, receipt.receipt_id, "payment", intent.id, actor=ANN, reason="its reference"
    )
    assert await seen(house, merchant) == [("mark", -400_00)]
    await house.pay(merchant, intent, house.omise, amount=400_00)
    assert await seen(house, merchant) == []
    assert await house.balances(merchant) == {
        "bank": 600_00,
        "provider_receivable": 400_00,
        "merchant_pending": 1_000_00 - FEE_MINOR - VAT_MINOR,
        "fee_income": FEE_MINOR,
        "output_vat": VAT_MINOR,
    }


async def test_lines_that_nobody_knows_are_listed_and_in_no_account(house, merchant):
    credit = await line(house, merchant, 250_00)
    await line(house, merchant, 99_00, kind="payment", side="provider", provider="scb")
    await line(house, merchant, -30_00, kind="debit")
    await line(house, merchant, 77_00, provider="omise")
    assert sorted(await seen(house, merchant)) == [("unknown_line", 250_00), ("unknown_reference", 99_00)]
    assert await house.balances(merchant) == {}
    receipt = await house.receipts.note(merchant.book_id, credit, actor=ANN, reason="nobody's")
    again = await house.receipts.note(merchant.book_id, credit, actor="op_ben", reason="x")
    assert (again.receipt_id, again.noted_by) == (receipt.receipt_id, ANN)
    assert sorted(await seen(house, merchant)) == [("unidentified", 250_00), ("unknown_reference", 99_00)]
    assert await house.balances(merchant) == {"bank": 250_00, "unidentified_receipts": 250_00}
    with pytest.raises(NotFound):
        await house.receipts.note(merchant.book_id, "stl_test_00000000000000000000000000", actor=ANN, reason="x")


async def test_a_receipt_pays_the_payment_that_it_is_assigned_to(house, merchant, receipt):
    intent = await house.intents.create(merchant, QR_ASKED)
    for _ in range(2):
        await house.receipts.assign(
            merchant.book_id, receipt.receipt_id, "payment", intent.id, actor=ANN, reason="its reference"
        )
    view = await house.intents.get(merchant, intent.id)
    assert (view.status, view.amount_captured, view.qualifiers) == ("succeeded", 1_000_00, [])
    assert await house.balances(merchant) == {
        "bank": 1_000_00,
        "merchant_pending": 1_000_00 - QR_FEE_MINOR - QR_VAT_MINOR,
        "fee_income": QR_FEE_MINOR,
        "output_vat": QR_VAT_MINOR,
    }
    assert await house.entries(merchant) == ["unidentified_credit", "receipt_identified"]
    assert (await house.event_types(merchant))[-1] == "payment_intent.succeeded"
    assert await seen(house, merchant) == []
    acts = await house.rows("SELECT act, actor, reason FROM gateway.operator_acts WHERE act LIKE 'receipt%'")
    assert sorted(tuple(act.values()) for act in acts) == [
        ("receipt.assigned", ANN, "its reference"),
        ("receipt.noted", ANN, "nobody's"),
    ]


async def test_a_receipt_of_a_paid_payment_is_held_for_its_payer(house, merchant, receipt):
    intent = await house.intents.create(merchant, QR_ASKED)
    await house.pay(merchant, intent, house.scb)
    await house.receipts.assign(merchant.book_id, receipt.receipt_id, "payment", intent.id, actor=ANN, reason="again")
    assert await seen(house, merchant) == [("twice", 1_000_00)]
    assert (await house.balances(merchant))["payer_refundable"] == 1_000_00
    assert (await house.event_types(merchant))[-1] == "payment_intent.overpaid"


async def test_a_receipt_of_a_payment_whose_card_was_declined_pays_it_and_can_be_given_back(house, merchant, receipt):
    house.omise.charge_script.append("declined")
    intent = await house.intents.create(merchant, CARD_ASKED)
    assert (await house.intents.get(merchant, intent.id)).status == "requires_payment_method"
    await house.receipts.assign(merchant.book_id, receipt.receipt_id, "payment", intent.id, actor=ANN, reason="its own")
    view = await house.intents.get(merchant, intent.id)
    assert (view.status, view.amount_captured, view.amount_refundable) == ("succeeded", 1_000_00, 1_000_00)
    assert (view.last_error, view.qualifiers) == (None, [])
    assert (await house.event_types(merchant))[-1] == "payment_intent.succeeded"
    assert (await house.balances(merchant))["merchant_pending"] == 1_000_00 - FEE_MINOR - VAT_MINOR
    await house.pay(merchant, intent, house.omise)
    assert (await house.intents.get(merchant, intent.id)).status == "conflicted", "that is the provider's own word"


async def test_a_receipt_is_booked_once_though_the_payment_was_tried_again_before_we_knew(house, merchant, monkeypatch):
    house.omise.charge_script.append("declined")
    intent = await house.intents.create(merchant, CARD_ASKED)
    short = await house.receipts.note(merchant.book_id, await line(house, merchant, 600_00), actor=ANN, reason="x")
    with monkeypatch.context() as broken:
        broken.setattr(house.receipts, "_mark_posted", dies)
        with pytest.raises(RuntimeError):
            await house.receipts.assign(
                merchant.book_id, short.receipt_id, "payment", intent.id, actor=ANN, reason="a part"
            )
    entries = ["unidentified_credit", "receipt_identified"]
    assert await house.entries(merchant) == entries
    again = ConfirmIntent(payment_method=Method.PROMPTPAY)
    await house.intents.confirm(merchant, intent.id, again, attempt_id=new_id("att", livemode=False))
    assert {row["provider"] for row in await house.rows("SELECT provider FROM gateway.payment_attempts")} == {
        "omise",
        "scb",
    }
    assert (await house.receipts.run_once(), await house.receipts.run_once()) == (1, 0)
    view = await house.intents.get(merchant, intent.id)
    assert (view.status, view.amount_captured, view.amount_held) == ("requires_action", 0, 600_00)
    assert await house.balances(merchant) == {"bank": 600_00, "payer_refundable": 600_00}
    assert (await house.entries(merchant), await seen(house, merchant)) == (entries, [("short", 600_00)])


async def test_live_money_that_is_nobodys_is_on_show_until_it_is_assigned(house, receipt):
    async def shown():
        await house.receipts.run_once()
        return REGISTRY.get_sample_value("quickkub_unidentified_receipts_minor")

    assert await shown() == 0, "what is of a test book is no money"
    noted = (
        "INSERT INTO gateway.receipts (book_id, receipt_id, line_id, bank, amount_minor, currency, value_on, paid_at,"
        " noted_by, reason, noted_at, posted) SELECT $1, $2, $2, bank, 25000, currency, value_on, paid_at, noted_by,"
        " reason, noted_at, true FROM gateway.receipts LIMIT 1"
    )
    for receipt_id in ("rcp_1", "rcp_2"):
        await house.run(noted, LIVE_BOOK, receipt_id)
    assert await shown() == 500_00
    await house.run(
        "INSERT INTO gateway.receipt_assignments VALUES ($1, 'rcp_1', 'merchant', 'acct_x', $2, 'x', now(), true)",
        LIVE_BOOK,
        ANN,
    )
    assert await shown() == 250_00


async def test_a_receipt_is_a_merchants(house, merchant, receipt):
    await house.receipts.assign(
        merchant.book_id, receipt.receipt_id, "merchant", merchant.account_id, actor=ANN, reason="a top-up"
    )
    assert await house.balances(merchant) == {"bank": 1_000_00, "merchant_available": 1_000_00}
    assert await seen(house, merchant) == []


async def test_what_cannot_be_assigned_is_refused_and_nothing_moves(house, merchant, receipt):
    book_id, other = merchant.book_id, await house.new_merchant("another shop")

    async def refused(kind, target, receipt_id=receipt.receipt_id):
        with pytest.raises((Refused, NotFound)) as no:
            await house.receipts.assign(book_id, receipt_id, kind, target, actor=ANN, reason="x")
        return no.value.code

    assert await refused("merchant", merchant.account_id, "rcp_test_00000000000000000000000000") == "not_found"
    assert await refused("merchant", other.account_id) == "not_found"
    assert await refused("payment", "pi_test_00000000000000000000000000") == "not_found"
    untried = await house.intents.create(merchant, CreateIntent(amount=1_000_00, currency="thb", confirm=False))
    assert await refused("payment", untried.id) == "receipt_not_assignable"
    before = {"bank": 1_000_00, "unidentified_receipts": 1_000_00}
    assert await house.balances(merchant) == before
    tried = await house.intents.create(merchant, QR_ASKED)
    work = [
        house.receipts.assign(book_id, receipt.receipt_id, kind, target, actor=ANN, reason="x")
        for kind, target in (("merchant", merchant.account_id), ("payment", tried.id))
    ]
    answers = await asyncio.gather(*work, return_exceptions=True)
    assert sorted(getattr(answer, "code", "done") for answer in answers) == ["done", "receipt_assigned"]
    assert (await house.balances(merchant))["bank"] == 1_000_00
    assert await house.entries(merchant) == ["unidentified_credit", "receipt_identified"]


async def test_what_a_crash_left_is_posted_once(house, merchant, monkeypatch):
    credit = await line(house, merchant)
    with monkeypatch.context() as broken:
        broken.setattr(house.receipts, "_post_receipt", dies)
        with pytest.raises(RuntimeError):
            await house.receipts.note(merchant.book_id, credit, actor=ANN, reason="nobody's")
    assert (await house.balances(merchant), await house.receipts.run_once()) == ({}, 1)
    [row] = await house.rows("SELECT receipt_id FROM gateway.receipts")
    with monkeypatch.context() as broken:
        broken.setattr(house.receipts, "_post_assignment", dies)
        with pytest.raises(RuntimeError):
            await house.receipts.assign(
                merchant.book_id, row["receipt_id"], "merchant", merchant.account_id, actor=ANN, reason="x"
            )
    assert await seen(house, merchant) == [("unidentified", 1_000_00)]
    assert (await house.receipts.run_once(), await house.receipts.run_once()) == (1, 0)
    assert await house.balances(merchant) == {"bank": 1_000_00, "merchant_available": 1_000_00}


async def test_what_cannot_be_posted_now_holds_nothing_else_back(house, merchant, receipt, monkeypatch):
    second = await house.receipts.note(merchant.book_id, await line(house, merchant, 70_00), actor=ANN, reason="x")
    with monkeypatch.context() as broken:
        broken.setattr(house.receipts, "_post_assignment", dies)
        for each in (receipt, second):
            with pytest.raises(RuntimeError):
                await house.receipts.assign(
                    merchant.book_id, each.receipt_id, "merchant", merchant.account_id, actor=ANN, reason="x"
                )
    post = house.receipts._post_assignment

    async def first_dies(found, assignment):
        if assignment.receipt_id == receipt.receipt_id:
            raise RuntimeError("refused")
        await post(found, assignment)

    with monkeypatch.context() as broken:
        broken.setattr(house.receipts, "_post_assignment", first_dies)
        assert await house.receipts.run_once() == 2
    assert await house.balances(merchant) == {
        "bank": 1_070_00,
        "unidentified_receipts": 1_000_00,
        "merchant_available": 70_00,
    }
    assert (await house.receipts.run_once(), await house.receipts.run_once()) == (1, 0)
    assert await house.balances(merchant) == {"bank": 1_070_00, "merchant_available": 1_070_00}


async def test_more_than_a_round_of_what_cannot_be_posted_hold_nothing_back(house, merchant, receipt, monkeypatch):
    for number in range(AT_ONCE + 1):
        await house.run(
            "WITH made AS (INSERT INTO gateway.receipts SELECT book_id, $2, $2, bank, amount_minor, currency, value_on,"
            " paid_at, noted_by, reason, noted_at, true FROM gateway.receipts WHERE receipt_id = $1 RETURNING book_id)"
            " INSERT INTO gateway.receipt_assignments"
            " SELECT book_id, $2, 'payment', 'pi_none', 'op_x', 'x', now(), false FROM made",
            receipt.receipt_id,
            f"rcp_test_{number:026}",
        )
    with monkeypatch.context() as broken:
        broken.setattr(house.receipts, "_post_assignment", dies)
        with pytest.raises(RuntimeError):
            await house.receipts.assign(
                merchant.book_id, receipt.receipt_id, "merchant", merchant.account_id, actor=ANN, reason="x"
            )
    assert await house.receipts.run_once() == AT_ONCE
    assert (await house.balances(merchant)).get("merchant_available") is None
    assert await house.receipts.run_once() == 2
    assert (await house.balances(merchant))["merchant_available"] == 1_000_00
    assert await house.receipts.run_once() == AT_ONCE, "and from the start again"


async def dies(*_):
    raise RuntimeError("killed")
