"""The settlement statement of a merchant: every entry that the settlement covers, and how they come to the payout.

An entry on `merchant_pending` belongs to the first settlement whose cut and whose date it does not exceed, an entry
on `merchant_available` to the first whose cut it does not exceed; so each is in exactly one. What the settlement
itself posted – becoming available, the payout's reserve – is no row of its own: it is what the rows must come to.
Only what it made a claim on the merchant, or took for an earlier claim, is a row: it changes what is paid out.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

import msgspec

from ledger.balances import columns_of
from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, EntryKind
from ledger.posting import Connection
from ledger.queries import QUERIES as LEDGER_QUERIES
from reports import identities
from reports.identities import Identity
from reports.rendering import ReportHead
from reports.rows import SettlementLine
from reports.sql import QUERIES

CHUNK: Final = 5_000
OWN_ENTRIES: Final = (
    EntryKind.BECAME_AVAILABLE,
    EntryKind.MERCHANT_DEBT_RECOGNISED,
    EntryKind.MERCHANT_DEBT_RECOVERED,
    EntryKind.PAYOUT_REQUESTED,
)
OUR_SCHEMES: Final = ("refund", "payment_intent", "payout", "dispute")
"""Our own ids among an entry's references and metadata; the first that is there names the transaction."""

_COLUMNS: Final[Mapping[AccountKind, str]] = {
    AccountKind.PROVIDER_RECEIVABLE: "gross_minor",
    AccountKind.PAYER_REFUNDABLE: "gross_minor",
    AccountKind.REFUNDS_PAYABLE: "refund_minor",
    AccountKind.DISPUTE_HOLD: "chargeback_minor",
    AccountKind.FEE_INCOME: "fee_minor",
    AccountKind.OUTPUT_VAT: "fee_vat_minor",
    AccountKind.WHT_RECEIVABLE: "wht_credit_minor",
}
"""By the account on the other side. Columns that are taken off show a debit as a positive number."""
_TAKEN_OFF: Final = frozenset({"refund_minor", "chargeback_minor", "fee_minor", "fee_vat_minor"})


class SettlementWindow(msgspec.Struct, frozen=True, kw_only=True):
    """What is settled: a closed settlement as the gateway keeps it.

    Attributes:
        previous_cut, previous_through: of the merchant's settlement before; 0 and None for the first.
        carried_in_minor: what that one carried out.
        payout_id: None where nothing was paid out.
    """

    settlement_id: str
    merchant: str
    currency: str
    business_date: date
    previous_cut: int
    cut: int
    previous_through: date | None
    available_through: date
    carried_in_minor: int
    carried_out_minor: int
    payout_id: str | None


class MerchantSettlement(msgspec.Struct, frozen=True, kw_only=True):
    """A settlement statement, to be rendered.

    Attributes:
        became_available_minor, payout_minor: what the ledger shows that this settlement moved and reserved.
        available_at_cut_minor: balance of `merchant_available` at the cut, by the ledger's running balance.
    """

    head: ReportHead
    window: SettlementWindow
    rows: tuple[SettlementLine, ...]
    became_available_minor: int
    payout_minor: int
    available_at_cut_minor: int
    row_type: type[msgspec.Struct] = SettlementLine

    def identities(self) -> Sequence[Identity]:
        """Carried in + what moved = payout + carried out; the rows are what the ledger moved."""
        return identities.merchant_settlement(
            self.rows,
            settlement_id=self.window.settlement_id,
            carried_in_minor=self.window.carried_in_minor,
            became_available_minor=self.became_available_minor,
            available_movements_minor=self.available_at_cut_minor - self.window.carried_in_minor,
            payout_minor=self.payout_minor,
            carried_out_minor=self.window.carried_out_minor,
        )


async def merchant_settlement(connection: Connection, book_id: int, window: SettlementWindow) -> MerchantSettlement:
    """Build the statement of one closed settlement, from the ledger alone."""
    entries = await _entries(connection, book_id, window)
    became_available = await _own(connection, book_id, window, EntryKind.BECAME_AVAILABLE)
    debts = [
        (kind.name.lower(), amount_minor)
        for kind in (EntryKind.MERCHANT_DEBT_RECOGNISED, EntryKind.MERCHANT_DEBT_RECOVERED)
        if (amount_minor := await _own(connection, book_id, window, kind))
    ]
    reserved = -await _own(connection, book_id, window, EntryKind.PAYOUT_REQUESTED)
    available = await connection.fetchval(
        QUERIES["account_before"],
        book_id,
        int(AccountKind.MERCHANT_AVAILABLE),
        window.merchant,
        window.currency,
        window.cut,
    )
    common = _common(window)
    rows = (
        SettlementLine(**common, type="carried_forward_in", carried_in_minor=window.carried_in_minor),
        *entries,
        *(
            SettlementLine(**common, type=kind, adjustment_minor=amount_minor, net_minor=amount_minor)
            for kind, amount_minor in debts
        ),
        SettlementLine(**common, type="payout", payout_minor=reserved),
        SettlementLine(**common, type="carried_forward_out", carried_out_minor=window.carried_out_minor),
    )
    return MerchantSettlement(
        head=ReportHead(
            report="merchant_settlement",
            subject=window.settlement_id,
            book_id=book_id,
            period_from=min(
                [row.effective_on for row in entries if row.effective_on], default=window.available_through
            ),
            period_to=window.available_through,
            cut=window.cut,
            control_column="net_minor",
        ),
        window=window,
        rows=rows,
        became_available_minor=became_available,
        payout_minor=reserved,
        available_at_cut_minor=available or 0,
    )


async def _own(connection: Connection, book_id: int, window: SettlementWindow, kind: EntryKind) -> int:
    """What the settlement's own entries brought to the available account: they alone have its business date."""
    amount: int = await connection.fetchval(
        QUERIES["settlement_entries"],
        book_id,
        window.merchant,
        window.currency,
        int(kind),
        window.cut,
        window.business_date,
    )
    return amount


async def _entries(connection: Connection, book_id: int, window: SettlementWindow) -> list[SettlementLine]:
    """The rows: first what an earlier settlement had seen but whose day had not come, then what came since."""
    kinds = (AccountKind.MERCHANT_PENDING, AccountKind.MERCHANT_AVAILABLE)
    own = columns_of(AccountRef(kind, window.merchant, window.currency) for kind in kinds)
    account_ids = [row["account_id"] for row in await connection.fetch(LEDGER_QUERIES["account_ids"], book_id, *own)]
    parts: list[tuple[str, int, int, tuple[date, ...]]] = [("postings_since", window.previous_cut, window.cut, ())]
    if window.previous_through is not None:
        parts.insert(0, ("postings_fallen_due", 0, window.previous_cut, (window.previous_through,)))
    lines: list[SettlementLine] = []
    for query, first, last, later_than in parts:
        after = first
        while postings := await connection.fetch(
            QUERIES[query],
            book_id,
            account_ids,
            after,
            last,
            window.available_through,
            [int(kind) for kind in OWN_ENTRIES],
            CHUNK,
            *later_than,
        ):
            lines += await _lines(connection, book_id, window, postings)
            after = postings[-1]["sequence"]
    return lines


async def _lines(
    connection: Connection, book_id: int, window: SettlementWindow, postings: Sequence[Any]
) -> list[SettlementLine]:
    """One row for each entry and day of it."""
    sequences = sorted({posting["sequence"] for posting in postings})
    references: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for row in await connection.fetch(LEDGER_QUERIES["references_of"], book_id, sequences):
        references[row["sequence"]].setdefault(row["scheme"], row["value"])
    grouped: defaultdict[tuple[int, date | None], list[Any]] = defaultdict(list)
    for posting in postings:
        grouped[posting["sequence"], posting["available_on"]].append(posting)
    return [_line(window, members, references[sequence]) for (sequence, _), members in grouped.items()]


def _line(window: SettlementWindow, postings: Sequence[Any], references: dict[str, str]) -> SettlementLine:
    amounts: defaultdict[str, int] = defaultdict(int)
    for posting in postings:
        signed = posting["amount_minor"] if posting["credited"] else -posting["amount_minor"]
        column = _column(AccountKind(posting["other_kind"]), signed)
        amounts["net_minor"] += signed
        amounts[column] += -signed if column in _TAKEN_OFF else abs(signed) if "reserve" in column else signed
    first = postings[0]
    ours = {**references, **_ids_in(first["metadata"])}
    theirs = [value for scheme, value in sorted(references.items()) if scheme not in OUR_SCHEMES]
    line = SettlementLine(
        **_common(window),
        sequence=first["sequence"],
        transaction=next((ours[scheme] for scheme in OUR_SCHEMES if scheme in ours), ""),
        provider_reference=theirs[0] if theirs else "",
        type=EntryKind(first["entry_kind"]).name.lower(),
        effective_on=first["effective_on"],
        available_on=first["available_on"],
    )
    return msgspec.structs.replace(line, **amounts)


def _column(other: AccountKind, signed_minor: int) -> str:
    if other is AccountKind.MERCHANT_RESERVE:
        return "reserve_released_minor" if signed_minor > 0 else "reserve_held_minor"
    return _COLUMNS.get(other, "adjustment_minor")


def _ids_in(metadata: bytes) -> dict[str, str]:
    """Our ids in an entry's metadata; entries of others may hold anything there."""
    try:
        return msgspec.json.decode(metadata, type=dict[str, str])
    except msgspec.DecodeError:
        return {}


def _common(window: SettlementWindow) -> dict[str, Any]:
    return {
        "settlement_id": window.settlement_id,
        "merchant": window.merchant,
        "period_from": window.previous_through + timedelta(days=1) if window.previous_through else None,
        "period_to": window.available_through,
        "cut_off": window.cut,
        "currency": window.currency,
        "payout_id": window.payout_id or "",
    }
