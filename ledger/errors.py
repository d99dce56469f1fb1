"""Exceptions of the ledger: infrastructure, never a business "no" (see `refusals.py`)."""

from typing import ClassVar


class LedgerError(Exception):
    """The ledger could not do its work."""

    code: ClassVar[str] = "ledger_error"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str = "") -> None:
        """Default message is the docstring."""
        super().__init__(detail or (type(self).__doc__ or "").strip())


class LedgerBusy(LedgerError):
    """Too many entries are waiting to be posted; try again shortly."""

    code = "ledger_busy"
    retryable = True


class OutcomeUnknown(LedgerError):
    """The connection was lost while committing: ask by the entry's key before anything else."""

    code = "ledger_outcome_unknown"
    retryable = True


class BookNotFound(LedgerError):
    """There is no such book."""

    code = "ledger_book_not_found"


class InvariantBroken(LedgerError):
    """The books contradict themselves; posting to this book must stop."""

    code = "ledger_invariant_broken"
