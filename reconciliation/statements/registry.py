"""Every statement format, by the name that a file's `source` carries."""

from collections.abc import Mapping
from typing import Final

from reconciliation.errors import StatementRefused
from reconciliation.statements import bbl, mt940, omise, thai_bill_payment
from reconciliation.statements.base import StatementFormat

FORMATS: Final[Mapping[str, StatementFormat]] = {
    statement_format.source: statement_format
    for statement_format in (
        thai_bill_payment.FORMAT,
        omise.TRANSACTIONS,
        omise.TRANSFERS,
        mt940.FORMAT,
        bbl.FORMAT,
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
