"""Money: exact text, exact splits, named rounding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.money import from_text, half_up, split, to_text

CURRENCIES = st.sampled_from(["THB", "JPY", "KWD"])


@given(amount=st.integers(-(2**63), 2**63 - 1), currency=CURRENCIES)
def test_text_and_minor_units_are_each_others_inverse(amount: int, currency: str) -> None:
    assert from_text(to_text(amount, currency), currency) == amount


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [(123456, "THB", "1234.56"), (-5, "THB", "-0.05"), (0, "THB", "0.00"), (7, "JPY", "7"), (1, "KWD", "0.001")],
)
def test_amounts_are_written_with_their_currencys_digits(amount: int, currency: str, text: str) -> None:
    assert to_text(amount, currency) == text


@pytest.mark.parametrize("text", ["1.005", "", "1e3", "NaN", "1,000.00", "๑.00", " 1", "1.2.3"])
def test_text_that_is_no_exact_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"amount|finer"):
        from_text(text, "THB")


@given(amount=st.integers(0, 10**15), weights=st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_split_always_adds_up_and_is_never_off_by_more_than_one(amount: int, weights: list[int]) -> None:
    if not sum(weights):
        weights[0] = 1
    parts = split(amount, weights)
    assert sum(parts) == amount
    total = sum(weights)
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part * total - amount * weight) < total


def test_ties_of_a_split_go_to_the_earlier_part() -> None:
    assert split(100, [1, 1, 1]) == [34, 33, 33]
    assert split(2, [1, 1, 1, 1]) == [1, 1, 0, 0]


@pytest.mark.parametrize(("amount", "weights"), [(1, []), (1, [0]), (-1, [1]), (1, [2, -1])])
def test_split_without_a_meaning_is_refused(amount: int, weights: list[int]) -> None:
    with pytest.raises(ValueError, match="split"):
        split(amount, weights)


@pytest.mark.parametrize(("amount", "ppm", "expected"), [(50, 10_000, 1), (49, 10_000, 0), (-50, 10_000, -1)])
def test_rounding_is_half_up_away_from_zero(amount: int, ppm: int, expected: int) -> None:
    assert half_up(amount, ppm) == expected
