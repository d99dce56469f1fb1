"""Sums of each account, carried from range to range: in columns where ranges are in order, one by one where not."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ledger.range_columns import Numbers

SUM_MAX: Final = 2**62
"""Neither sum nor difference of two numbers of smaller magnitude leaves 64 bits."""


class CarriedSums:
    """A row of whole numbers for each account that was met; zeros for any other. Exact, however large they grow.

    Held in columns or as a dict, as they were asked for last.
    """

    def __init__(self, width: int, rows: Mapping[int, tuple[int, ...]] = {}) -> None:
        self._width = width
        self._by_account: dict[int, tuple[int, ...]] | None = dict(rows)
        self._accounts, self._rows = np.empty(0, np.int64), np.empty((0, width), np.int64)

    def by_account(self) -> dict[int, tuple[int, ...]]:
        """All rows, to be read and written; good until columns are asked for."""
        if self._by_account is None:
            rows = map(tuple, self._rows.tolist())
            self._by_account = dict(zip(self._accounts.tolist(), rows, strict=True))
        return self._by_account

    def of(self, accounts: Numbers) -> NDArray[Any]:
        """The row of each account, which may be added to what is below `SUM_MAX`; the accounts are in order."""
        if self._by_account is not None:
            self._into_columns(self._by_account)
        unknown = accounts[~np.isin(accounts, self._accounts, assume_unique=True)]
        if len(unknown):
            place = np.searchsorted(self._accounts, unknown)
            self._accounts = np.insert(self._accounts, place, unknown)
            self._rows = np.insert(self._rows, place, 0, axis=0)
        rows: NDArray[Any] = self._rows[np.searchsorted(self._accounts, accounts)]
        return rows

    def put(self, accounts: Numbers, rows: NDArray[Any]) -> None:
        """Replace the rows of accounts that `of` was just asked for."""
        if self._rows.dtype != object and np.abs(rows).max(initial=0) >= SUM_MAX:
            self._rows = self._rows.astype(object)
        self._rows[np.searchsorted(self._accounts, accounts)] = rows

    def _into_columns(self, by_account: dict[int, tuple[int, ...]]) -> None:
        accounts = sorted(by_account)
        rows = np.array([by_account[account] for account in accounts], object).reshape(-1, self._width)
        small = np.abs(rows).max(initial=0) < SUM_MAX
        self._accounts, self._rows = np.array(accounts, np.int64), rows.astype(np.int64) if small else rows
        self._by_account = None
