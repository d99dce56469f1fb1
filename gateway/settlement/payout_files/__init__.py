"""Payout files: one file a bank format. What a file says of itself must be what its body holds."""

import re
from datetime import date, datetime
from typing import Final

import msgspec

IDENTIFIER_LENGTH_MAX: Final = 35
"""Longest MsgId, PmtInfId and EndToEndId of ISO 20022."""
_HOLDER_LENGTH_MAX: Final = 140
_BANK_CODE: Final = re.compile(r"[0-9]{3}")
_ACCOUNT_NUMBER: Final = re.compile(r"[0-9]{7,15}")


class BankAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account at a Thai bank. Personal data: sealed wherever it is kept, never in a log or the ledger.

    Attributes:
        bank_code: the Bank of Thailand's three digits (`014` is SCB); account_number: 7–15 digits, no dashes.
    """

    bank_code: str
    account_number: str
    holder: str

    def __post_init__(self) -> None:
        """Hold what banks refuse to read.

        Raises:
            ValueError: a code, number or holder that no bank would take.
        """
        if not _BANK_CODE.fullmatch(self.bank_code):
            raise ValueError("bank_code is three digits")
        if not _ACCOUNT_NUMBER.fullmatch(self.account_number):
            raise ValueError("account_number is 7 to 15 digits")
        if not 1 <= len(self.holder.strip()) <= _HOLDER_LENGTH_MAX:
            raise ValueError(f"holder is 1 to {_HOLDER_LENGTH_MAX} characters")

    def __repr__(self) -> str:
        """No account number reaches a log."""
        return f"BankAccount({self.bank_code}, {self.masked})"

    @property
    def masked(self) -> str:
        """The last four digits, as merchants and reports may see it."""
        return f"••••{self.account_number[-4:]}"


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """One payout in a file. `end_to_end_id` comes back on the bank statement and proves it."""

    end_to_end_id: str
    amount_minor: int
    currency: str
    creditor: BankAccount


class PayoutOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A whole file before it is written.

    Attributes:
        message_id: by which the bank knows the file and refuses it a second time.
        execute_on: business date on which the bank is to debit us.
    """

    message_id: str
    created_at: datetime
    execute_on: date
    debtor: BankAccount
    transfers: tuple[Transfer, ...]

    @property
    def count(self) -> int:
        """Number of transfers."""
        return len(self.transfers)

    @property
    def control_minor(self) -> int:
        """Their sum; all are of one currency."""
        return sum(transfer.amount_minor for transfer in self.transfers)
