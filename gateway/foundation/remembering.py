"""What was looked up, remembered for a second: many calls of one moment ask the same, and the answer hardly changes."""

import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

import msgspec

REMEMBERED_SECONDS: Final = 1
REMEMBERED_MAX: Final = 10_000

Found = TypeVar("Found")


class _Known(msgspec.Struct, Generic[Found], frozen=True):
    found: Found
    until_seconds: float
    """By the monotonic clock."""


class Remembered(Generic[Found]):
    """Things by key, none of them longer than their second: whoever asks for whatever lets go what is over.

    All are remembered for the same time, so that the first of them is always the first to be let go.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, _Known[Found]] = OrderedDict()

    def get(self, key: Hashable) -> Found | None:
        """What was found under the key within the last second."""
        now_seconds = time.monotonic()
        while self._known and next(iter(self._known.values())).until_seconds <= now_seconds:
            self._known.popitem(last=False)
        known = self._known.get(key)
        return None if known is None else known.found

    def put(self, key: Hashable, found: Found) -> None:
        """Remember it from now on; where there is no room, the oldest goes."""
        self._known.pop(key, None)  # Somebody else may have looked it up meanwhile; the new one goes last.
        if len(self._known) >= REMEMBERED_MAX:
            self._known.popitem(last=False)
        self._known[key] = _Known(found, time.monotonic() + REMEMBERED_SECONDS)

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()

    def values(self) -> list[Found]:
        """All that is remembered, oldest first."""
        return [each.found for each in self._known.values()]
