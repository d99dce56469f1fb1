"""All or nothing is paid out, on a day on which banks work and that is not over."""

from datetime import date

import pytest

from gateway.settlement.schedules import execution_date, payout_minor
from ledger.business_days import thai_banks

FRIDAY, SATURDAY, MONDAY = date(2026, 11, 20), date(2026, 11, 21), date(2026, 11, 23)


@pytest.mark.parametrize(
    ("available", "minimum", "paid"),
    [(100_00, 100_00, 100_00), (99_99, 100_00, 0), (0, 0, 0), (1, 0, 1), (-5_00, 0, 0), (100_00, None, 0)],
)
def test_payout_is_everything_or_nothing(available, minimum, paid):
    assert payout_minor(available, minimum) == paid


@pytest.mark.parametrize(
    ("business_date", "today", "executed"),
    [
        (FRIDAY, FRIDAY, FRIDAY),
        (FRIDAY, SATURDAY, MONDAY),
        (SATURDAY, SATURDAY, MONDAY),
        (FRIDAY, MONDAY, MONDAY),
        (MONDAY, FRIDAY, MONDAY),
    ],
)
def test_bank_is_asked_for_a_day_on_which_it_can_still_pay(business_date, today, executed):
    assert execution_date(business_date, today, thai_banks()) == executed
