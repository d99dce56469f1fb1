"""What every statement format turns its file into, and what a file must prove before a line of it is believed.

Two ways to say no. A file whose frame is wrong (encoding, totals, cut off, nothing in it) is refused whole, as
`StatementRefused` with the place. A line that is unreadable by itself, while the frame still adds up, becomes a
`RejectedLine` and the others stand. Formats never guess: what a line does not state stays None.

Personal data (payers' names and accounts) stays in the sealed file and is never copied into a line.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from enum import StrEnum

import msgspec


class Side(StrEnum):
    """Whose statement it is."""

    PROVIDER = "provider"
    BANK = "bank"


class LineKind(StrEnum):
    """What a line says happened, as far as the line itself tells.

    `transfer` is the provider's payment to our bank, on the provider's list of transfers and on the bank statement;
    `transfer_debit` is how the same transfer shows on the provider's list of everything else.
    """

    PAYMENT = "payment"
    REFUND = "refund"
    REVERSAL = "reversal"
    TRANSFER = "transfer"
    TRANSFER_DEBIT = "transfer_debit"
    PAYOUT = "payout"
    PAYOUT_RETURN = "payout_return"
    FEE = "fee"
    VAT = "vat"
    DISPUTE = "dispute"
    CREDIT = "credit"
    DEBIT = "debit"


class Stage(StrEnum):
    """At which comparison a line finds its other half; `matching.py` says with what."""

    PROVIDER = "provider"
    TRANSFER = "transfer"
    BANK = "bank"
    PAYOUT = "payout"


def stage_of(side: Side, kind: LineKind) -> Stage:
    """The stage of a line."""
    if kind is LineKind.TRANSFER_DEBIT:
        return Stage.TRANSFER
    if kind in {LineKind.PAYOUT, LineKind.PAYOUT_RETURN}:
        return Stage.PAYOUT
    if side is Side.BANK or kind is LineKind.TRANSFER:
        return Stage.BANK
    return Stage.PROVIDER


class LineReference(msgspec.Struct, frozen=True):
    """A name under which others know the movement.

    Attributes:
        scheme: the same word as in the ledger's external references: the provider's name, or `payout`.
        strong: the id belongs to this very movement. A weak one (a bill's Ref1) may be shared by several. Two
            different strong ids forbid a match, whatever else agrees.
    """

    scheme: str
    value: str
    strong: bool = True


class StatementLine(msgspec.Struct, frozen=True, kw_only=True):
    """One movement on the account that the statement is about.

    Attributes:
        line_number: 1-based place in the file.
        account: whose statement the line stands on, as the source names the account.
        amount_minor: signed in the account's view: > 0 came in, < 0 went out.
        fee_minor: withheld from this movement, with `vat_minor` on it; (0, 0) where the amount is gross; None
            where the amount is net of something that the line does not state. For a transfer: taken from it
            before it reached the bank.
        value_on: business date (Asia/Bangkok) on which the account moved.
        available_at: from when the provider pays the money out.
        provider: whose money it is; None where the bank's text does not tell.
        batch_reference: the transfer or file that the movement belongs to, if the line names it.
        identity: the source's own unique id of the line. Without one, equal lines are told apart by counting.
        description: the source's own word for it (`charge.captured.net`), never a person's name.
    """

    line_number: int
    account: str
    kind: LineKind
    amount_minor: int
    currency: str
    value_on: date
    provider: str | None
    references: tuple[LineReference, ...] = ()
    fee_minor: int | None = 0
    vat_minor: int | None = 0
    occurred_at: datetime | None = None
    available_at: datetime | None = None
    batch_reference: str | None = None
    identity: str | None = None
    description: str = ""


class RejectedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that could not be read, kept beside the good ones.

    Attributes:
        reason: stable word: `missing`, `not_an_amount`, `not_a_date`, `not_a_currency`, `unknown_value`,
            `conflicts_with_imported`.
        amount_minor: where at least the amount was readable, so that totals still foot.
    """

    line_number: int
    field: str
    reason: str
    detail: str
    amount_minor: int | None = None


class StatementBalance(msgspec.Struct, frozen=True, kw_only=True):
    """What the statement says the account held before and after its lines; the two differ by Σ lines."""

    account: str
    currency: str
    number: str
    opened_on: date
    closed_on: date
    opening_minor: int
    closing_minor: int


class ControlTotal(msgspec.Struct, frozen=True, kw_only=True):
    """A figure that the file states about itself and that was re-added from its lines: stated = found, always."""

    name: str
    stated: int
    found: int


class ParsedStatement(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was believed.

    Attributes:
        account: whose statement: the provider's or bank's name of the account, as far as the file tells.
        header: what the head of the file says, as text, without personal data.
    """

    account: str
    header: Mapping[str, str]
    lines: tuple[StatementLine, ...]
    rejects: tuple[RejectedLine, ...] = ()
    balances: tuple[StatementBalance, ...] = ()
    control_totals: tuple[ControlTotal, ...] = ()


class StatementFormat(msgspec.Struct, frozen=True, kw_only=True):
    """A format of the registry.

    Attributes:
        parse: whole file in, `ParsedStatement` out, `StatementRefused` otherwise. Pure.
    """

    source: str
    side: Side
    parse: Callable[[bytes], ParsedStatement]


class Unreadable(Exception):
    """A field of a line that cannot be read; the format turns it into a `RejectedLine`."""

    def __init__(self, field: str, reason: str, detail: str) -> None:
        """Words as in `RejectedLine`."""
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.reason = reason
        self.detail = detail
