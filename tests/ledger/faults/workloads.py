"""Entries that a parent and its children make alike from a seed, so that any of them can be posted again."""

import random
from uuid import UUID

from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, Draw, EntryKind, ExternalReference, JournalEntry
from tests.ledger.entries import AVAILABLE, BANK, CLEARING, FEES, PAYOUTS, PENDING, entry, posting

MERCHANTS = tuple(AccountRef(AccountKind.MERCHANT_AVAILABLE, f"merchant-{n}") for n in range(20))


def receipts(seed: int, count: int) -> list[JournalEntry]:
    """Recording entries of one posting each; none of them can be refused."""
    chance = random.Random(seed)
    return [
        entry(
            posting(BANK, chance.choice(MERCHANTS), chance.randint(1, 10_000)),
            key=_key(chance),
            references=(ExternalReference("scb", f"{seed}-{number}"),),
        )
        for number in range(count)
    ]


def mixture(seed: int, count: int) -> list[JournalEntry]:
    """Captures that can be drawn on, draws and releases, payouts that hit the floor, entries of several postings."""
    chance = random.Random(seed)
    made: list[JournalEntry] = []
    for _ in range(count):
        captured = [each for each in made if each.drawable_minor]
        dice, amount, key = chance.random(), chance.randint(1, 300), _key(chance)
        if dice < 0.3 or not captured:
            captures = (posting(BANK, PENDING, amount), posting(PENDING, FEES, max(1, amount // 30)))
            made.append(entry(*captures, key=key, kind=EntryKind.PAYMENT_CAPTURED, drawable_minor=amount))
        elif dice < 0.45:
            made.append(entry(posting(PENDING, AVAILABLE, amount), key=key))
        elif dice < 0.65:
            made.append(entry(posting(AVAILABLE, PAYOUTS, amount), key=key, kind=EntryKind.PAYOUT_REQUESTED))
        elif dice < 0.75:
            made.append(entry(posting(PAYOUTS, AVAILABLE, amount), key=key, kind=EntryKind.OPERATOR_ENTRY))
        else:
            drawn = amount if dice < 0.9 else -amount // 2 or -1
            draw = Draw(chance.choice(captured).key, drawn)
            made.append(entry(posting(CLEARING, BANK, abs(drawn)), key=key, draw=draw))
    return made


def _key(chance: random.Random) -> UUID:
    return UUID(int=chance.getrandbits(128), version=4)
