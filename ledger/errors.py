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


class AccountNumbersStale(LedgerError):
    """A kept account number is another account's by now (the books were restored); nothing was posted."""

    code = "ledger_account_numbers_stale"
    retryable = True


class CursorLost(LedgerError):
    """The consumer's cursor is not where this process left it, or another process has its turn."""

    code = "ledger_cursor_lost"
    retryable = True


class BookNotFound(LedgerError):
    """There is no such book."""

    code = "ledger_book_not_found"


class BookConflict(LedgerError):
    """The book is open under another code or mode."""

    code = "ledger_book_conflict"


class InvariantBroken(LedgerError):
    """The books contradict themselves; posting to this book must stop."""

    code = "ledger_invariant_broken"


class MonthArchived(LedgerError):
    """What was asked for lies in a month that was archived: read its export, or restore the month."""

    code = "ledger_month_archived"


class ArchivingRefused(LedgerError):
    """The month cannot be archived or restored; nothing was changed."""

    code = "ledger_archiving_refused"


class CheckpointContradicted(LedgerError):
    """A published checkpoint says other than the books, and no restore is on the record."""

    code = "ledger_checkpoint_contradicted"


class CheckpointMalformed(LedgerError):
    """A published checkpoint cannot be read, or is not signed with our key."""

    code = "ledger_checkpoint_malformed"


class NotProvable(LedgerError):
    """The entries are not there, or no checkpoint covers them yet."""

    code = "ledger_not_provable"
