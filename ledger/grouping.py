"""Numbers that belong together brought together, in columns."""

import numpy as np

from ledger.range_columns import Numbers


def stable_order(group: Numbers, groups: int) -> Numbers:
    """The positions by group (0 … groups − 1), and by position within; small numbers are sorted by radix."""
    return np.argsort(group.astype(np.uint16) if groups <= np.iinfo(np.uint16).max else group, kind="stable")


def runs(group: Numbers) -> tuple[Numbers, Numbers]:
    """Where each run of equal numbers begins, and where it ends."""
    firsts = np.flatnonzero(np.concatenate((np.full(len(group[:1]), True), group[1:] != group[:-1])))
    return firsts, np.append(firsts, len(group))[1:] - 1
