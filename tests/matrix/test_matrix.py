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
from tests.matrix.cells import cells_of
from tests.matrix.document import names_in
from tests.matrix.house import running
from tests.matrix.matrix import play, section


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


@pytest.mark.parametrize("provider", [adapter.name for adapter in ADAPTERS])
def test_the_document_has_every_cell(provider: str) -> None:
    assert names_in(provider) == [cell.name for cell in cells_of(provider)], "run `python -m tests.matrix`"
