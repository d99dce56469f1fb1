"""The end of a year: income and expense go into retained earnings, each currency by itself."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Final
from uuid import UUID, uuid5

from ledger.chart_of_accounts import CHART, AccountClass, AccountKind, NormalSide
from ledger.journal import AccountRef, EntryKind, JournalEntry, Posting
from ledger.posting_rules._postings import account

POSTINGS_AT_ONCE: Final = 10_000
"""Postings of one entry; a book with more accounts of income and expense closes its year in several entries."""


def year_end_entries(
    *, key: UUID, balances_minor: Mapping[AccountRef, int], effective_on: date, caller: str
) -> tuple[JournalEntry, ...]:
    """Bring every account of income and expense to zero.

    | account | debit | credit | amount |
    |---|---|---|---|
    | stands on its credit side (income) | the account | retained_earnings | its balance |
    | stands on its debit side (expense) | retained_earnings | the account | its balance |

    Args:
        key: of the first entry; further ones have keys derived from it.
        balances_minor: accounts with their balances on the normal side; other classes and zeros are passed over.
        effective_on: the last day of the year.
        caller: who asked.

    Returns:
        As many entries as it takes; none where there is nothing to close.
    """
    postings = tuple(_closings(balances_minor))
    chunks = [postings[start : start + POSTINGS_AT_ONCE] for start in range(0, len(postings), POSTINGS_AT_ONCE)]
    return tuple(
        JournalEntry(
            key=key if number == 0 else uuid5(key, str(number)),
            kind=EntryKind.YEAR_CLOSED,
            effective_on=effective_on,
            postings=chunk,
            caller=caller,
        )
        for number, chunk in enumerate(chunks)
    )


def _closings(balances_minor: Mapping[AccountRef, int]) -> Iterator[Posting]:
    for closed in sorted(balances_minor):
        rules, balance_minor = CHART[closed.kind], balances_minor[closed]
        if balance_minor == 0 or rules.account_class not in {AccountClass.INCOME, AccountClass.EXPENSE}:
            continue
        earnings = account(AccountKind.RETAINED_EARNINGS, closed.currency)
        on_debit_side = (rules.normal_side is NormalSide.DEBIT) == (balance_minor > 0)
        debit, credit = (earnings, closed) if on_debit_side else (closed, earnings)
        yield Posting(debit=debit, credit=credit, amount_minor=abs(balance_minor))
