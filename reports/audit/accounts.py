"""Names of accounts in plain-text books: `Liabilities:MerchantPending-Acct01k8…`.

Kind and owner share the last segment, because hledger's check of unique leaf names fails where two accounts end in
the same word. Beancount allows letters, digits and dashes, each segment beginning with a capital or digit.
"""

import re
from collections.abc import Iterable
from typing import Final

from ledger.chart_of_accounts import CHART, HOUSE, AccountClass, AccountKind
from ledger.journal import AccountRef

ROOTS: Final = {
    AccountClass.ASSET: "Assets",
    AccountClass.LIABILITY: "Liabilities",
    AccountClass.EQUITY: "Equity",
    AccountClass.INCOME: "Income",
    AccountClass.EXPENSE: "Expenses",
}
_SEPARATORS: Final = re.compile(r"[^A-Za-z0-9]+")

Names = dict[tuple[AccountKind, str], str]
"""Name by kind and owner; the currency is the commodity's business."""


def account_names(accounts: Iterable[AccountRef]) -> Names:
    """A name for each account; two owners that read alike are told apart by a number."""
    names: Names = {}
    taken: set[str] = set()
    for kind, owner in sorted({(account.kind, account.owner) for account in accounts}):
        plain = _name(kind, owner)
        name, number = plain, 1
        while name in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name)
        names[kind, owner] = name
    return names


def _name(kind: AccountKind, owner: str) -> str:
    leaf = _capitalised(kind.name.lower())
    if owner != HOUSE:
        leaf = f"{leaf}-{_capitalised(owner) or 'Other'}"
    return f"{ROOTS[CHART[kind].account_class]}:{leaf}"


def _capitalised(text: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in _SEPARATORS.split(text))
