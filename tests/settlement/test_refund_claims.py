"""Money that payers claim: reserved as any refund, sent by bank file, proved by the statement, given back if not."""

import asyncio
from datetime import timedelta

import pytest
from lxml import etree

from gateway.payments import tokens
from gateway.payments.errors import NotFound, Refused
from gateway.payments.requests import CreateIntent
from gateway.providers.base import FactKind, Method
from gateway.providers.dispute_terms import DisputeStage, DisputeTerms
from gateway.settlement.confirmations import Confirmation
from gateway.settlement.daily import Daily
from gateway.settlement.reporting import file_totals
from gateway.settlement.runs import Sweeper
from reconciliation.breaks import BreakKind
from tests.payments.conftest import VAULT
from tests.settlement.desk import ACCOUNT, OTHER, TWO_PAID
from tests.settlement.shops import ACCEPTED, REFUSED, SILENT


async def test_claimed_refund_is_paid_when_the_statement_shows_it(desk, paid):
    assert await desk.balances() == TWO_PAID
    refund = await desk.refund(paid)
    assert (refund.status, refund.claim_token is None) == ("requires_action", False)
    reserved = TWO_PAID | {"merchant_pending": 1_564_68, "refunds_payable": 400_00}
    assert await desk.balances() == reserved
    assert (await desk.house.event_types(desk.merchant))[-2:] == ["refund.created", "refund.requires_action"]
    offer = await desk.claims.find(refund.claim_token)
    assert (offer.claim.amount_minor, offer.claim.expires_at - offer.claim.created_at) == (400_00, timedelta(days=30))
    await desk.claims.claim(refund.claim_token, ACCOUNT)
    assert (await desk.house.refunds.get(desk.merchant, refund.id)).status == "pending"
    assert await desk.sent() == 1
    [(_, content)] = desk.bank.files
    document = etree.fromstring(content)
    assert [node.text for node in document.iterfind(".//{*}EndToEndId")] == [refund.claim.replace("_", "").upper()]
    assert [node.text for node in document.iterfind(".//{*}InstdAmt")] == ["400.00"]
    assert await desk.balances() == reserved
    assert await desk.seen(refund.claim) is Confirmation.CONFIRMED
    assert await desk.seen(refund.claim) is Confirmation.ALREADY_CONFIRMED
    assert await desk.balances() == TWO_PAID | {"merchant_pending": 1_564_68, "bank": -400_00}
    done = await desk.house.refunds.get(desk.merchant, refund.id)
    assert (done.status, done.claim_token) == ("succeeded", None)
    view = await desk.house.intents.get(desk.merchant, paid.id)
    assert (view.amount_refunded, view.amount_refundable) == (400_00, 600_00)
    assert (await desk.house.event_types(desk.merchant))[-6:] == [
        "refund_claim.claimed",
        "refund_claim.approved",
        "refund_claim.in_transit",
        "refund_claim.paid",
        "charge.refunded",
        "refund.succeeded",
    ]
    assert await desk.moves(refund.claim) == [
        ("claimed", "payer"),
        ("approved", "system"),
        ("submitted", "system"),
        ("in_transit", "system"),
        ("paid", "system"),
    ]
    async with desk.house.database.read() as connection:
        assert await file_totals(connection, VAULT, desk.book_id) == [], "no payout report counts it"


async def test_bank_account_is_sealed_and_no_event_has_the_token(desk, paid):
    refund = await desk.refund(paid)
    await desk.claims.claim(refund.claim_token, ACCOUNT)
    row = await desk.row(refund.claim)
    assert (row["bank_code"], row["last_four"]) == ("004", "7890")
    assert ACCOUNT.account_number.encode() not in row["sealed_destination"]
    assert refund.claim_token.encode() not in row["token_hash"]
    events_said = b"".join(each["payload"] for each in await desk.house.rows("SELECT payload FROM gateway.events"))
    assert refund.claim_token.encode() not in events_said
    assert ACCOUNT.account_number.encode() not in events_said


async def test_claim_is_not_given_where_the_provider_gives_the_money_back(desk):
    card = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.CARD, card_token="tokn_1")
    paid = await desk.house.intents.create(desk.merchant, card)
    before = await desk.balances()
    with pytest.raises(Refused) as refused:
        await desk.refund(paid)
    assert refused.value.code == "refund_claim_not_needed"
    assert (
        await desk.balances(),
        await desk.house.rows("SELECT 1 FROM gateway.refunds WHERE book_id = $1", desk.book_id),
    ) == (before, [])


async def test_racing_refunds_by_claim_never_exceed_what_was_captured(desk, paid):
    results = await asyncio.gather(*(desk.refund(paid, 300_00) for _ in range(6)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, Refused)]
    assert ({error.code for error in refused}, len(refused)) == ({"exceeds_original"}, 3)
    assert (await desk.balances())["refunds_payable"] == 900_00


async def test_of_racing_payers_one_gets_the_claim_and_a_retry_is_the_same(desk, paid):
    refund = await desk.refund(paid)
    results = await asyncio.gather(
        *(desk.claims.claim(refund.claim_token, account) for account in (ACCOUNT, OTHER, ACCOUNT, OTHER)),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, Refused)]
    assert ({error.code for error in refused}, len(refused)) == ({"refund_claim_closed"}, 2)
    assert (await desk.house.event_types(desk.merchant)).count("refund_claim.claimed") == 1


async def test_forged_token_opens_nothing(desk, paid):
    refund = await desk.refund(paid)
    for forged in ("", "x", refund.claim_token[:-1], refund.claim_token + "A", refund.claim, "ก" * 43):
        with pytest.raises(NotFound):
            await desk.claims.find(forged)
    assert tokens.opens(VAULT, refund.claim_token, refund.claim)


async def test_expired_claim_gives_the_money_back_once(desk, paid):
    refund = await desk.refund(paid)
    later = await desk.house.move_clock(desk.merchant, days=30, seconds=1)
    with pytest.raises(Refused) as refused:
        await desk.claims.claim(refund.claim_token, ACCOUNT)
    assert refused.value.code == "refund_claim_expired"
    await asyncio.gather(*(desk.claims.run_once() for _ in range(3)))
    # By then the charge's money is due to be available, so that is where it goes.
    assert await desk.balances() == TWO_PAID | {"merchant_pending": 1_564_68, "merchant_available": 400_00}
    failed = await desk.house.refunds.get(later, refund.id)
    assert (failed.status, failed.last_error.code) == ("failed", "claim_expired")
    assert (await desk.house.event_types(desk.merchant))[-2:] == ["refund_claim.expired", "refund.failed"]
    view = await desk.house.intents.get(later, paid.id)
    assert (view.amount_refunded, view.amount_refundable) == (0, 1_000_00)
    assert await desk.claims.run_once() == 0


async def test_crash_between_decision_and_entry_is_finished_by_the_sweeper(desk, paid, monkeypatch):
    refund = await desk.refund(paid)
    await desk.house.move_clock(desk.merchant, days=31)

    async def crash(*_):
        raise ConnectionError

    monkeypatch.setattr(desk.house.ledger, "post", crash)
    assert await desk.claims.run_once() == 1
    monkeypatch.undo()
    assert (await desk.house.refunds.get(desk.merchant, refund.id)).status == "requires_action"
    with pytest.raises(Refused):
        await desk.claims.claim(refund.claim_token, ACCOUNT)
    await desk.house.move_clock(desk.merchant, days=40)
    await desk.claims.run_once()
    assert (await desk.house.refunds.get(desk.merchant, refund.id)).status == "failed"
    assert "refunds_payable" not in await desk.balances()


async def test_transfer_that_comes_back_is_the_merchants_money_again(desk, paid):
    refund = await desk.refund(paid)
    await desk.claims.claim(refund.claim_token, ACCOUNT)
    await desk.sent()
    assert await desk.seen(refund.claim, returned=True) is Confirmation.NOT_EXPECTED
    await desk.seen(refund.claim)
    assert await desk.seen(refund.claim, returned=True, line_id="line_back") is Confirmation.CONFIRMED
    assert await desk.seen(refund.claim, returned=True, line_id="line_back") is Confirmation.ALREADY_CONFIRMED
    assert await desk.balances() == TWO_PAID
    assert (await desk.house.entries(desk.merchant))[-3:] == ["refund_paid", "refund_came_back", "refund_failed"]
    failed = await desk.house.refunds.get(desk.merchant, refund.id)
    assert (failed.status, failed.last_error.code) == ("failed", "transfer_returned")
    view = await desk.house.intents.get(desk.merchant, paid.id)
    assert (view.amount_refunded, view.amount_refundable) == (0, 1_000_00)
    assert (await desk.house.event_types(desk.merchant))[-2:] == ["refund_claim.returned", "refund.failed"]
    again = await desk.refund(paid, 1_000_00)
    assert again.status == "requires_action"


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"amount_minor": 399_99}, Confirmation.AMOUNT_DIFFERS),
        ({"currency": "USD"}, Confirmation.AMOUNT_DIFFERS),
        ({"end_to_end_id": "CLMTESTNOBODY"}, Confirmation.NO_SUCH_PAYOUT),
    ],
)
async def test_line_that_does_not_fit_moves_nothing(desk, paid, changes, answer):
    refund = await desk.refund(paid)
    await desk.claims.claim(refund.claim_token, ACCOUNT)
    await desk.sent()
    before = await desk.balances()
    assert await desk.seen(refund.claim, **changes) is answer
    assert await desk.balances() == before


async def test_second_line_for_one_transfer_and_a_line_before_it_was_sent_move_nothing(desk, paid):
    refund = await desk.refund(paid)
    assert await desk.seen(refund.claim) is Confirmation.NOT_EXPECTED
    await desk.claims.claim(refund.claim_token, ACCOUNT)
    await desk.sent()
    answers = await asyncio.gather(*(desk.seen(refund.claim) for _ in range(4)))
    assert answers.count(Confirmation.CONFIRMED) == 1
    assert await desk.seen(refund.claim, line_id="line_2") is Confirmation.NOT_EXPECTED
    assert (await desk.balances())["bank"] == -400_00


async def test_bank_that_refuses_the_file_gives_the_money_back(desk, paid):
    desk.bank.outcomes = [SILENT, REFUSED]
    refund = await desk.refund(paid)
    await desk.claims.claim(refund.claim_token, ACCOUNT)
    await desk.sent()
    assert (await desk.row(refund.claim))["state"] == "unknown"
    await desk.house.run("UPDATE gateway.payout_files SET lease_until = NULL")
    await Sweeper(desk.house.database, desk.run).run_once()
    assert await desk.balances() == TWO_PAID
    failed = await desk.house.refunds.get(desk.merchant, refund.id)
    assert (failed.status, failed.last_error.code) == ("failed", "claim_rejected")
    assert (await desk.row(refund.claim))["failure_code"] == "file_rejected"


async def test_live_claim_waits_for_a_second_person(desk, paid):
    refund = await desk.refund(paid)
    live = "UPDATE gateway.refund_claims SET livemode = true, offered_by = 'op_1' WHERE claim_id = $1"
    await desk.house.run(live, refund.claim)
    with pytest.raises(Refused):
        await desk.claims.approve(desk.book_id, refund.claim, actor="op_2", reason="too early")
    await desk.claims.claim(refund.claim_token, ACCOUNT)
    assert await desk.sent() == 0
    for same in ("op_1", "cli:root"):  # whoever came by key may be this login
        with pytest.raises(Refused) as refused:
            await desk.claims.approve(desk.book_id, refund.claim, actor=same, reason="my own")
        assert refused.value.code == "second_person_required"
    assert (await desk.row(refund.claim))["state"] == "claimed"
    await desk.claims.approve(desk.book_id, refund.claim, actor="op_2", reason="checked")
    assert (await desk.moves(refund.claim))[-1] == ("approved", "op_2")
    assert await desk.sent() == 1
    with pytest.raises(Refused):
        await desk.claims.refuse(desk.book_id, refund.claim, actor="op_2", reason="too late")


@pytest.mark.parametrize("operator", ["op_2", "cli:root"])
async def test_what_its_merchant_offered_any_operator_lets_go(desk, paid, operator):
    refund = await desk.refund(paid)
    await desk.house.run("UPDATE gateway.refund_claims SET livemode = true WHERE claim_id = $1", refund.claim)
    await desk.claims.claim(refund.claim_token, ACCOUNT)
    claim = await desk.claims.approve(desk.book_id, refund.claim, actor=operator, reason="checked")
    assert claim.state == "approved"


async def disputed(desk, intent, outcome=None):
    """A letter says that the payment's charge is disputed; then what became of it."""
    acts, said = desk.house.dispute_acts, {"actor": "op_ann", "reason": "a letter"}
    terms = DisputeTerms(reference=f"case {intent.id}", stage=DisputeStage.DISPUTE, reason_code="general")
    if outcome is None:
        return await acts.open(desk.book_id, intent.id, terms, **said)
    known = (await acts.open(desk.book_id, intent.id, terms, **said)).dispute
    return await acts.record(desk.book_id, known.dispute_id, outcome, **said)


async def test_no_claim_pays_what_the_payers_bank_takes_back(desk, paid):
    refund = await desk.refund(paid)
    await disputed(desk, paid)
    before = (await desk.balances(), await desk.row(refund.claim))
    with pytest.raises(Refused) as refused:
        await desk.claims.claim(refund.claim_token, ACCOUNT)
    assert refused.value.code == "payment_disputed"
    assert (await desk.balances(), await desk.row(refund.claim)) == before
    await disputed(desk, paid, FactKind.DISPUTE_WON)
    assert (await desk.claims.claim(refund.claim_token, ACCOUNT)).claim.state == "approved"


async def test_no_operator_lets_a_claim_go_that_is_disputed_meanwhile(desk, paid):
    refund = await desk.refund(paid)
    await desk.house.run("UPDATE gateway.refund_claims SET livemode = true WHERE claim_id = $1", refund.claim)
    await desk.claims.claim(refund.claim_token, ACCOUNT)
    await disputed(desk, paid)
    before = (await desk.balances(), await desk.row(refund.claim))
    with pytest.raises(Refused) as refused:
        await desk.claims.approve(desk.book_id, refund.claim, actor="op_2", reason="checked")
    assert refused.value.code == "payment_disputed"
    assert (await desk.balances(), await desk.row(refund.claim), await desk.sent()) == (*before, 0)
    await desk.claims.refuse(desk.book_id, refund.claim, actor="op_2", reason="the bank has it")
    assert (await desk.house.refunds.get(desk.merchant, refund.id)).status == "failed"


async def test_an_operator_who_lets_a_claim_go_waits_for_a_dispute_that_is_being_written(desk, paid, monkeypatch):
    refund = await desk.refund(paid)
    await desk.house.run("UPDATE gateway.refund_claims SET livemode = true WHERE claim_id = $1", refund.claim)
    await desk.claims.claim(refund.claim_token, ACCOUNT)
    written, go_on = asyncio.Event(), asyncio.Event()
    post = desk.house.applier._post

    async def post_later(*arguments):
        written.set()
        await go_on.wait()
        await post(*arguments)

    monkeypatch.setattr(desk.house.applier, "_post", post_later)
    dispute = asyncio.create_task(disputed(desk, paid))
    await written.wait()
    letting_go = asyncio.create_task(desk.claims.approve(desk.book_id, refund.claim, actor="op_2", reason="checked"))
    await asyncio.wait({letting_go}, timeout=0.3)
    go_on.set()
    await dispute
    with pytest.raises(Refused) as refused:
        await letting_go
    assert refused.value.code == "payment_disputed"
    assert (await desk.row(refund.claim))["state"] == "claimed"


@pytest.mark.parametrize("is_held", [False, True], ids=["of a refund", "of held money"])
async def test_no_file_holds_an_approved_claim_that_is_disputed_meanwhile(desk, paid, is_held):
    if is_held:
        intent = await desk.paid(amount=1_250_00)
        claim = await desk.held.offer(desk.book_id, intent.id, account_id=desk.merchant.account_id, actor="acct")
        claim_id, token = claim.id, claim.token
    else:
        intent, refund = paid, await desk.refund(paid)
        claim_id, token = refund.claim, refund.claim_token
    await desk.claims.claim(token, ACCOUNT)
    await disputed(desk, intent)
    before = (await desk.balances(), await desk.row(claim_id))
    assert before[1]["state"] == "approved"
    assert (await desk.sent(), await desk.balances(), await desk.row(claim_id)) == (0, *before)
    await disputed(desk, intent, FactKind.DISPUTE_WON)
    assert await desk.sent() == 1
    assert (await desk.row(claim_id))["state"] == "in_transit"


async def test_operator_refuses_a_claim_and_the_merchant_has_the_money(desk, paid):
    refund = await desk.refund(paid)
    await asyncio.gather(
        *(desk.claims.refuse(desk.book_id, refund.claim, actor="op_2", reason="fraud") for _ in range(3))
    )
    assert await desk.balances() == TWO_PAID
    assert (await desk.house.event_types(desk.merchant)).count("refund.failed") == 1


async def test_held_money_goes_back_by_the_same_road(desk):
    intent = await desk.paid(amount=1_250_00)
    assert (intent.amount_held, intent.qualifiers) == (250_00, ["overpaid"])
    before = await desk.balances()
    assert before["payer_refundable"] == 250_00
    claim = await desk.held.offer(desk.book_id, intent.id, account_id=desk.merchant.account_id, actor="acct")
    with pytest.raises(Refused) as refused:
        await desk.held.offer(desk.book_id, intent.id, account_id=desk.merchant.account_id, actor="acct")
    assert refused.value.code == "nothing_held"
    await desk.claims.claim(claim.token, ACCOUNT)
    await desk.sent()
    assert await desk.balances() == before
    assert await desk.seen(claim.id) is Confirmation.CONFIRMED
    gone = {name: amount for name, amount in before.items() if name != "payer_refundable"} | {"bank": -250_00}
    assert await desk.balances() == gone
    view = await desk.house.intents.get(desk.merchant, intent.id)
    assert (view.amount_held, view.amount_returned, view.amount_received) == (0, 250_00, 1_250_00)
    assert await desk.seen(claim.id, returned=True, line_id="back") is Confirmation.CONFIRMED
    assert await desk.balances() == before
    again = await desk.held.offer(desk.book_id, intent.id, account_id=None, actor="op_1", reason="asked for it")
    assert (again.amount, again.status) == (250_00, "open")
    types = [each for each in await desk.house.event_types(desk.merchant) if each.startswith("refund")]
    assert types == [
        f"refund_claim.{name}"
        for name in ("created", "claimed", "approved", "in_transit", "paid", "returned", "created")
    ]


async def test_racing_offers_of_held_money_make_one_claim_and_an_expired_one_frees_it(desk):
    intent = await desk.paid(amount=1_250_00)
    results = await asyncio.gather(
        *(desk.held.offer(desk.book_id, intent.id, account_id=None, actor="op_1", reason="x") for _ in range(4)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Refused) for result in results) == 3
    before = await desk.balances()
    await desk.house.move_clock(desk.merchant, days=31)
    await desk.claims.run_once()
    assert await desk.balances() == before
    await desk.held.offer(desk.book_id, intent.id, account_id=None, actor="op_1", reason="again")


async def test_strangers_offer_nothing(desk):
    intent = await desk.paid(amount=1_250_00)
    with pytest.raises(NotFound):
        await desk.held.offer(desk.book_id, intent.id, account_id="acct_other", actor="acct_other")


def daily_of(desk):
    return Daily(
        database=desk.house.database,
        ledger=desk.house.ledger,
        vault=VAULT,
        providers={},
        applier=desk.house.applier,
        settlement=desk.run,
        confirmations=desk.confirmations,
    )


@pytest.mark.parametrize("answer", [ACCEPTED, SILENT])
async def test_transfer_that_no_statement_shows_is_a_break_until_it_is_shown(desk, paid, answer):
    desk.bank.outcomes = [answer]
    daily = daily_of(desk)

    async def breaks(days):
        found = await daily.reconcile(desk.book_id, desk.merchant.clock.today() + timedelta(days=days))
        return [(each.kind, each.amount_minor) for each in found.breaks if each.subject == f"sent:{refund.claim}"]

    refund = await desk.refund(paid)
    await desk.claims.claim(refund.claim_token, ACCOUNT)
    assert await breaks(0) == []
    await desk.sent()
    assert await breaks(0) == [(BreakKind.TIMING, -400_00)]
    # Nothing of it is in the books yet, and no holiday lasts so long.
    assert await breaks(20) == [(BreakKind.MISSING_AT_BANK, -400_00)]
    assert await desk.seen(refund.claim) is Confirmation.CONFIRMED
    assert await breaks(21) == []


async def test_accepting_held_money_changes_nothing_that_statements_must_show(desk):
    daily = daily_of(desk)
    intent = await desk.paid(amount=1_250_00)
    today = desk.merchant.clock.today()
    before = await daily.reconcile(desk.book_id, today)
    said = [(each.kind, each.subject, each.amount_minor) for each in before.breaks]
    assert sum(amount for *_, amount in said) == 1_250_00
    own = "acp_test_00000000000000000000000001"
    await desk.house.accepting.accept(desk.merchant, intent.id, acceptance_id=own)
    assert "payer_refundable" not in await desk.balances()
    after = await daily.reconcile(desk.book_id, today)
    assert [(each.kind, each.subject, each.amount_minor) for each in after.breaks] == said
