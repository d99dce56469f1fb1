"""Every posting rule, for every input: what each account gains is stated here once more, by another road.

Method: each rule is called with random amounts, fees and dates; its postings are netted per account (debits
positive) and compared with the row of the accountant's table. Legs that add to zero per currency follow from
the posting's shape and are asserted all the same.
"""

from collections import Counter
from datetime import date
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.chart_of_accounts import AccountKind as K
from ledger.journal import AUTHORISING, AccountRef, EntryKind, JournalEntry
from ledger.posting_rules import disputes, marks, payments, payouts, receipts, refunds, settlement
from ledger.posting_rules.fees_and_tax import Fee, VatRateUnknown, fee_on, vat_rate_on

KEY, OTHER = UUID(int=1), UUID(int=2)
DAY = date(2026, 11, 23)
AMOUNTS = st.integers(1, 10**12)
PENDING_UNTIL = st.one_of(st.none(), st.dates(date(2026, 1, 1), date(2030, 1, 1)))
FEES = st.builds(Fee, amount_minor=st.integers(0, 10**10), vat_minor=st.integers(0, 10**9))
COMMON = {"key": KEY, "currency": "THB", "effective_on": DAY, "metadata": b"{}", "caller": "acct_1"}


def net(entry: JournalEntry) -> dict[tuple[K, str], int]:
    """Debits less credits per account; zero accounts left out."""
    totals: Counter[tuple[K, str]] = Counter()
    for posting in entry.postings:
        assert posting.amount_minor > 0, "no rule writes a zero posting"
        assert posting.debit.currency == posting.credit.currency == "THB"
        totals[posting.debit.kind, posting.debit.owner] += posting.amount_minor
        totals[posting.credit.kind, posting.credit.owner] -= posting.amount_minor
    assert sum(totals.values()) == 0
    return {account: amount for account, amount in totals.items() if amount}


def rows(**amounts: int) -> dict[tuple[K, str], int]:
    """An accountant's row; house accounts have the owner `-`, the others the one used in these tests."""
    owners = {
        K.PROVIDER_RECEIVABLE: "omise", K.PROVIDER_FEE_EXPENSE: "omise", K.BANK: "scb_main", K.OUTPUT_VAT: "-",
        K.INPUT_VAT: "-", K.PAYER_REFUNDABLE: "pi_1", K.PAYER_RECEIVABLE: "pi_1",
    }  # fmt: skip
    named = {(kind := K[name.upper()], owners.get(kind, "acct_1")): amount for name, amount in amounts.items()}
    return {account: amount for account, amount in named.items() if amount}


@given(amount=AMOUNTS, fee=FEES)
def test_captured_payment_gives_the_merchant_gross_less_fee_and_vat(amount: int, fee: Fee) -> None:
    entry = payments.payment_captured(
        provider="omise", merchant="acct_1", amount_minor=amount, fee=fee, available_on=DAY, references=(), **COMMON
    )
    expected = rows(provider_receivable=amount, merchant_pending=fee.total_minor - amount, output_vat=-fee.vat_minor)
    if fee.amount_minor:
        expected[K.FEE_INCOME, "payment"] = -fee.amount_minor
    assert net(entry) == expected
    assert entry.drawable_minor == amount
    assert all(posting.available_on == DAY for posting in entry.postings)


@given(amount=AMOUNTS)
def test_held_money_is_the_payers_until_it_is_accepted_or_returned(amount: int) -> None:
    held = payments.payer_money_held(provider="omise", intent="pi_1", amount_minor=amount, references=(), **COMMON)
    assert net(held) == rows(provider_receivable=amount, payer_refundable=-amount)
    returned = payments.payer_money_returned(
        held_key=OTHER, intent="pi_1", bank="scb_main", amount_minor=amount, references=(), **COMMON
    )
    assert net(returned) == rows(payer_refundable=amount, bank=-amount)
    assert returned.draw is not None
    assert (returned.draw.original_key, returned.draw.amount_minor) == (OTHER, amount)


@given(amount=AMOUNTS, fee=FEES)
def test_accepted_money_becomes_the_merchants_less_fee(amount: int, fee: Fee) -> None:
    entry = payments.payer_money_accepted(
        held_key=OTHER,
        merchant="acct_1",
        intent="pi_1",
        amount_minor=amount,
        fee=fee,
        available_on=DAY,
        references=(),
        **COMMON,
    )
    expected = rows(payer_refundable=amount, merchant_pending=fee.total_minor - amount, output_vat=-fee.vat_minor)
    if fee.amount_minor:
        expected[K.FEE_INCOME, "payment"] = -fee.amount_minor
    assert net(entry) == expected


@given(amount=AMOUNTS, pending_until=PENDING_UNTIL)
def test_refund_takes_from_where_the_money_is_and_gives_it_back_when_it_fails(
    amount: int, pending_until: date | None
) -> None:
    where = "merchant_available" if pending_until is None else "merchant_pending"
    common = {"captured_key": OTHER, "merchant": "acct_1", "amount_minor": amount, "pending_until": pending_until}
    reserved = refunds.refund_reserved(**common, **COMMON)
    failed = refunds.refund_failed(**common, **COMMON)
    assert net(reserved) == rows(**{where: amount, "refunds_payable": -amount})
    assert net(failed) == rows(**{where: -amount, "refunds_payable": amount})
    assert reserved.draw is not None
    assert failed.draw is not None
    assert reserved.draw.amount_minor == -failed.draw.amount_minor == amount
    done = refunds.refund_succeeded(provider="omise", merchant="acct_1", amount_minor=amount, references=(), **COMMON)
    assert net(done) == rows(refunds_payable=amount, provider_receivable=-amount)
    assert done.draw is None, "the reserve drew already"


@given(amount=AMOUNTS, held=st.integers(0, 10**12), pending_until=PENDING_UNTIL)
def test_dispute_takes_from_where_the_money_is_and_gives_it_back_when_won(
    amount: int, held: int, pending_until: date | None
) -> None:
    where, held = "merchant_available" if pending_until is None else "merchant_pending", min(held, amount)
    common = {"provider": "omise", "merchant": "acct_1", "amount_minor": amount, "pending_until": pending_until}
    outside = {"references": ()}
    assert net(disputes.dispute_held(**common, **COMMON)) == rows(**{where: amount, "dispute_hold": -amount})
    assert net(disputes.dispute_released(**common, **COMMON)) == rows(**{where: -amount, "dispute_hold": amount})
    taken = disputes.dispute_funds_withdrawn(**common, **outside, held_minor=held, **COMMON)
    assert net(taken) == rows(**{where: amount - held, "dispute_hold": held, "provider_receivable": -amount})
    given_back = disputes.dispute_funds_reinstated(**common, **outside, **COMMON)
    assert net(given_back) == rows(**{where: -amount, "provider_receivable": amount})
    assert {taken.kind, given_back.kind}.isdisjoint(AUTHORISING), "what the provider did cannot be refused"


@given(mine=AMOUNTS, held=AMOUNTS, owed=st.integers(0, 10**12), pending_until=PENDING_UNTIL)
def test_held_money_of_a_disputed_receipt_pays_before_the_merchant_and_what_its_payer_has_twice_he_owes(
    mine: int, held: int, owed: int, pending_until: date | None
) -> None:
    where, owed = "merchant_available" if pending_until is None else "merchant_pending", min(owed, held)
    common = {"provider": "omise", "merchant": "acct_1", "amount_minor": mine + held, "pending_until": pending_until}
    outside = {"references": ()}
    hold = {(K.DISPUTE_HOLD, "acct_1"): -mine, (K.DISPUTE_HOLD, "pi_1"): -held}
    paid = rows(**{where: mine, "payer_refundable": held - owed, "payer_receivable": owed})
    aside = disputes.PayerShare(intent="pi_1", set_aside_minor=held, owed_minor=owed)
    back = disputes.PayerShare(intent="pi_1", set_aside_minor=-held, owed_minor=-owed)
    assert net(disputes.dispute_held(**common, payer=aside, **COMMON)) == paid | hold
    reversed_rows = {account: -amount for account, amount in (paid | hold).items()}
    assert net(disputes.dispute_released(**common, payer=back, **COMMON)) == reversed_rows
    out = disputes.PayerShare(intent="pi_1", set_aside_minor=held, owed_minor=owed, taken_minor=held)
    taken = disputes.dispute_funds_withdrawn(**common, **outside, held_minor=0, payer=out, **COMMON)
    assert net(taken) == paid | rows(provider_receivable=-mine - held)
    from_hold = disputes.PayerShare(intent="pi_1", set_aside_minor=0, taken_minor=held)
    taken = disputes.dispute_funds_withdrawn(**common, **outside, held_minor=mine + held, payer=from_hold, **COMMON)
    assert net(taken) == {account: -amount for account, amount in hold.items()} | rows(provider_receivable=-mine - held)
    again = disputes.PayerShare(intent="pi_1", set_aside_minor=-held, owed_minor=-owed, taken_minor=-held)
    given = disputes.dispute_funds_reinstated(**common, **outside, payer=again, **COMMON)
    assert net(given) == {account: -amount for account, amount in paid.items()} | rows(provider_receivable=mine + held)


@given(fee=FEES)
def test_dispute_fee_is_taken_with_its_vat(fee: Fee) -> None:
    entry = disputes.dispute_fee_charged(merchant="acct_1", fee=fee, **COMMON)
    expected = rows(merchant_available=fee.total_minor, output_vat=-fee.vat_minor)
    if fee.amount_minor:
        expected[K.FEE_INCOME, "dispute"] = -fee.amount_minor
    assert net(entry) == expected


@given(amount=st.integers(-(10**12), 10**12).filter(bool))
def test_a_days_money_moves_to_available_whatever_its_sign(amount: int) -> None:
    common = {name: value for name, value in COMMON.items() if name != "metadata"}
    entry = settlement.became_available(merchant="acct_1", amount_minor=amount, available_on=DAY, **common)
    assert net(entry) == rows(merchant_pending=amount, merchant_available=-amount)


@given(amount=AMOUNTS)
def test_merchant_debt_is_an_asset_until_new_money_pays_it(amount: int) -> None:
    common = {name: value for name, value in COMMON.items() if name != "metadata"} | {"amount_minor": amount}
    recognised = settlement.merchant_debt_recognised(merchant="acct_1", **common)
    recovered = settlement.merchant_debt_recovered(merchant="acct_1", **common)
    assert net(recognised) == rows(merchant_receivable=amount, merchant_available=-amount)
    assert net(recovered) == rows(merchant_available=amount, merchant_receivable=-amount)
    assert {recognised.kind, recovered.kind}.isdisjoint(AUTHORISING), "no floor may keep a debt out of the books"


@given(received=st.integers(0, 10**12), fee=FEES)
def test_provider_transfer_clears_the_receivable_by_the_gross(received: int, fee: Fee) -> None:
    entry = settlement.provider_settled(
        provider="omise", bank="scb_main", received_minor=received, fee=fee, references=(), **COMMON
    )
    gross = received + fee.total_minor
    assert net(entry) == rows(
        bank=received, provider_fee_expense=fee.amount_minor, input_vat=fee.vat_minor, provider_receivable=-gross
    )


@given(fee=FEES)
def test_fee_taken_from_the_bank_account_is_expense_and_input_vat(fee: Fee) -> None:
    entry = settlement.provider_fee_charged(provider="omise", bank="scb_main", fee=fee, references=(), **COMMON)
    assert net(entry) == rows(provider_fee_expense=fee.amount_minor, input_vat=fee.vat_minor, bank=-fee.total_minor)


@given(amount=AMOUNTS, fee=FEES)
def test_payout_is_reserved_paid_rejected_or_returned(amount: int, fee: Fee) -> None:
    common = {"merchant": "acct_1", "amount_minor": amount, **COMMON}
    requested = payouts.payout_requested(fee=fee, **common)
    expected = rows(merchant_available=amount + fee.total_minor, payouts_in_transit=-amount, output_vat=-fee.vat_minor)
    if fee.amount_minor:
        expected[K.FEE_INCOME, "payout"] = -fee.amount_minor
    assert net(requested) == expected
    paid = payouts.payout_paid(bank="scb_main", references=(), **common)
    assert net(paid) == rows(payouts_in_transit=amount, bank=-amount)
    rejected = payouts.payout_rejected(**common)
    assert net(rejected) == rows(payouts_in_transit=amount, merchant_available=-amount)
    returned = payouts.payout_returned(bank="scb_main", references=(), **common)
    assert net(returned) == rows(bank=amount, merchant_available=-amount)


def test_only_reserves_and_operators_entries_authorise() -> None:
    assert {"REFUND_RESERVED", "PAYOUT_REQUESTED", "OPERATOR_ENTRY", "HOLD_PLACED"} <= {
        kind.name for kind in AUTHORISING
    }
    assert EntryKind.PAYMENT_CAPTURED not in AUTHORISING


@pytest.mark.parametrize(
    ("amount", "rate_ppm", "fixed", "fee", "vat"),
    [
        (100_000, 16_500, 0, 1_650, 116),  # 1,000.00 at 1.65 %: 16.50 and 1.155 → 1.16
        (12_345, 36_500, 0, 451, 32),
        (156_000, 16_500, 0, 2_574, 180),
        (1, 16_500, 0, 0, 0),
        (10_000, 0, 1_000, 1_000, 70),
    ],
)
def test_fee_and_its_vat_are_rounded_half_up_once_each(
    amount: int, rate_ppm: int, fixed: int, fee: int, vat: int
) -> None:
    got = fee_on(amount, rate_ppm=rate_ppm, fixed_minor=fixed, effective_on=DAY)
    assert (got.amount_minor, got.vat_minor) == (fee, vat)


def test_vat_rate_is_flagged_or_refused_where_no_decree_was_read() -> None:
    assert vat_rate_on(date(2026, 9, 30)).verified
    assert not vat_rate_on(date(2026, 10, 1)).verified
    with pytest.raises(VatRateUnknown, match="2001-01-01"):
        vat_rate_on(date(2001, 1, 1))


def test_pending_money_always_says_when_it_becomes_available() -> None:
    from ledger.journal import Posting

    pending, bank = AccountRef(K.MERCHANT_PENDING, "acct_1"), AccountRef(K.BANK, "scb_main")
    with pytest.raises(AssertionError, match="available_on"):
        Posting(debit=bank, credit=pending, amount_minor=1)
    with pytest.raises(AssertionError, match="available_on"):
        Posting(debit=bank, credit=AccountRef(K.CAPITAL), amount_minor=1, available_on=DAY)


@given(amount=AMOUNTS)
def test_claimed_refund_is_paid_from_the_bank_and_comes_back_to_it(amount: int) -> None:
    common = {"merchant": "acct_1", "bank": "scb_main", "amount_minor": amount, "references": ()}
    paid, back = refunds.refund_paid(**common, **COMMON), refunds.refund_came_back(**common, **COMMON)
    assert net(paid) == rows(refunds_payable=amount, bank=-amount)
    assert net(back) == rows(refunds_payable=-amount, bank=amount)
    assert {paid.draw, back.draw} == {None}, "the reserve drew already"
    assert {paid.kind, back.kind}.isdisjoint(AUTHORISING), "what the bank did cannot be refused"


@given(amount=AMOUNTS, owed=st.one_of(st.just(0), st.integers(0, 10**12)))
def test_returned_payer_money_that_comes_back_is_held_again(amount: int, owed: int) -> None:
    common = {"held_key": OTHER, "intent": "pi_1", "bank": "scb_main", "amount_minor": amount, "references": ()}
    owed = min(owed, amount)
    gone = payments.payer_money_returned(**common, owed_minor=owed, **COMMON)
    back = payments.payer_money_came_back(**common, owed_minor=owed, **COMMON)
    assert net(gone) == rows(payer_refundable=amount - owed, payer_receivable=owed, bank=-amount)
    assert net(back) == rows(payer_refundable=owed - amount, payer_receivable=-owed, bank=amount)
    assert gone.draw is not None
    assert back.draw is not None
    assert gone.draw.amount_minor == -back.draw.amount_minor == amount


@given(amount=AMOUNTS, fee=FEES)
def test_marks_move_no_cash_and_their_proofs_bring_the_account_back_to_nothing(amount: int, fee: Fee) -> None:
    at_provider, at_bank = (K.UNIDENTIFIED_RECEIPTS, "omise"), (K.UNIDENTIFIED_RECEIPTS, marks.PAYOUTS)
    common = {"amount_minor": amount, **COMMON}
    paid = marks.payment_marked(provider="omise", merchant="acct_1", fee=fee, available_on=DAY, references=(), **common)
    expected = rows(merchant_pending=fee.total_minor - amount, output_vat=-fee.vat_minor) | {at_provider: amount}
    if fee.amount_minor:
        expected[K.FEE_INCOME, "payment"] = -fee.amount_minor
    assert (net(paid), paid.drawable_minor) == (expected, amount)
    proved = marks.payment_mark_proved(provider="omise", references=(), **common)
    assert net(proved) == rows(provider_receivable=amount) | {at_provider: -amount}
    refunded = marks.refund_marked(provider="omise", merchant="acct_1", references=(), **common)
    assert net(refunded) == rows(refunds_payable=amount) | {at_provider: -amount}
    assert net(marks.refund_mark_proved(provider="omise", references=(), **common)) == {
        **rows(provider_receivable=-amount),
        at_provider: amount,
    }
    undone = marks.refund_mark_undone(provider="omise", merchant="acct_1", references=(), **common)
    assert net(undone) == {account: -moved for account, moved in net(refunded).items()}
    payout = marks.payout_marked(merchant="acct_1", **common)
    assert net(payout) == rows(payouts_in_transit=amount) | {at_bank: -amount}
    seen = marks.payout_mark_proved(bank="scb_main", references=(), **common)
    assert net(seen) == rows(bank=-amount) | {at_bank: amount}
    assert {each.kind for each in (paid, proved, refunded, undone, payout, seen)}.isdisjoint(AUTHORISING)


@given(amount=AMOUNTS, fee=FEES)
def test_receipts_wait_on_one_account_until_somebody_knows_whose_they_are(amount: int, fee: Fee) -> None:
    waiting = (K.UNIDENTIFIED_RECEIPTS, receipts.AT_BANK)
    common = {"amount_minor": amount, "references": (), **COMMON}
    came = receipts.unidentified_credit(bank="scb_main", **common)
    assert net(came) == rows(bank=amount) | {waiting: -amount}
    paid = receipts.receipt_captured(merchant="acct_1", fee=fee, available_on=DAY, **common)
    expected = rows(merchant_pending=fee.total_minor - amount, output_vat=-fee.vat_minor) | {waiting: amount}
    if fee.amount_minor:
        expected[K.FEE_INCOME, "payment"] = -fee.amount_minor
    assert (net(paid), paid.drawable_minor) == (expected, amount)
    held = receipts.receipt_held(intent="pi_1", **common)
    assert (net(held), held.drawable_minor) == (rows(payer_refundable=-amount) | {waiting: amount}, amount)
    credited = receipts.receipt_credited(merchant="acct_1", **common)
    assert net(credited) == rows(merchant_available=-amount) | {waiting: amount}
    proved = receipts.receipt_proved(provider="omise", **common)
    assert net(proved) == {waiting: amount, (K.UNIDENTIFIED_RECEIPTS, "omise"): -amount}
    assert {each.kind for each in (came, paid, held, credited, proved)}.isdisjoint(AUTHORISING)
