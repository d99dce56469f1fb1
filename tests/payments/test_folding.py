"""The fold of facts: whatever order they come in, and in however many portions, they add up to the same."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.payments.folding import AttemptTerms, Booking, Folded, IntentTerms, KnownFact, fold, fold_refund
from gateway.payments.states import (
    ATTEMPT_MOVES,
    INTENT_MOVES,
    REFUND_MOVES,
    AttemptStatus,
    IntentStatus,
    Qualifier,
    RefundStatus,
)
from gateway.providers.base import FactKind

START = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
DEADLINE = START + timedelta(minutes=15)
DUE = 100_00
CHARGE_KINDS = [
    FactKind.PENDING,
    FactKind.AUTHORIZED,
    FactKind.CAPTURED,
    FactKind.DECLINED,
    FactKind.EXPIRED,
    FactKind.VOIDED,
]


def a_fact(kind, *, amount=DUE, minutes=1, key=None, currency="THB", booking=None):
    return KnownFact(
        key=key or f"{kind}-{amount}-{minutes}",
        kind=kind,
        amount_minor=amount,
        currency=currency,
        occurred_at=START + timedelta(minutes=minutes),
        booking=booking,
    )


def folded(
    *facts, outcome=AttemptStatus.PENDING, shows_action=True, canceled_after_minutes=None, grace_minutes=0
) -> Folded:
    canceled_at = None if canceled_after_minutes is None else START + timedelta(minutes=canceled_after_minutes)
    terms = IntentTerms(amount_minor=DUE, currency="THB", cancel_requested_at=canceled_at)
    attempt = AttemptTerms(
        outcome=outcome,
        shows_action=shows_action,
        expires_at=DEADLINE,
        facts=facts,
        late_grace=timedelta(minutes=grace_minutes),
    )
    return fold(terms, [attempt])


def figures(result: Folded):
    return result.status, result.qualifiers, result.captured_minor, result.held_minor


PAID = FactKind.CAPTURED


@pytest.mark.parametrize(
    ("facts", "status", "qualifiers", "captured", "held"),
    [
        ([], IntentStatus.REQUIRES_ACTION, set(), 0, 0),
        ([a_fact(PAID)], IntentStatus.SUCCEEDED, set(), DUE, 0),
        ([a_fact(PAID, minutes=15)], IntentStatus.SUCCEEDED, set(), DUE, 0),
        ([a_fact(PAID, minutes=16)], IntentStatus.REQUIRES_ACTION, {Qualifier.PAID_LATE}, 0, DUE),
        ([a_fact(PAID, minutes=16), a_fact(FactKind.EXPIRED)], IntentStatus.EXPIRED, {Qualifier.PAID_LATE}, 0, DUE),
        ([a_fact(PAID), a_fact(FactKind.EXPIRED)], IntentStatus.SUCCEEDED, set(), DUE, 0),
        ([a_fact(PAID, amount=DUE - 1)], IntentStatus.REQUIRES_ACTION, {Qualifier.PARTIALLY_PAID}, 0, DUE - 1),
        ([a_fact(PAID, amount=DUE + 1)], IntentStatus.SUCCEEDED, {Qualifier.OVERPAID}, DUE, 1),
        ([a_fact(PAID), a_fact(PAID, minutes=2)], IntentStatus.SUCCEEDED, {Qualifier.OVERPAID}, DUE, DUE),
        (
            [a_fact(PAID), a_fact(PAID, minutes=99)],
            IntentStatus.SUCCEEDED,
            {Qualifier.OVERPAID, Qualifier.PAID_LATE},
            DUE,
            DUE,
        ),
        ([a_fact(PAID, amount=40_00), a_fact(PAID)], IntentStatus.SUCCEEDED, {Qualifier.OVERPAID}, DUE, 40_00),
        ([a_fact(PAID, currency="USD")], IntentStatus.CONFLICTED, set(), 0, 0),
        ([a_fact(PAID), a_fact(FactKind.DECLINED)], IntentStatus.CONFLICTED, set(), DUE, 0),
        ([a_fact(PAID), a_fact(FactKind.VOIDED)], IntentStatus.CONFLICTED, set(), DUE, 0),
        ([a_fact(FactKind.DECLINED)], IntentStatus.REQUIRES_PAYMENT_METHOD, set(), 0, 0),
        ([a_fact(FactKind.AUTHORIZED), a_fact(FactKind.PENDING)], IntentStatus.REQUIRES_CAPTURE, set(), 0, 0),
        ([a_fact(FactKind.EXPIRED), a_fact(FactKind.PENDING)], IntentStatus.EXPIRED, set(), 0, 0),
        ([a_fact(FactKind.VOIDED)], IntentStatus.CANCELED, set(), 0, 0),
    ],
)
def test_facts_add_up_to_a_status_and_two_sums(facts, status, qualifiers, captured, held):
    assert figures(folded(*facts)) == (status, qualifiers, captured, held)


def test_money_after_cancelling_is_held_and_before_it_is_the_merchants():
    voided = a_fact(FactKind.VOIDED, minutes=5)
    late = folded(a_fact(PAID, minutes=6), voided, canceled_after_minutes=5)
    assert figures(late) == (IntentStatus.CANCELED, {Qualifier.PAID_LATE}, 0, DUE)
    expired_by_us = folded(a_fact(FactKind.EXPIRED, minutes=5), canceled_after_minutes=5)
    assert expired_by_us.status is IntentStatus.CANCELED
    in_time = folded(a_fact(PAID, minutes=4), a_fact(FactKind.EXPIRED, minutes=5), canceled_after_minutes=5)
    assert figures(in_time) == (IntentStatus.SUCCEEDED, frozenset(), DUE, 0)


@pytest.mark.parametrize(
    ("minutes", "amount", "expected"),
    [
        (15, DUE, (IntentStatus.SUCCEEDED, set(), DUE, 0)),
        (20, DUE, (IntentStatus.SUCCEEDED, {Qualifier.PAID_LATE}, DUE, 0)),
        (25, DUE + 5, (IntentStatus.SUCCEEDED, {Qualifier.PAID_LATE, Qualifier.OVERPAID}, DUE, 5)),
        (25, DUE - 1, (IntentStatus.EXPIRED, {Qualifier.PAID_LATE}, 0, DUE - 1)),
        (26, DUE, (IntentStatus.EXPIRED, {Qualifier.PAID_LATE}, 0, DUE)),
    ],
)
def test_late_money_within_the_grace_is_the_payment_and_late_all_the_same(minutes, amount, expected):
    facts = (a_fact(FactKind.EXPIRED, minutes=15), a_fact(PAID, minutes=minutes, amount=amount))
    assert figures(folded(*facts, grace_minutes=10)) == expected


def test_money_within_the_grace_and_a_void_contradict_each_other_as_money_in_time_does():
    late = folded(a_fact(PAID, minutes=20), a_fact(FactKind.VOIDED, minutes=21), grace_minutes=10)
    assert late.status is IntentStatus.CONFLICTED


def test_the_grace_is_not_for_what_the_merchant_cancelled():
    voided = a_fact(FactKind.VOIDED, minutes=5)
    late = folded(a_fact(PAID, minutes=6), voided, canceled_after_minutes=5, grace_minutes=60)
    assert figures(late) == (IntentStatus.CANCELED, {Qualifier.PAID_LATE}, 0, DUE)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (AttemptStatus.SUBMITTED, IntentStatus.REQUIRES_CONFIRMATION),
        (AttemptStatus.UNKNOWN, IntentStatus.PROCESSING),
        (AttemptStatus.NOT_ATTEMPTED, IntentStatus.REQUIRES_PAYMENT_METHOD),
        (AttemptStatus.PENDING, IntentStatus.PROCESSING),
    ],
)
def test_status_follows_our_own_outcome_while_no_fact_is_known(outcome, status):
    assert folded(outcome=outcome, shows_action=False).status is status
    assert folded(a_fact(PAID), outcome=outcome, shows_action=False).status is IntentStatus.SUCCEEDED


def test_what_was_booked_stays_booked():
    first_booked = a_fact(PAID, minutes=9, key="booked", booking=Booking(DUE, 0))
    earlier = a_fact(PAID, minutes=1, key="earlier")
    result = folded(first_booked, earlier)
    assert dict(result.bookings) == {"booked": Booking(DUE, 0), "earlier": Booking(0, DUE)}


def test_money_on_an_older_attempt_pays_once():
    terms = IntentTerms(amount_minor=DUE, currency="THB", cancel_requested_at=None)
    attempts = [
        AttemptTerms(outcome=AttemptStatus.NOT_ATTEMPTED, shows_action=False, expires_at=None, facts=(one,))
        for one in (a_fact(PAID, key="first"), a_fact(PAID, key="second", minutes=3))
    ]
    result = fold(terms, attempts)
    assert figures(result) == (IntentStatus.SUCCEEDED, {Qualifier.OVERPAID}, DUE, DUE)
    assert result.attempts == (AttemptStatus.CAPTURED, AttemptStatus.PENDING)


@pytest.mark.parametrize("end", [FactKind.DECLINED, FactKind.VOIDED, FactKind.EXPIRED])
@pytest.mark.parametrize("is_behind", [False, True])
def test_money_that_people_gave_to_a_payment_does_not_contradict_what_its_provider_says(end, is_behind):
    assigned = msgspec.structs.replace(a_fact(PAID, minutes=2), is_assigned=True)
    facts = [assigned, a_fact(end)] if is_behind else [a_fact(end), assigned]
    result = folded(*facts)
    assert (figures(result), result.attempts) == (
        (IntentStatus.SUCCEEDED, frozenset(), DUE, 0),
        (AttemptStatus.CAPTURED,),
    )
    both = folded(*facts, a_fact(PAID, minutes=3))
    is_contradiction = end is not FactKind.EXPIRED
    assert figures(both) == (
        IntentStatus.CONFLICTED if is_contradiction else IntentStatus.SUCCEEDED,
        {Qualifier.OVERPAID},
        DUE,
        DUE,
    )
    mark = msgspec.structs.replace(a_fact(PAID, key="mark", minutes=1), is_mark=True, booking=Booking(DUE, 0))
    assert folded(mark, *facts).status is IntentStatus.CONFLICTED, "the mark is contradicted, whoever's money proves it"


@st.composite
def charge_facts(draw):
    count = draw(st.integers(0, 6))
    return [
        a_fact(
            draw(st.sampled_from(CHARGE_KINDS)),
            amount=draw(st.sampled_from([1, DUE - 1, DUE, DUE + 1, 3 * DUE])),
            minutes=draw(st.sampled_from([0, 5, 15, 16, 60])),
            currency=draw(st.sampled_from(["THB"] * 9 + ["USD"])),
            key=f"fact-{number}",
        )
        for number in range(count)
    ]


TERMS = {
    "outcome": st.sampled_from(list(AttemptStatus)[:4]),
    "shows_action": st.booleans(),
    "canceled_after_minutes": st.none() | st.integers(0, 20),
}


@given(facts=charge_facts(), terms=st.fixed_dictionaries(TERMS), data=st.data())
def test_every_permutation_of_the_same_facts_folds_to_the_same(facts, terms, data):
    other_order = data.draw(st.permutations(facts))
    assert folded(*facts, **terms) == folded(*other_order, **terms)


@given(facts=charge_facts(), terms=st.fixed_dictionaries(TERMS), data=st.data())
def test_facts_that_come_one_by_one_in_any_order_end_as_if_they_came_at_once(facts, terms, data):
    at_once = folded(*facts, **terms)
    known: list[KnownFact] = []
    before = folded(**terms)
    for fact in data.draw(st.permutations(facts)):
        after = folded(*known, fact, **terms)
        assert after.status in INTENT_MOVES[before.status] | {before.status}
        assert after.attempts[0] in ATTEMPT_MOVES[before.attempts[0]] | {before.attempts[0]}
        booked = [*known, msgspec.structs.replace(fact, booking=after.bookings.get(fact.key))]
        known, before = booked, after
    assert figures(before) == figures(at_once)
    assert Counter(before.attempts) == Counter(at_once.attempts)
    receipts = [fact for fact in facts if fact.kind is PAID and fact.currency == "THB"]
    assert before.captured_minor + before.held_minor == sum(fact.amount_minor for fact in receipts)
    assert before.captured_minor in {0, DUE}


@given(
    outcome=st.sampled_from(
        [RefundStatus.RESERVED, RefundStatus.SUBMITTED, RefundStatus.UNKNOWN, RefundStatus.PENDING]
    ),
    kinds=st.lists(
        st.sampled_from([FactKind.REFUND_PENDING, FactKind.REFUND_SUCCEEDED, FactKind.REFUND_FAILED]), max_size=5
    ),
    data=st.data(),
)
def test_facts_of_a_refund_fold_the_same_in_every_order(outcome, kinds, data):
    end = fold_refund(outcome, kinds)
    said: list[FactKind] = []
    before = outcome
    for kind in data.draw(st.permutations(kinds)):
        said.append(kind)
        after = fold_refund(outcome, said)
        assert after in REFUND_MOVES[before] | {before}
        before = after
    assert before is end
    if {FactKind.REFUND_SUCCEEDED, FactKind.REFUND_FAILED} <= set(kinds):
        assert end is RefundStatus.CONFLICTED


@given(facts=charge_facts(), data=st.data())
def test_what_comes_after_a_mark_proves_it_or_contradicts_it_for_good_and_is_booked_to_the_last_satang(facts, data):
    mark = msgspec.structs.replace(a_fact(PAID, key="mark", minutes=99), is_mark=True)
    how = {"outcome": AttemptStatus.UNKNOWN, "shows_action": False}
    before = folded(mark, **how)
    assert figures(before) == (IntentStatus.SUCCEEDED, {Qualifier.MARKED_MANUALLY}, DUE, 0)
    known = [msgspec.structs.replace(mark, booking=before.bookings["mark"])]
    ends, short = False, False
    for fact in data.draw(st.permutations(facts)):
        after = folded(*known, fact, **how)
        assert after.status in INTENT_MOVES[before.status] | {before.status}
        booked = msgspec.structs.replace(fact, booking=after.bookings.get(fact.key))
        known.append(booked)
        if fact.kind is PAID and fact.currency == "THB" and booked.booking != Booking(0, fact.amount_minor):
            short |= fact.amount_minor < DUE
        ends |= fact.kind in {FactKind.DECLINED, FactKind.EXPIRED, FactKind.VOIDED}
        before = after
    receipts = [fact for fact in known[1:] if fact.kind is PAID]
    of_ours = sum(fact.amount_minor for fact in receipts if fact.currency == "THB")
    assert before.captured_minor == DUE, "the merchant has it once"
    assert before.held_minor == max(0, of_ours - DUE), "what proves the mark is not held for the payer"
    assert all(fact.booking.held_minor == fact.amount_minor for fact in receipts if fact.currency != "THB")
    is_foreign = any(fact.currency != "THB" for fact in receipts)
    assert (before.status is IntentStatus.CONFLICTED) == (ends or short or is_foreign)
    assert Qualifier.MARKED_MANUALLY in before.qualifiers


@given(facts=charge_facts(), data=st.data())
def test_a_mark_that_comes_with_its_facts_folds_the_same_in_every_order(facts, data):
    mark = msgspec.structs.replace(a_fact(PAID, key="mark", minutes=99), is_mark=True)
    how = {"outcome": AttemptStatus.UNKNOWN, "shows_action": False}
    other_order = data.draw(st.permutations([mark, *facts]))
    assert folded(mark, *facts, **how) == folded(*other_order, **how)
