"""The columns of every report. A field ending in `_minor` is money in the row's currency, printed as decimals."""

from datetime import date

import msgspec


class TrialBalanceLine(msgspec.Struct, frozen=True, kw_only=True):
    """One account; opening and closing are its balance on one side, the period columns are what moved."""

    account_code: str
    account: str
    account_type: str
    currency: str
    opening_debit_minor: int
    opening_credit_minor: int
    period_debit_minor: int
    period_credit_minor: int
    closing_debit_minor: int
    closing_credit_minor: int


class SettlementLine(msgspec.Struct, frozen=True, kw_only=True):
    """One journal entry in one settlement of one merchant, or one of the lines that close it.

    Attributes:
        period_from, period_to: days on which the pending money became available; None = since the beginning.
        type: the entry's kind; `carried_forward_in`, `payout`, `carried_forward_out` for the lines around.
        sequence: the entry's number in the book, None for the lines around.
        transaction: our id of what moved; provider_reference: the provider's.
        available_on: set where the money passed through `merchant_pending`.
        net_minor: what the entry did to the merchant's balance.
    """

    settlement_id: str
    merchant: str
    period_from: date | None
    period_to: date
    cut_off: int
    sequence: int | None = None
    transaction: str = ""
    provider_reference: str = ""
    type: str
    effective_on: date | None = None
    available_on: date | None = None
    currency: str
    gross_minor: int = 0
    refund_minor: int = 0
    chargeback_minor: int = 0
    fee_minor: int = 0
    fee_vat_minor: int = 0
    wht_credit_minor: int = 0
    reserve_held_minor: int = 0
    reserve_released_minor: int = 0
    adjustment_minor: int = 0
    net_minor: int = 0
    carried_in_minor: int = 0
    carried_out_minor: int = 0
    payout_minor: int = 0
    payout_id: str = ""


class PayoutLine(msgspec.Struct, frozen=True, kw_only=True):
    """One payout.

    Attributes:
        account_masked: last digits of the merchant's account number.
        is_owed: reserved in the ledger and neither paid nor given back.
        value_on: date of the bank's debit; bank_reference: the bank line that proved it.
    """

    payout_id: str
    merchant: str
    bank: str
    account_masked: str
    amount_minor: int
    fee_minor: int
    fee_vat_minor: int
    currency: str
    status: str
    is_owed: bool
    created_on: date
    submitted_on: date | None = None
    value_on: date | None = None
    bank_reference: str = ""
    file_id: str = ""
    reject_code: str = ""


class PayoutFileTotal(msgspec.Struct, frozen=True, kw_only=True):
    """What a payout file says of itself."""

    file_id: str
    count: int
    control_minor: int
    currency: str


class ReconciliationLine(msgspec.Struct, frozen=True, kw_only=True):
    """How many lines of one source had one outcome, and what they came to.

    Attributes:
        outcome: `matched:<rule>`, `suggested`, `unmatched`, `duplicate`, `rejected`.
        amount_minor: signed as the statement signs it.
    """

    run_id: str
    business_date: date
    source: str
    outcome: str
    lines: int
    amount_minor: int
    currency: str


class TieOutLine(msgspec.Struct, frozen=True, kw_only=True):
    """A bank account's movement of the day, or what a provider owes us: theirs, ours and why they differ.

    Attributes:
        subject: `bank:<account>` or `provider:<name>`.
        explained_minor: sum of the labelled differences; explanation: their labels with counts.
        unexplained_minor: what no label explains; not 0 is somebody's work.
    """

    run_id: str
    subject: str
    currency: str
    theirs_minor: int
    ours_minor: int
    explained_minor: int
    explanation: str
    unexplained_minor: int
