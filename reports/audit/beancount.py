"""A book as Beancount v3 reads it. Pure functions: an entry in, text out.

Exactly the currency's digits are written, because Beancount takes half the last digit as tolerance: with two digits
an entry must balance to the satang. Assertions carry a tolerance of zero of their own, since Beancount is otherwise
generous there by a whole digit. `balance` speaks of the start of its day, so what holds after a day is asserted on
the next.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

from ledger.balances import TrialBalanceRow
from ledger.feed import RecordedEntry
from ledger.money import to_text
from reports.audit.accounts import Names


def header(*, title: str, opened_on: date, names: Names, currencies: Iterable[str]) -> str:
    """Options, commodities and the accounts, open from the first business date of the book."""
    commodities = sorted(currencies)
    lines = [
        f'option "title" {_quoted(title)}',
        *(f'option "operating_currency" "{currency}"' for currency in commodities),
        "",
        *(f"{opened_on} commodity {currency}" for currency in commodities),
        "",
        *(f"{opened_on} open {name}" for name in sorted(names.values())),
        "",
    ]
    return "\n".join(lines) + "\n"


def entry(recorded: RecordedEntry, names: Names) -> str:
    """One journal entry: what happened, under which number and key, and both sides of each posting."""
    kind = recorded.kind.name.lower()
    references = " ".join(f"{each.scheme}={each.value}" for each in recorded.references)
    lines = [
        f'{recorded.effective_on} * "{kind}" "entry {recorded.sequence}"',
        f"  sequence: {recorded.sequence}",
        f'  key: "{recorded.key}"',
        f'  kind: "{kind}"',
        f'  recorded: "{recorded.recorded_at.isoformat()}"',
        f"  caller: {_quoted(recorded.caller)}",
    ]
    if references:
        lines.append(f"  references: {_quoted(references)}")
    if recorded.draws_on is not None:
        lines.append(f"  draws-on: {recorded.draws_on}")
    for posting in recorded.postings:
        currency = posting.debit.currency
        for account, amount_minor in ((posting.debit, posting.amount_minor), (posting.credit, -posting.amount_minor)):
            lines.append(f"  {names[account.kind, account.owner]}  {to_text(amount_minor, currency)} {currency}")
    return "\n".join(lines) + "\n\n"


def assertions(after: date, rows: Sequence[TrialBalanceRow], names: Names) -> str:
    """What each account holds once the day `after` is over."""
    on = after + timedelta(days=1)
    lines = []
    for row in rows:
        currency = row.account.currency
        balance_minor = row.closing_debit_minor - row.closing_credit_minor
        zero = to_text(0, currency)
        name = names[row.account.kind, row.account.owner]
        lines.append(f"{on} balance {name}  {to_text(balance_minor, currency)} ~ {zero} {currency}")
    return "\n".join(lines) + "\n\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'
