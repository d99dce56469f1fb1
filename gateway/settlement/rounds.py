"""How a sweep walks what is left: some rows a round, those after the last round's, and then from the start again.

What cannot be done now stays in its place; were each round to begin with the oldest, as many of those as a round takes
would hold back all others for ever.
"""

from collections.abc import Sequence
from typing import Final

AT_ONCE: Final = 50
"""Rows of a round."""


class Rounds:
    """Where the next round begins; in the memory of this process, for a lost one costs nothing."""

    def __init__(self) -> None:
        self.after = ""

    def turn(self, ids: Sequence[str]) -> None:
        """Note what this round took, in order of id: the next one begins after it, or anew where no more was left."""
        self.after = ids[-1] if len(ids) == AT_ONCE else ""
