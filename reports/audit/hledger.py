"""A book as hledger reads it, also under its strict and extra checks. Pure functions: an entry in, text out.

Accounts, commodities, payees and tags are declared; transactions stand in the order of their dates; each account's
balance is asserted on its own currency by a transaction of zeros after the last one of a month and of the book, so
every account has an assertion not older than its last posting.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final

from ledger.balances import TrialBalanceRow
from ledger.feed import RecordedEntry
from ledger.journal import EntryKind
from ledger.money import to_text
from reports.audit.accounts import Names

ASSERTION_PAYEE: Final = "balance_assertion"
TAGS: Final = ("sequence", "key", "recorded", "caller", "reference", "draws_on")
_IN_TAG: Final = re.compile(r"[,\s]+")


def header(*, title: str, names: Names, currencies: Iterable[str]) -> str:
    """Everything that strict checks want declared."""
    lines = [
        f"; {title}",
        "decimal-mark .",
        *(f"commodity {_sample(currency)} {currency}" for currency in sorted(currencies)),
        "",
        *(f"payee {kind.name.lower()}" for kind in EntryKind),
        f"payee {ASSERTION_PAYEE}",
        "",
        *(f"tag {tag}" for tag in TAGS),
        "",
        *(f"account {name}" for name in sorted(names.values())),
        "",
    ]
    return "\n".join(lines) + "\n"


def entry(recorded: RecordedEntry, names: Names) -> str:
    """One journal entry: the sequence as its code, the kind as its payee, the rest as tags."""
    tags = [
        ("sequence", str(recorded.sequence)),
        ("key", str(recorded.key)),
        ("recorded", recorded.recorded_at.isoformat()),
        ("caller", recorded.caller),
        *(("reference", f"{each.scheme}={each.value}") for each in recorded.references),
    ]
    if recorded.draws_on is not None:
        tags.append(("draws_on", str(recorded.draws_on)))
    lines = [
        f"{recorded.effective_on} * ({recorded.sequence}) {recorded.kind.name.lower()} | entry {recorded.sequence}",
        *(f"    ; {tag}:{_IN_TAG.sub(' ', value).strip()}" for tag, value in tags),
    ]
    for posting in recorded.postings:
        currency = posting.debit.currency
        for account, amount_minor in ((posting.debit, posting.amount_minor), (posting.credit, -posting.amount_minor)):
            lines.append(f"    {names[account.kind, account.owner]}  {to_text(amount_minor, currency)} {currency}")
    return "\n".join(lines) + "\n\n"


def assertions(after: date, rows: Sequence[TrialBalanceRow], names: Names) -> str:
    """What each account holds at the end of the day `after`, asserted on that day."""
    lines = [f"{after} * {ASSERTION_PAYEE} | balances at the end of the day"]
    for row in rows:
        currency = row.account.currency
        balance_minor = row.closing_debit_minor - row.closing_credit_minor
        name = names[row.account.kind, row.account.owner]
        lines.append(f"    {name}  {to_text(0, currency)} {currency} = {to_text(balance_minor, currency)} {currency}")
    return "\n".join(lines) + "\n\n"


def _sample(currency: str) -> str:
    """The sample from which hledger takes digits and decimal mark; a mark without digits says "none"."""
    sample = to_text(0, currency)
    return f"1000{sample[1:]}" if "." in sample else "1000."
