"""T+n over weekends and bank holidays."""

from datetime import date

import pytest

from ledger.business_days import thai_banks


@pytest.mark.parametrize(
    ("day", "n", "expected"),
    [
        (date(2026, 11, 23), 1, date(2026, 11, 24)),
        (date(2026, 11, 27), 1, date(2026, 11, 30)),  # Friday
        (date(2026, 11, 28), 1, date(2026, 11, 30)),  # Saturday: the next business day is T+1
        (date(2026, 11, 28), 0, date(2026, 11, 30)),
        (date(2026, 12, 4), 1, date(2026, 12, 8)),  # Friday before the holiday on Monday the 7th
        (date(2026, 12, 30), 2, date(2027, 1, 5)),
        (date(2026, 11, 23), 0, date(2026, 11, 23)),
    ],
)
def test_days_are_counted_on_which_banks_settle(day: date, n: int, expected: date) -> None:
    assert thai_banks().add(day, n) == expected


def test_calendar_says_where_it_ends() -> None:
    calendar = thai_banks()
    assert calendar.known_through == date(2027, 12, 31)
    assert calendar.is_known(date(2027, 12, 31))
    assert not calendar.is_known(date(2028, 1, 1))
    assert len(calendar.version) == 12
