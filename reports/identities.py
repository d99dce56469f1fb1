"""What must add up in every report. Checked on every rendering; a report that does not foot is not written.

An identity is two numbers that must be the same, found by different roads wherever there is another road: the
rows of the report against the ledger, a file's body against its control total. The functions here are pure.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import msgspec

from reports.rows import (
    PayoutFileTotal,
    PayoutLine,
    ReconciliationLine,
    SettlementLine,
    TieOutLine,
    TrialBalanceLine,
)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Two numbers that must be equal.

    Attributes:
        name: stable word for the rule; subject: what it is about (a currency, an account, a file).
        left: as the report says; right: as it must be. Minor units or counts.
    """

    name: str
    subject: str
    left: int
    right: int


class IdentityFailed(Exception):
    """A report does not add up, so it was not written."""

    code: ClassVar[str] = "report_identity_failed"
    retryable: ClassVar[bool] = False

    def __init__(self, identity: Identity) -> None:
        """Names the identity and the difference."""
        self.identity = identity
        self.difference = identity.left - identity.right
        super().__init__(
            f"{identity.name} of {identity.subject}: {identity.left} is not {identity.right}"
            f" (difference {self.difference})"
        )


def require(identities: Iterable[Identity]) -> tuple[Identity, ...]:
    """All of them, once each holds.

    Raises:
        IdentityFailed: the first one that does not.
    """
    checked = tuple(identities)
    for identity in checked:
        if identity.left != identity.right:
            raise IdentityFailed(identity)
    return checked


def trial_balance(rows: Sequence[TrialBalanceLine], *, posted_minor: Mapping[str, int]) -> list[Identity]:
    """Debits are credits in each pair of columns and currency; opening + period = closing in each account.

    Args:
        rows: the report.
        posted_minor: sum of all postings of the period, by currency, added up by the database by itself: each
            posting is one debit and one credit, so both period columns must come to it.
    """
    sums: defaultdict[str, list[int]] = defaultdict(lambda: [0] * 6)
    found = []
    for row in rows:
        columns = (
            row.opening_debit_minor,
            row.opening_credit_minor,
            row.period_debit_minor,
            row.period_credit_minor,
            row.closing_debit_minor,
            row.closing_credit_minor,
        )
        sums[row.currency] = [total + value for total, value in zip(sums[row.currency], columns, strict=True)]
        opening, period, closing = (columns[i] - columns[i + 1] for i in (0, 2, 4))
        subject = f"{row.account} {row.currency}"
        found.append(
            Identity(name="opening_plus_period_is_closing", subject=subject, left=opening + period, right=closing)
        )
    for currency in sorted(sums.keys() | posted_minor.keys()):
        totals = sums[currency]
        for name, index in (("opening", 0), ("period", 2), ("closing", 4)):
            found.append(
                Identity(
                    name=f"{name}_debits_are_credits", subject=currency, left=totals[index], right=totals[index + 1]
                )
            )
        found.append(
            Identity(
                name="period_is_sum_of_postings", subject=currency, left=totals[2], right=posted_minor.get(currency, 0)
            )
        )
    return found


def merchant_settlement(
    rows: Sequence[SettlementLine],
    *,
    settlement_id: str,
    carried_in_minor: int,
    became_available_minor: int,
    available_movements_minor: int,
    payout_minor: int,
    carried_out_minor: int,
) -> list[Identity]:
    """What came in, less what went off, is the payout and what is carried on.

    Args:
        rows: the report.
        settlement_id: names the identities.
        carried_in_minor: what the settlement before carried out.
        became_available_minor: what the ledger moved from pending to available for this settlement.
        available_movements_minor: what else the ledger shows on `merchant_available` in the window.
        payout_minor: what the ledger reserved for the payout of this settlement, with its fee and VAT.
        carried_out_minor: what the settlement says it carries on.
    """
    pending = sum(row.net_minor for row in rows if row.available_on is not None)
    direct = sum(row.net_minor for row in rows if row.sequence is not None and row.available_on is None)
    carried_in = sum(row.carried_in_minor for row in rows)
    carried_out = sum(row.carried_out_minor for row in rows)
    paid = sum(row.payout_minor for row in rows)
    net = sum(
        row.gross_minor
        - row.refund_minor
        - row.chargeback_minor
        - row.fee_minor
        - row.fee_vat_minor
        + row.wht_credit_minor
        - row.reserve_held_minor
        + row.reserve_released_minor
        + row.adjustment_minor
        for row in rows
    )
    pairs = (
        ("carried_in_plus_net_less_carried_out_is_payout", carried_in + net - carried_out, paid),
        ("nets_are_sum_of_columns", sum(row.net_minor for row in rows), net),
        ("pending_rows_are_what_became_available", pending, became_available_minor),
        ("available_rows_are_ledger_movements", direct, available_movements_minor),
        ("carried_in_is_carried_out_before", carried_in, carried_in_minor),
        ("carried_out_is_the_settlement's", carried_out, carried_out_minor),
        ("payout_is_the_ledger_reserve", paid, payout_minor),
    )
    return [Identity(name=name, subject=settlement_id, left=left, right=right) for name, left, right in pairs]


def payouts(
    rows: Sequence[PayoutLine],
    *,
    files: Sequence[PayoutFileTotal],
    bank_debits_minor: Mapping[str, int],
    in_transit_minor: Mapping[str, int],
) -> list[Identity]:
    """Each file holds its control total, paid is what left the bank, the rest is still owed.

    Args:
        rows: the report, every payout of the book up to the cut.
        files: control totals and counts, read out of the files themselves.
        bank_debits_minor: what payouts took from the bank accounts in the ledger, by currency.
        in_transit_minor: balance of all `payouts_in_transit` accounts at the cut, by currency.
    """
    found = []
    for file in files:
        body = [row for row in rows if row.file_id == file.file_id]
        total = sum(row.amount_minor for row in body)
        found.append(
            Identity(name="file_is_its_control_total", subject=file.file_id, left=total, right=file.control_minor)
        )
        found.append(Identity(name="file_is_its_count", subject=file.file_id, left=len(body), right=file.count))
    currencies = {row.currency for row in rows} | bank_debits_minor.keys() | in_transit_minor.keys()
    for currency in sorted(currencies):
        mine = [row for row in rows if row.currency == currency]
        paid = sum(row.amount_minor for row in mine if row.status in {"paid", "returned"})
        open_ = sum(row.amount_minor for row in mine if row.is_owed)
        found.append(
            Identity(name="paid_is_bank_debits", subject=currency, left=paid, right=bank_debits_minor.get(currency, 0))
        )
        found.append(
            Identity(
                name="open_is_payouts_in_transit",
                subject=currency,
                left=open_,
                right=in_transit_minor.get(currency, 0),
            )
        )
    return found


def reconciliation_summary(
    rows: Sequence[ReconciliationLine], *, lines: Mapping[str, int], amounts_minor: Mapping[str, int]
) -> list[Identity]:
    """Every line of a statement is matched, a break, a duplicate or rejected: counts and amounts both add up.

    Args:
        rows: the report, one row for each source and outcome.
        lines: lines that each file brought, by source.
        amounts_minor: their sum, by source, signed as the statement signs them.
    """
    found = []
    for source in sorted({row.source for row in rows} | lines.keys()):
        mine = [row for row in rows if row.source == source]
        found.append(
            Identity(
                name="outcomes_are_lines",
                subject=source,
                left=sum(row.lines for row in mine),
                right=lines.get(source, 0),
            )
        )
        found.append(
            Identity(
                name="outcome_amounts_are_line_amounts",
                subject=source,
                left=sum(row.amount_minor for row in mine),
                right=amounts_minor.get(source, 0),
            )
        )
    return found


def tie_out(rows: Sequence[TieOutLine]) -> list[Identity]:
    """Theirs less ours is what is explained and what is not."""
    return [
        Identity(
            name="theirs_less_ours_is_explained_and_unexplained",
            subject=f"{row.subject} {row.currency}",
            left=row.theirs_minor - row.ours_minor,
            right=row.explained_minor + row.unexplained_minor,
        )
        for row in rows
    ]
