"""The read-only SQL of the reports, from `queries.sql`."""

from pathlib import Path
from typing import Final

from ledger.queries import load_queries

QUERIES: Final = load_queries(Path(__file__).parent / "queries.sql")
