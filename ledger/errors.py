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


class LedgerUnavailable(LedgerError):
    """The database cannot be reached or broke off before COMMIT was sent; nothing was posted."""

    code = "ledger_unavailable"
    retryable = True


class OutcomeUnknown(LedgerError):
    """The connection was lost while committing: ask by the entry's key before anything else."""

    code = "ledger_outcome_unknown"
    retryable = True


class MonthMissing(LedgerError):
    """The books have no room for this month yet; the job that makes months ahead has not run."""

    code = "ledger_month_missing"
    retryable = True


class EntryMalformed(LedgerError):
    """The entry cannot be stored as it is (text with a NUL character, an owner or currency beyond the rules)."""

    code = "ledger_entry_malformed"


class BookNotFound(LedgerError):
    """There is no such book."""

    code = "ledger_book_not_found"


class BookConflict(LedgerError):
    """The book is open under another code or mode."""

    code = "ledger_book_conflict"


class InvariantBroken(LedgerError):
    """The books contradict themselves; posting to this book must stop."""

    code = "ledger_invariant_broken"
