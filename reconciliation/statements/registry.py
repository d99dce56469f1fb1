"""Every statement format, by the name that a file's `source` carries."""

from collections.abc import Mapping
from typing import Final

from reconciliation.errors import StatementRefused
from reconciliation.statements import bbl, gbprimepay, kbank, mt940, omise, thai_bill_payment, truemoney, twoc2p
from reconciliation.statements.base import StatementFormat

FORMATS: Final[Mapping[str, StatementFormat]] = {
    statement_format.source: statement_format
    for statement_format in (
        bbl.FORMAT,
        gbprimepay.FORMAT,
        kbank.FORMAT,
        mt940.FORMAT,
        omise.TRANSACTIONS,
        omise.TRANSFERS,
        thai_bill_payment.FORMAT,
        truemoney.FORMAT,
        twoc2p.FORMAT,
    )
}


def format_of(source: str) -> StatementFormat:
    """The format of a source.

    Raises:
        StatementRefused: `unknown_source`.
    """
    found = FORMATS.get(source)
    if found is None:
        raise StatementRefused("unknown_source", f"{source!r} is none of {', '.join(sorted(FORMATS))}")
    return found
