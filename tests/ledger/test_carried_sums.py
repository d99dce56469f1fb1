"""Sums carried in columns and one by one are the same, and exact beyond 64 bits."""

import numpy as np

from ledger.carried_sums import SUM_MAX, CarriedSums


def added(sums: CarriedSums, moved: dict[int, tuple[int, int]]) -> None:
    accounts = np.array(sorted(moved))
    sums.put(accounts, sums.of(accounts) + np.array([moved[account] for account in sorted(moved)]))


def test_columns_and_single_accounts_see_each_other() -> None:
    sums = CarriedSums(2, {7: (1, 2)})
    added(sums, {3: (10, 20), 7: (30, 40)})
    added(sums, {9: (1, 1), -5: (2, 2)})
    sums.by_account()[3] = (11, 21)
    sums.by_account()[99] = (5, 6)
    added(sums, {3: (-1, -1), 8: (0, 4)})
    assert sums.by_account() == {-5: (2, 2), 3: (10, 20), 7: (31, 42), 8: (0, 4), 9: (1, 1), 99: (5, 6)}
    assert sums.of(np.array([4, 7])).tolist() == [[0, 0], [31, 42]]


def test_sums_leave_64_bits_unharmed() -> None:
    most = SUM_MAX - 1
    sums = CarriedSums(2)
    for _ in range(5):
        added(sums, {1: (most, -most), 2: (1, 0)})
    assert sums.by_account() == {1: (5 * most, -5 * most), 2: (5, 0)}
    added(sums, {1: (1, 1), 3: (most, 0)})
    assert sums.by_account() == {1: (5 * most + 1, 1 - 5 * most), 2: (5, 0), 3: (most, 0)}


def test_nothing_carried_is_nothing() -> None:
    sums = CarriedSums(1)
    nobody = np.empty(0, np.int64)
    sums.put(nobody, sums.of(nobody))
    assert sums.by_account() == {}
