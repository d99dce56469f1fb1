"""`quickkub ledger`: the books, one file a subject; every command that prints data takes `--json`."""

from gateway.commands.ledger import accounts, balances, entries, exporting, holds, periods, proving
from gateway.commands.ledger.common import book_option, ledger

__all__ = ["accounts", "balances", "book_option", "entries", "exporting", "holds", "ledger", "periods", "proving"]
