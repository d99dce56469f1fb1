"""Breaks: what does not agree, why as far as the statements tell, and whose it is to clear up.

Every run works out anew what is open. A difference that is new opens a break, one that is still there keeps its
break (whose kind may change: what was `timing` yesterday is missing today), one that is gone closes it. So a break
needs nobody to remember it, and cannot be forgotten.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import Any, Final

import msgspec

from ledger.business_days import BusinessCalendar
from ledger.money import to_text
from reconciliation.net_settlement import (
    BillerFee,
    OpenBatch,
    OpenTransfer,
    open_batches,
    open_biller_fees,
    open_transfers,
)
from reconciliation.sql import Connection, queries

TIMING_BUSINESS_DAYS: Final = 2
"""T+2: how long a difference may be one of time only."""


class BreakKind(StrEnum):
    """What is wrong."""

    MISSING_IN_LEDGER = "missing_in_ledger"
    MISSING_AT_PROVIDER = "missing_at_provider"
    MISSING_AT_BANK = "missing_at_bank"
    AMOUNT_DIFFERS = "amount_differs"
    DUPLICATE = "duplicate"
    TIMING = "timing"
    UNKNOWN_LINE = "unknown_line"


OWNERS: Final[Mapping[BreakKind, str]] = {
    BreakKind.MISSING_IN_LEDGER: "payments",
    BreakKind.MISSING_AT_PROVIDER: "provider",
    BreakKind.MISSING_AT_BANK: "treasury",
    BreakKind.AMOUNT_DIFFERS: "finance",
    BreakKind.DUPLICATE: "finance",
    BreakKind.TIMING: "nobody yet",
    BreakKind.UNKNOWN_LINE: "treasury",
}
"""Which desk clears up a kind of break."""


class Break(msgspec.Struct, frozen=True, kw_only=True):
    """A difference.

    Attributes:
        subject: what it is about; there is one open break of a subject: `line:stl_…`, `expected:12-1`,
            `transfer:stl_…`, `batch:stl_…`, `unsettled:scb:THB:2026-11-23`, `sent:clm_…`.
        amount_minor: what is at stake, signed in our view; for `amount_differs` statement less books.
        since_on: business date of the oldest thing in it, from which its age counts.
        reason: a sentence for a human.
    """

    subject: str
    kind: BreakKind
    stage: str
    provider: str | None
    amount_minor: int
    currency: str
    since_on: date
    reason: str
    owner: str
    break_id: str = ""

    def age_days(self, on: date) -> int:
        """Calendar days open on that date."""
        return (on - self.since_on).days


class SentTransfer(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer that was handed to the bank and that no entry expects, because it is booked by the bank's line.

    Attributes:
        subject: id of what it pays; end_to_end_id: what the bank calls it.
        amount_minor: > 0.
        sent_on: business date on which the bank had it.
    """

    subject: str
    end_to_end_id: str
    amount_minor: int
    currency: str
    sent_on: date


async def refresh(
    connection: Connection,
    *,
    book_id: int,
    through: date,
    run_id: str,
    calendar: BusinessCalendar,
    new_id: Callable[[str], str],
    sent: Sequence[SentTransfer] = (),
) -> None:
    """Open, keep and close breaks so that they are what does not agree through that business date. One transaction.

    Args:
        sent: transfers whose line is waited for.
    """
    async with connection.transaction():
        judge = _Judge(through, calendar)
        found = await _find(connection, book_id, through, judge)
        found += [judge.sent(transfer) for transfer in sent if transfer.sent_on <= through]
        subjects = [each.subject for each in found]
        sql = queries("breaks")
        await connection.execute(sql["close_breaks"], book_id, through, run_id, subjects)
        columns = ("kind", "stage", "provider", "amount_minor", "currency", "since_on", "reason", "owner")
        await connection.execute(
            sql["keep_breaks"],
            book_id,
            run_id,
            [new_id("brk") for _ in found],
            subjects,
            *([getattr(each, column) for each in found] for column in columns),
        )


async def listed(
    connection: Connection,
    *,
    book_id: int,
    state: str | None = "open",
    after: Break | None = None,
    limit: int = 1_000,
) -> list[Break]:
    """Breaks, oldest first; follow with `after` = the last one got."""
    since_on, break_id = (None, None) if after is None else (after.since_on, after.break_id)
    rows = await connection.fetch(queries("breaks")["listed"], book_id, state, since_on, break_id, limit)
    return [
        Break(**{name: row[name] for name in Break.__struct_fields__ if name != "kind"}, kind=BreakKind(row["kind"]))
        for row in rows
    ]


async def _find(connection: Connection, book_id: int, through: date, judge: "_Judge") -> list[Break]:
    sql = queries("breaks")
    transfers = await open_transfers(connection, book_id=book_id, through=through)
    batches = await open_batches(connection, book_id=book_id, through=through)
    fees = [
        fee
        for fee in await open_biller_fees(connection, book_id=book_id, through=through)
        if fee.fee_minor and fee.vat_minor and not fee.provable
    ]
    lines = [dict(row) for row in await connection.fetch(sql["open_lines"], book_id, through)]
    # Said once: a batch's credit, a differing transfer or fee is not open line by line as well, nor both halves of a
    # differing pair.
    told = {transfer.line_id for transfer in transfers if transfer.difference_minor}
    told.update(batch.line_id for batch in batches)
    told.update(line_id for fee in fees for line_id in fee.line_ids)
    told.update(line["near_line_id"] for line in lines if line["near_line_id"] is not None)
    return [
        *(judge.transfer(transfer) for transfer in transfers if transfer.difference_minor or _waits(transfer)),
        *(judge.batch(batch) for batch in batches if not batch.provable),
        *(judge.fee(fee) for fee in fees),
        *(judge.line(line) for line in lines if line["line_id"] not in told),
        *[judge.expected(dict(row)) for row in await connection.fetch(sql["open_expected"], book_id, through)],
        *[judge.unsettled(dict(row)) for row in await connection.fetch(sql["unsettled"], book_id, through)],
    ]


def _waits(transfer: OpenTransfer) -> bool:
    """Whether the bank paid and only our books keep the transfer from being settled."""
    return transfer.bank_line_id is not None and transfer.unmatched_count > 0


class _Judge:
    """Says what an open thing is, on a business date."""

    def __init__(self, through: date, calendar: BusinessCalendar) -> None:
        self._through = through
        self._calendar = calendar

    def _due_on(self, since_on: date) -> date:
        return self._calendar.add(since_on, TIMING_BUSINESS_DAYS)

    def _timing_or(self, kind: BreakKind, since_on: date) -> tuple[BreakKind, str]:
        due_on = self._due_on(since_on)
        if self._through <= due_on:
            return BreakKind.TIMING, f"; it may still come until {due_on} (T+{TIMING_BUSINESS_DAYS})"
        return kind, f"; it was due on {due_on} (T+{TIMING_BUSINESS_DAYS})"

    def transfer(self, transfer: OpenTransfer) -> Break:
        """A transfer that does not add up, or whose lines are not all in our books."""
        name, currency = transfer.batch_reference or transfer.line_id, transfer.currency
        if transfer.difference_minor:
            kind, amount_minor = BreakKind.AMOUNT_DIFFERS, transfer.difference_minor
            reason = (
                f"transfer {name} took {to_text(transfer.transfer_minor, currency)} from the balance, the "
                f"{transfer.item_count} lines available since the transfer before make "
                f"{to_text(transfer.items_minor, currency)}: nothing was booked"
            )
        else:
            kind, amount_minor = BreakKind.MISSING_IN_LEDGER, transfer.transfer_minor
            reason = (
                f"transfer {name} is at the bank and waits to be booked: {transfer.unmatched_count} of its "
                f"{transfer.item_count} lines are not in our books"
            )
        return _break(
            f"transfer:{transfer.line_id}",
            kind,
            stage="bank",
            provider=transfer.provider,
            amount_minor=amount_minor,
            currency=currency,
            since_on=transfer.bank_on or self._through,
            reason=reason,
        )

    def batch(self, batch: OpenBatch) -> Break:
        """A bank credit that does not add up with its lines, or whose lines are not all in our books."""
        kind, amount_minor, why = self._batch(batch)
        paid = to_text(batch.bank_minor, batch.currency)
        return _break(
            f"batch:{batch.line_id}",
            kind,
            stage="bank",
            provider=batch.provider,
            amount_minor=amount_minor,
            currency=batch.currency,
            since_on=batch.bank_on,
            reason=f"the bank shows {batch.provider}'s batch {batch.batch_reference} of {paid}, {why}: "
            "nothing was booked",
        )

    def _batch(self, batch: OpenBatch) -> tuple[BreakKind, int, str]:
        currency = batch.currency
        if batch.item_count == 0:
            kind, when = self._timing_or(BreakKind.MISSING_AT_PROVIDER, batch.bank_on)
            return kind, batch.bank_minor, f"no line of {batch.provider}'s statements makes it{when}"
        if batch.difference_minor:
            made = to_text(batch.items_minor, currency)
            why = f"the {batch.item_count} lines that it should pay for make {made}"
            return BreakKind.AMOUNT_DIFFERS, batch.difference_minor, why
        if batch.misstated_minor:
            why = f"{batch.provider} says that it paid {to_text(batch.stated_minor or 0, currency)}"
            return BreakKind.AMOUNT_DIFFERS, batch.misstated_minor, why
        if batch.unmatched_count:
            why = f"{batch.unmatched_count} of its {batch.item_count} lines are not in our books"
            return BreakKind.MISSING_IN_LEDGER, batch.bank_minor, why
        return BreakKind.UNKNOWN_LINE, batch.bank_minor, "more fees are given back in it than taken"

    @staticmethod
    def fee(fee: BillerFee) -> Break:
        """A fee whose VAT is not what the law says."""
        vat, charged, lawful = (
            to_text(amount_minor, fee.currency)
            for amount_minor in (fee.vat_minor, fee.fee_minor, fee.expected_vat_minor)
        )
        return _break(
            f"fee:{fee.bank_account}:{fee.provider}:{fee.bank_on}",
            BreakKind.AMOUNT_DIFFERS,
            stage="bank",
            provider=fee.provider,
            amount_minor=fee.expected_vat_minor - fee.vat_minor,
            currency=fee.currency,
            since_on=fee.bank_on,
            reason=f"VAT on {fee.provider}'s fee of {charged} is {vat}, the law's rate gives {lawful}: "
            "nothing was booked",
        )

    def line(self, line: Mapping[str, Any]) -> Break:
        """A line without its other half."""
        kind, amount_minor, reason = self._line(line)
        return _break(
            f"line:{line['line_id']}",
            kind,
            stage=line["stage"],
            provider=line["provider"],
            amount_minor=amount_minor,
            currency=line["currency"],
            since_on=line["value_on"],
            reason=reason,
        )

    def _line(self, line: Mapping[str, Any]) -> tuple[BreakKind, int, str]:
        amount_minor, currency = line["amount_minor"], line["currency"]
        who = "the bank" if line["side"] == "bank" else line["provider"]
        what = f"{line['kind']} of {to_text(amount_minor, currency)} {currency}"
        if line["reference"]:
            what += f" ({line['reference']})"
        if line["near"] is not None:
            net = " net of an unstated fee" if line["fee_minor"] is None else ""
            reason = (
                f"{who} shows a {what}{net}, {line['near']} of the same name says "
                f"{to_text(line['near_minor'], line['near_currency'])} {line['near_currency']}"
            )
            return BreakKind.AMOUNT_DIFFERS, amount_minor - line["near_minor"], reason
        if line["name_taken"]:
            return BreakKind.DUPLICATE, amount_minor, f"{who} shows another {what}; its partner is matched already"
        return self._unpaired(line, f"{who} shows a {what}")

    def _unpaired(self, line: Mapping[str, Any], shown: str) -> tuple[BreakKind, int, str]:
        amount_minor, since_on = line["amount_minor"], line["value_on"]
        if line["kind"] in {"credit", "debit", "fee", "vat", "dispute"}:
            return BreakKind.UNKNOWN_LINE, amount_minor, f"{shown}: {line['description'] or 'no text'}"
        if line["kind"] == "payout_return":
            kind, when = self._timing_or(BreakKind.MISSING_IN_LEDGER, since_on)
            return kind, amount_minor, f"{shown} that is not booked{when}"
        if line["stage"] in {"provider", "payout"}:
            return BreakKind.MISSING_IN_LEDGER, amount_minor, f"{shown} that our books do not have"
        if line["side"] == "bank":
            kind, when = self._timing_or(BreakKind.MISSING_AT_PROVIDER, since_on)
            return kind, amount_minor, f"{shown} that {line['provider']}'s statement does not show{when}"
        missing = BreakKind.MISSING_AT_BANK if line["stage"] == "bank" else BreakKind.MISSING_AT_PROVIDER
        kind, when = self._timing_or(missing, since_on)
        where = "the bank" if line["stage"] == "bank" else "its list of transfers"
        return kind, amount_minor, f"{shown} that {where} does not show{when}"

    def expected(self, row: Mapping[str, Any]) -> Break:
        """Something in our books that no statement shows."""
        payout = row["stage"] == "payout"
        missing = BreakKind.MISSING_AT_BANK if payout else BreakKind.MISSING_AT_PROVIDER
        kind, when = self._timing_or(missing, row["effective_on"])
        shown = f"{row['kind'].replace('_', ' ')} of {to_text(row['amount_minor'], row['currency'])} {row['currency']}"
        where = "no bank statement" if payout else f"no statement of {row['provider']}"
        return _break(
            f"expected:{row['expected_id']}",
            kind,
            stage=row["stage"],
            provider=row["provider"],
            amount_minor=row["amount_minor"],
            currency=row["currency"],
            since_on=row["effective_on"],
            reason=f"entry {row['sequence']}, {shown}, is on {where}{when}",
        )

    def sent(self, transfer: SentTransfer) -> Break:
        """A transfer that the bank has and its statement does not."""
        kind, when = self._timing_or(BreakKind.MISSING_AT_BANK, transfer.sent_on)
        amount = f"{to_text(transfer.amount_minor, transfer.currency)} {transfer.currency}"
        return _break(
            f"sent:{transfer.subject}",
            kind,
            stage="payout",
            provider=None,
            amount_minor=-transfer.amount_minor,
            currency=transfer.currency,
            since_on=transfer.sent_on,
            reason=f"transfer {transfer.end_to_end_id} of {amount}, sent to the bank, is on no bank statement{when}",
        )

    def unsettled(self, row: Mapping[str, Any]) -> Break:
        """Lines that provider and books agree on and whose money has not reached the bank."""
        available_on = row["available_on"]
        what = f"{row['line_count']} lines of {row['provider']}"
        if self._through < available_on:
            kind, reason = BreakKind.TIMING, f"{what} are not transferable before {available_on}"
        else:
            kind, when = self._timing_or(BreakKind.MISSING_AT_BANK, available_on)
            reason = f"the money of {what}, transferable from {available_on}, is not booked at the bank{when}"
        return _break(
            f"unsettled:{row['provider']}:{row['currency']}:{available_on}",
            kind,
            stage="bank",
            provider=row["provider"],
            amount_minor=row["amount_minor"],
            currency=row["currency"],
            since_on=row["since_on"],
            reason=reason,
        )


def _break(subject: str, kind: BreakKind, **fields: Any) -> Break:
    return Break(subject=subject, kind=kind, owner=OWNERS[kind], **fields)
