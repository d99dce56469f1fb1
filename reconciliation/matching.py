"""Matching: ordered passes, each one statement over the whole book, each with a name and an explanation.

Four stages keep the sides apart, and at each a line has one partner and a partner one line (UNIQUE in the
database, live matches only):

- `provider`: a line of a provider's statement ↔ an entry of our books.
- `transfer`: the debit of a transfer on the provider's balance ↔ the transfer on the provider's list of them.
- `bank`: a line of the bank's statement ↔ the provider's line (a transfer, a bill payment) that it is.
- `payout`: a line of the bank's statement ↔ the payout that our books reserved.

A pass needs a shared name, the same currency and the amount to the satang; it never needs a guess. An amount and a
date without a name match nothing. Weak names come after strong ones, and never against a contradicting strong one.
What was compared is kept as the match's evidence.
"""

from collections.abc import Mapping
from datetime import date, datetime
from types import MappingProxyType
from typing import Final

import msgspec

from ledger.posting_rules.fees_and_tax import vat_rate_on
from reconciliation.sql import Connection, queries

PUBLIC_RATES_PPM: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType({"omise": (36_500, 16_500)})
"""What providers keep back of a payment by their public price lists, for statements that state only the net."""


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """One way of pairing.

    Attributes:
        query: of `sql/matching.sql`.
        strong: whether the shared name must belong to this one movement.
    """

    name: str
    stage: str
    query: str
    strong: bool
    explanation: str


PASSES: Final = (
    Pass(
        name="exact_reference",
        stage="provider",
        query="match_expected",
        strong=True,
        explanation="The provider's id of the movement is in our entry; currency and gross amount are equal.",
    ),
    Pass(
        name="exact_reference_net_of_fee",
        stage="provider",
        query="match_expected_net",
        strong=True,
        explanation="As exact_reference, where the statement states the net: our gross less the contract's fee and "
        "VAT, each rounded half-up, is that net to the satang.",
    ),
    Pass(
        name="exact_bill_reference",
        stage="provider",
        query="match_expected",
        strong=False,
        explanation="The bill's reference is in our entry; currency and amount are equal and no stronger id speaks "
        "against it. Equal payments of one bill are paired in the order of time.",
    ),
    Pass(
        name="transfer_on_both_lists",
        stage="transfer",
        query="match_lines",
        strong=True,
        explanation="The debit on the provider's balance names the transfer and has its amount.",
    ),
    Pass(
        name="bank_exact_reference",
        stage="bank",
        query="match_lines",
        strong=True,
        explanation="The bank's text names the transfer or payment; the credit is a transfer's amount less its fee "
        "and VAT, or a payment's amount on the same day.",
    ),
    Pass(
        name="bank_bill_reference",
        stage="bank",
        query="match_lines",
        strong=False,
        explanation="The bank's text names the bill; amount and day are equal and no stronger id speaks against it.",
    ),
    Pass(
        name="bank_booked_by_hand",
        stage="bank",
        query="match_expected",
        strong=True,
        explanation="Our entry names the bank's line, which a person booked as nobody's; the amount is equal.",
    ),
    Pass(
        name="payout_exact_reference",
        stage="payout",
        query="match_expected",
        strong=True,
        explanation="The bank's text names the payout, or our entry names the bank's line; the amount is equal.",
    ),
)


STATISTICS_ROWS: Final = 1_000
"""From how many new rows on the planner is told of them at once."""


async def refresh_statistics(connection: Connection, *, rows: int) -> None:
    """Let the planner know of that many new rows, if they are many."""
    if rows >= STATISTICS_ROWS:
        await connection.execute(queries("matching")["refresh_statistics"])


async def run_passes(
    connection: Connection,
    *,
    book_id: int,
    through: date,
    run_id: str,
    rates_ppm: Mapping[str, tuple[int, ...]] = PUBLIC_RATES_PPM,
) -> dict[str, int]:
    """Run every pass in order over the lines of business dates up to `through`; returns what each one matched.

    Each pass is atomic by itself; one that is run again finds nothing new. Locks nothing but the rows it writes.

    Args:
        rates_ppm: what each provider keeps back of a payment, in parts per million; several where its methods differ.
    """
    terms = [(provider, rate) for provider, rates in sorted(rates_ppm.items()) for rate in rates]
    matched = {}
    for step in PASSES:
        arguments: list[object] = [book_id, through, step.stage, step.name, step.strong, run_id]
        if step.query == "match_expected_net":
            arguments += [[provider for provider, _ in terms], [rate for _, rate in terms]]
            arguments.append(vat_rate_on(through).rate_ppm)
        status = await connection.execute(queries("matching")[step.query], *arguments)
        matched[step.name] = int(status.split()[-1])
        await refresh_statistics(connection, rows=matched[step.name])
    return matched


async def revoke(
    connection: Connection, *, book_id: int, stage: str, line_id: str, reason: str, revoked_at: datetime
) -> bool:
    """Undo a live match; its row stays, with the reason. False where there is none, or its money is settled already.

    Settled money is corrected by an entry that an operator approves, not by taking back the match under it.
    """
    revision = await connection.fetchval(
        queries("matching")["revoke_match"], book_id, stage, line_id, revoked_at, reason
    )
    return revision is not None
