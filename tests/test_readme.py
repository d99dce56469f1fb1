"""The README and the guides name files that are there."""

import re
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMED = re.compile(r"`((?:ledger|gateway|reconciliation|reports|migrations|docs|tests|benchmarks|ops)/[\w{},./-]*)`")


def spelled_out(path: str) -> list[str]:
    """`a/{b,c}.py` → `a/b.py`, `a/c.py`."""
    pieces = [piece.split(",") for piece in re.split(r"[{}]", path)]
    return ["".join(choice) for choice in product(*pieces)]


@pytest.mark.parametrize(
    "page", ["README.md", "docs/api.md", "docs/providers.md", "ledger/README.md", "benchmarks/README.md"]
)
def test_every_file_that_a_page_names_exists(page: str) -> None:
    named = NAMED.findall((ROOT / page).read_text("utf-8"))
    missing = [path for each in named for path in spelled_out(each) if not (ROOT / path).exists()]
    assert missing == []
    assert named or page != "README.md"
