"""Tie-out: whether statement, ledger and provider say the same, and every satang of difference under a label.

Bank: opening + lines = closing (the format proved it on import), today's opening = the closing before, and the
movement of our bank account on that date = the statement's movement less what is labelled as not booked.

Provider: what we say it owes us, gross – what its own unsettled lines make, net = fees and VAT to be booked when it
pays + what is in our books and on no statement – what is on a statement and not in our books.

`remainder_minor` is what no label explains. It is 0, or somebody has to look.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import date

import msgspec

from ledger.balances import DateAxis, TrialBalanceRow, trial_balance
from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef
from reconciliation.errors import UnknownBankAccount
from reconciliation.sql import Connection, queries

BOOKED = "booked"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A labelled part of a difference."""

    label: str
    count: int
    amount_minor: int


class BankTieOut(msgspec.Struct, frozen=True, kw_only=True):
    """A bank account on one business date.

    Attributes:
        bank: owner of the ledger's account.
        gap_minor: opening less the closing of the statement before; None for the first statement. Not 0: a
            statement is missing.
        brought_forward_minor: statement's opening less the ledger's: what earlier days left.
        differences: lines of the statement that the ledger does not have, by reason.
        remainder_minor: statement's movement − ledger's movement − Σ differences.
    """

    bank: str
    currency: str
    opening_minor: int
    closing_minor: int
    ledger_opening_minor: int
    ledger_closing_minor: int
    gap_minor: int | None
    brought_forward_minor: int
    differences: tuple[Difference, ...]
    remainder_minor: int

    @property
    def tied(self) -> bool:
        """Whether nothing is open: statement and ledger have the same movement and no statement is missing."""
        return not self.gap_minor and self.remainder_minor == 0 and not self.differences


class ProviderTieOut(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider owes us, through one business date, by our books and by its own statements.

    Attributes:
        ledger_minor: balance of provider_receivable, gross.
        provider_minor: Σ of the provider's lines that are not settled, as it states them.
        remainder_minor: ledger − provider − Σ differences.
    """

    provider: str
    currency: str
    ledger_minor: int
    provider_minor: int
    differences: tuple[Difference, ...]
    remainder_minor: int


async def tie_out_banks(
    connection: Connection, *, book_id: int, on: date, banks: Mapping[str, str]
) -> tuple[BankTieOut, ...]:
    """Each bank account that has a statement of that business date.

    Args:
        banks: account as the statement names it → owner of the ledger's account.

    Raises:
        UnknownBankAccount: a statement is of an account that is not ours.
    """
    days = await connection.fetch(queries("tie_out")["bank_days"], book_id, on)
    if not days:
        return ()
    differences: defaultdict[tuple[str, str], list[Difference]] = defaultdict(list)
    for row in await connection.fetch(queries("tie_out")["bank_lines"], book_id, on):
        if row["label"] != BOOKED:
            differences[row["account"], row["currency"]].append(_difference(dict(row)))
    books = _by_account(await trial_balance(connection, book_id, from_on=on, to_on=on, axis=DateAxis.EFFECTIVE))
    found = []
    for day in days:
        bank = banks.get(day["account"])
        if bank is None:
            raise UnknownBankAccount(f"account {day['account']}")
        ledger = books.get(AccountRef(AccountKind.BANK, bank, day["currency"]))
        ledger_opening, ledger_closing = (ledger.opening_minor, ledger.closing_minor) if ledger else (0, 0)
        open_parts = tuple(differences[day["account"], day["currency"]])
        before = day["closing_before_minor"]
        found.append(
            BankTieOut(
                bank=bank,
                currency=day["currency"],
                opening_minor=day["opening_minor"],
                closing_minor=day["closing_minor"],
                ledger_opening_minor=ledger_opening,
                ledger_closing_minor=ledger_closing,
                gap_minor=None if before is None else day["opening_minor"] - before,
                brought_forward_minor=day["opening_minor"] - ledger_opening,
                differences=open_parts,
                remainder_minor=(day["closing_minor"] - day["opening_minor"])
                - (ledger_closing - ledger_opening)
                - sum(part.amount_minor for part in open_parts),
            )
        )
    return tuple(found)


async def tie_out_providers(connection: Connection, *, book_id: int, through: date) -> tuple[ProviderTieOut, ...]:
    """Each provider that owes us something, or says so."""
    parts: defaultdict[tuple[str, str], list[Difference]] = defaultdict(list)
    for row in await connection.fetch(queries("tie_out")["provider_parts"], book_id, through):
        parts[row["provider"], row["currency"]].append(_difference(dict(row)))
    owed = {
        (account.owner, account.currency): row.closing_minor
        for account, row in _by_account(
            await trial_balance(connection, book_id, to_on=through, axis=DateAxis.EFFECTIVE)
        ).items()
        if account.kind is AccountKind.PROVIDER_RECEIVABLE
    }
    found = []
    for provider, currency in sorted({*parts, *owed}):
        labelled = parts[provider, currency]
        stated = sum(part.amount_minor for part in labelled if part.label == "provider")
        differences = tuple(part for part in labelled if part.label != "provider")
        ledger_minor = owed.get((provider, currency), 0)
        found.append(
            ProviderTieOut(
                provider=provider,
                currency=currency,
                ledger_minor=ledger_minor,
                provider_minor=stated,
                differences=differences,
                remainder_minor=ledger_minor - stated - sum(part.amount_minor for part in differences),
            )
        )
    return tuple(found)


def _by_account(rows: list[TrialBalanceRow]) -> dict[AccountRef, TrialBalanceRow]:
    return {row.account: row for row in rows}


def _difference(row: Mapping[str, object]) -> Difference:
    return msgspec.convert({name: row[name] for name in Difference.__struct_fields__}, Difference)
