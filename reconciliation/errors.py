"""Exceptions of reconciliation: what stops a file or a run. A difference is not an error, it is a break."""

from typing import ClassVar


class ReconciliationError(Exception):
    """Reconciliation could not do its work."""

    code: ClassVar[str] = "reconciliation_error"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str = "") -> None:
        """Default message is the docstring."""
        super().__init__(detail or (type(self).__doc__ or "").strip())


class StatementRefused(ReconciliationError):
    """The file as a whole cannot be trusted; nothing of it was kept.

    Attributes:
        reason: stable word: `unknown_source`, `empty_file`, `file_too_large`, `wrong_encoding`, `wrong_length`,
            `wrong_order`, `cut_off`, `malformed`, `zero_rows`, `wrong_total`, `unsupported`.
        line_number: 1-based record (for JSON: item of `data`) at which the reader stopped; None for the whole file.
        field: the field at fault, if one is.
    """

    code = "statement_refused"

    def __init__(self, reason: str, detail: str, *, line_number: int | None = None, field: str | None = None) -> None:
        """`detail` says what was found and what was expected."""
        place = "".join(
            [f" at line {line_number}" if line_number is not None else "", f", field {field}" if field else ""]
        )
        super().__init__(f"{reason}{place}: {detail}")
        self.reason = reason
        self.line_number = line_number
        self.field = field


class RunInProgress(ReconciliationError):
    """Another process is reconciling this book; try again shortly."""

    code = "reconciliation_in_progress"
    retryable = True


class SettlementRefused(ReconciliationError):
    """The ledger refused a settlement entry, which it never does to a recording entry: a bug, or wrong books."""

    code = "settlement_refused"


class IdentityBroken(ReconciliationError):
    """A run's counts or amounts do not add up: a bug; its result must not be believed."""

    code = "reconciliation_identity_broken"


class UnknownBankAccount(ReconciliationError):
    """A bank statement is about an account that no ledger account was named for."""

    code = "bank_account_unknown"
