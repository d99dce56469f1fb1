"""ledger: books, entries, postings, blocks; the one function that writes them; guards and rights.

The statements are the ledger's own (`ledger/schema.py`), so that it is the same ledger for whoever uses it alone.
"""

from datetime import UTC, datetime

from ledger.schema import statements
from migrations.run import ROLE_MARK, execute

revision = "0001"
down_revision = None


def upgrade() -> None:
    today = datetime.now(UTC).date()
    execute(*statements(app=ROLE_MARK.format("app"), auditor=ROLE_MARK.format("auditor"), today=today))
