"""Random histories: a few accounts, a few days, late entries; and their balances added up in plain Python."""

import random
from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

import asyncpg

from ledger.chart_of_accounts import CHART, AccountKind, NormalSide
from ledger.feed import RecordedEntry, read_entries
from ledger.journal import AccountRef
from ledger.posting import post_entries
from tests.ledger.entries import AVAILABLE, BANK, BOOK, CLEARING, FEES, PENDING, entry, posting

FIRST_DAY = date(2026, 11, 1)
DOLLARS, DOLLAR_FEES = (
    AccountRef(AccountKind.BANK, "main", "USD"),
    AccountRef(AccountKind.FEE_INCOME, "merchant", "USD"),
)
OTHER = AccountRef(AccountKind.MERCHANT_AVAILABLE, "other")
IN_BAHT = (BANK, CLEARING, PENDING, AVAILABLE, FEES, OTHER)
IN_DOLLARS = (DOLLARS, DOLLAR_FEES)
ACCOUNTS = (*IN_BAHT, *IN_DOLLARS)
NEVER_USED = AccountRef(AccountKind.DISPUTE_HOLD, "merchant")


class Sums(NamedTuple):
    """Debits and credits of one account."""

    debits: int
    credits: int

    def balance(self, account: AccountRef) -> int:
        debit_side = CHART[account.kind].normal_side is NormalSide.DEBIT
        return self.debits - self.credits if debit_side else self.credits - self.debits


async def random_history(
    app: asyncpg.Connection, *, seed: int, entries: int = 60, days: int = 12
) -> list[RecordedEntry]:
    """Entries of one to three postings in blocks of several, their days at random, so that many come late."""
    chance = random.Random(seed)
    batch = []
    for _ in range(entries):
        postings = []
        for _ in range(chance.randint(1, 3)):
            among = IN_DOLLARS if chance.random() < 0.2 else IN_BAHT
            debit, credit = chance.sample(among, 2)
            postings.append(posting(debit, credit, chance.randint(1, 1_000)))
        batch.append(entry(*postings, effective_on=FIRST_DAY + timedelta(days=chance.randrange(days))))
    while batch:
        size = chance.randint(1, 8)
        await post_entries(app, BOOK, batch[:size])
        del batch[:size]
    return await read_entries(app, BOOK, after=0, limit=entries + 1)


def sums(
    recorded: Sequence[RecordedEntry], account: AccountRef, *, cut: int | None = None, on_date: date = date.max
) -> Sums:
    """What the entries through a cut and a business date add up to on an account."""
    lines = [
        line
        for each in recorded
        if (cut is None or each.sequence <= cut) and each.effective_on <= on_date
        for line in each.postings
    ]
    return Sums(
        sum(line.amount_minor for line in lines if line.debit == account),
        sum(line.amount_minor for line in lines if line.credit == account),
    )
