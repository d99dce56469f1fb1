"""The ledger's own fixtures: a book in a database of the test's own."""

from tests.ledger.conftest import app, superuser

__all__ = ["app", "superuser"]
