"""How much of everything: a little in `make test`, a lot in `make test-long`."""

import os
from typing import Final, TypeVar

T = TypeVar("T")

LONG_VARIABLE: Final = "QUICKKUB_TESTS_LONG"
LONG: Final = os.environ.get(LONG_VARIABLE, "") not in {"", "0"}


def scaled(normal: T, *, long: T) -> T:
    """The second value in the long run, else the first."""
    return long if LONG else normal
