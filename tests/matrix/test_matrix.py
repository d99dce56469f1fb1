"""Every provider × method × operation × fault, through the whole gateway, against the provider's own books.

Goal: whatever goes wrong, wherever, the journal says in the end what the provider's books say, to the satang, and the
merchant was told. Method: `play.py`. What became of each cell is shown with `-rA` and kept in docs/matrix.md, which
`python -m tests.matrix` writes anew; a slow machine may bring a payment to another end that is as good, so only its
list of cells is compared.
"""

import os
import sys

import pytest

from gateway.providers.registry import ADAPTERS
from tests.matrix.cells import HARD_CASES, cells_of
from tests.matrix.document import names_in
from tests.matrix.hard_cases import NOT_REACHED
from tests.matrix.house import running
from tests.matrix.matrix import play, section

HELD = {("scb", "pay_twice"), ("bbl", "pay_twice"), ("gbprimepay", "pay_twice"), ("2c2p", "pay_wrong_amount")}
"""How each provider that may leave money held for its payer is made to, with one receipt that is held."""
PATIENT_SECONDS = 15
"""No case here waits for a provider's silence, and a slow machine must not look like it."""


@pytest.mark.skipif(not os.environ.get("QUICKKUB_TESTS_LONG"), reason="takes minutes: make test-long")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("provider", [adapter.name for adapter in ADAPTERS])
async def test_whatever_goes_wrong_the_journal_is_what_the_provider_says(database, provider: str, tmp_path) -> None:
    async with running(database) as house:
        cells, complaints = await play(house, provider)
    table = section(provider, cells)
    (tmp_path / f"{provider}.md").write_text(table)
    sys.stdout.write(table)
    assert complaints == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("provider", [adapter.name for adapter in ADAPTERS])
async def test_hard_cases_end_as_the_provider_says(database, provider: str) -> None:
    """Each case with one method, which sends no payer to a page if there is such a one; the long test plays all.

    And one that leaves money held, where the provider may: it is disputed, and then decided about (`play.py`).
    """
    cells = sorted(cells_of(provider), key=lambda cell: cell.able.return_url)
    hard = [next(cell for cell in cells if cell.fault == case) for case in HARD_CASES]
    held = [cell for cell in cells if (provider, cell.fault) in HELD][:1]
    async with running(database, timeout_seconds=PATIENT_SECONDS) as house:
        cells, complaints = await play(house, provider, [*hard, *held])
    assert complaints == []
    assert {each.cell.fault for each in cells if NOT_REACHED not in each.note} == {
        *HARD_CASES,
        *(cell.fault for cell in held),
    }
    assert [each.note for each in cells if each.cell in held] == ["held: accepted"] * len(held)


@pytest.mark.parametrize("provider", [adapter.name for adapter in ADAPTERS])
def test_the_document_has_every_cell(provider: str) -> None:
    assert names_in(provider) == [cell.name for cell in cells_of(provider)], "run `python -m tests.matrix`"
