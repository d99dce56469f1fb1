"""`quickkub ledger`: the books, one file a subject; every command that prints data takes `--json`."""

from gateway.commands.ledger import accounts, archiving, balances, entries, exporting, feeding, holds, periods, proving
from gateway.commands.ledger.common import book_option, ledger

__all__ = [
    "accounts",
    "archiving",
    "balances",
    "book_option",
    "entries",
    "exporting",
    "feeding",
    "holds",
    "ledger",
    "periods",
    "proving",
]
