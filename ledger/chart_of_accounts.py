"""The chart: every kind of account that the books may hold.

The database keeps the same table (`ledger.account_kinds`); a test and the start-up check compare the two.
The number is what rows store and the chain seals, so a number is never reused.
"""

from enum import IntEnum, StrEnum
from typing import Final

import msgspec


class AccountClass(StrEnum):
    """The five classes of double-entry."""

    ASSET = "asset"
    LIABILITY = "liability"
    EQUITY = "equity"
    INCOME = "income"
    EXPENSE = "expense"


class NormalSide(StrEnum):
    """The side on which a kind of account grows; balances are stated on it."""

    DEBIT = "D"
    CREDIT = "C"


class AccountKind(IntEnum):
    """What an account is for. The account itself is (kind, owner, currency) within a book."""

    PROVIDER_RECEIVABLE = 10
    BANK = 11
    INPUT_VAT = 12
    WHT_RECEIVABLE = 13
    PREPAID_TAX = 14
    MERCHANT_RECEIVABLE = 15
    PAYER_RECEIVABLE = 16
    MERCHANT_PENDING = 30
    MERCHANT_AVAILABLE = 31
    MERCHANT_RESERVE = 32
    DISPUTE_HOLD = 33
    REFUNDS_PAYABLE = 34
    PAYOUTS_IN_TRANSIT = 35
    PAYER_REFUNDABLE = 36
    UNIDENTIFIED_RECEIPTS = 37
    OUTPUT_VAT = 38
    WHT_PAYABLE = 39
    CLEARING = 40
    FX_POSITION = 50
    CAPITAL = 51
    RETAINED_EARNINGS = 52
    FEE_INCOME = 60
    FX_GAIN_LOSS = 61
    ROUNDING = 62
    PROVIDER_FEE_EXPENSE = 80
    BANK_FEE_EXPENSE = 81
    BAD_DEBT = 82

    # Enum hashes its name in Python code; accounts are looked up by the thousand.
    __hash__ = int.__hash__


class KindRules(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for every account of a kind.

    Attributes:
        code: number in the chart of accounts, as accountants order it.
        floor_minor: the lowest balance that an *authorising* entry may leave, or None for no limit.
            Recording entries may pass it and are reported as a breach.
        ceiling_minor: the highest, likewise.
        owned: whether the account belongs to somebody (a merchant, provider, bank account …) or to the house (`-`).
    """

    code: str
    account_class: AccountClass
    normal_side: NormalSide
    floor_minor: int | None = None
    ceiling_minor: int | None = None
    owned: bool = True


_D, _C = NormalSide.DEBIT, NormalSide.CREDIT
_ASSET, _LIABILITY, _EQUITY = AccountClass.ASSET, AccountClass.LIABILITY, AccountClass.EQUITY
_INCOME, _EXPENSE = AccountClass.INCOME, AccountClass.EXPENSE


def _kind(
    code: str, account_class: AccountClass, side: NormalSide, *, floor: int | None = None, owned: bool = True
) -> KindRules:
    return KindRules(code=code, account_class=account_class, normal_side=side, floor_minor=floor, owned=owned)


CHART: Final[dict[AccountKind, KindRules]] = {
    AccountKind.BANK: _kind("1010", _ASSET, _D),
    AccountKind.PROVIDER_RECEIVABLE: _kind("1110", _ASSET, _D),
    AccountKind.MERCHANT_RECEIVABLE: _kind("1120", _ASSET, _D),
    AccountKind.PAYER_RECEIVABLE: _kind("1130", _ASSET, _D),
    AccountKind.INPUT_VAT: _kind("1210", _ASSET, _D, owned=False),
    AccountKind.WHT_RECEIVABLE: _kind("1220", _ASSET, _D),
    AccountKind.PREPAID_TAX: _kind("1230", _ASSET, _D, owned=False),
    AccountKind.CLEARING: _kind("1900", _ASSET, _D),
    AccountKind.MERCHANT_PENDING: _kind("2010", _LIABILITY, _C, floor=0),
    AccountKind.MERCHANT_AVAILABLE: _kind("2020", _LIABILITY, _C, floor=0),
    AccountKind.MERCHANT_RESERVE: _kind("2030", _LIABILITY, _C, floor=0),
    AccountKind.DISPUTE_HOLD: _kind("2040", _LIABILITY, _C, floor=0),
    AccountKind.REFUNDS_PAYABLE: _kind("2050", _LIABILITY, _C, floor=0),
    AccountKind.PAYOUTS_IN_TRANSIT: _kind("2060", _LIABILITY, _C, floor=0),
    AccountKind.PAYER_REFUNDABLE: _kind("2070", _LIABILITY, _C, floor=0),
    AccountKind.UNIDENTIFIED_RECEIPTS: _kind("2080", _LIABILITY, _C, floor=0),
    AccountKind.OUTPUT_VAT: _kind("2110", _LIABILITY, _C, owned=False),
    AccountKind.WHT_PAYABLE: _kind("2120", _LIABILITY, _C, owned=False),
    AccountKind.CAPITAL: _kind("3010", _EQUITY, _C, owned=False),
    AccountKind.RETAINED_EARNINGS: _kind("3030", _EQUITY, _C, owned=False),
    AccountKind.FX_POSITION: _kind("3020", _EQUITY, _C),
    AccountKind.FEE_INCOME: _kind("4010", _INCOME, _C),
    AccountKind.FX_GAIN_LOSS: _kind("4910", _INCOME, _C, owned=False),
    AccountKind.ROUNDING: _kind("4920", _INCOME, _C, owned=False),
    AccountKind.PROVIDER_FEE_EXPENSE: _kind("5010", _EXPENSE, _D),
    AccountKind.BANK_FEE_EXPENSE: _kind("5020", _EXPENSE, _D),
    AccountKind.BAD_DEBT: _kind("5030", _EXPENSE, _D),
}

HOUSE: Final = "-"
"""Owner of the accounts that belong to nobody in particular."""
