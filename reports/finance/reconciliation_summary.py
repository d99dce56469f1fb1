"""What became of the statement lines of a business date, and whether statements, books and providers agree.

Two reports of one run of `reconciliation/runs.py`, from the result that it stored: the outcomes of all lines, which
must come to the lines as the tables count them, and the tie-out, where every difference has a label and what no
label explains stands in a row of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Final

import msgspec

from ledger.feed import head
from ledger.posting import Connection
from reconciliation.runs import Counted, RunResult
from reports import identities
from reports.identities import Identity
from reports.rendering import ReportHead
from reports.rows import ReconciliationLine, TieOutLine
from reports.sql import QUERIES

CURRENCY: Final = "THB"
"""Of a source whose files brought no line."""


class RunNotFinished(Exception):
    """No reconciliation run of that business date was finished."""

    code = "reconciliation_run_not_finished"
    retryable = True


class ReconciliationSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Outcomes of the lines, to be rendered.

    Attributes:
        lines, amounts_minor: what the tables hold for the run, by source.
    """

    head: ReportHead
    rows: tuple[ReconciliationLine, ...]
    lines: Mapping[str, int]
    amounts_minor: Mapping[str, int]
    row_type: type[msgspec.Struct] = ReconciliationLine

    def identities(self) -> Sequence[Identity]:
        """Matched, unmatched, duplicate and rejected are all lines, in count and amount."""
        return identities.reconciliation_summary(self.rows, lines=self.lines, amounts_minor=self.amounts_minor)


class TieOut(msgspec.Struct, frozen=True, kw_only=True):
    """Statement against books, to be rendered."""

    head: ReportHead
    rows: tuple[TieOutLine, ...]
    row_type: type[msgspec.Struct] = TieOutLine

    def identities(self) -> Sequence[Identity]:
        """Theirs less ours is the sum of the labelled differences and the unexplained rest."""
        return identities.tie_out(self.rows)


async def reconciliation_reports(
    connection: Connection, book_id: int, *, business_on: date
) -> tuple[ReconciliationSummary, TieOut]:
    """Build both reports of the run of a business date.

    Raises:
        RunNotFinished: there is none.
    """
    run = await connection.fetchrow(QUERIES["reconciliation_run"], book_id, business_on)
    if run is None:
        raise RunNotFinished(f"book {book_id}, {business_on}")
    result = msgspec.json.decode(run["result"], type=RunResult)
    counted = await connection.fetch(QUERIES["statement_lines"], book_id, business_on)
    currencies = {row["source"]: row["currency"] or CURRENCY for row in counted}
    cut = await head(connection, book_id)
    return (
        ReconciliationSummary(
            head=_head("reconciliation_summary", result, cut, control_column="amount_minor"),
            rows=tuple(_outcomes(result, currencies)),
            lines={row["source"]: row["lines"] for row in counted},
            amounts_minor={row["source"]: row["amount_minor"] for row in counted},
        ),
        TieOut(head=_head("tie_out", result, cut, control_column="unexplained_minor"), rows=tuple(_ties(result))),
    )


async def finished_runs(connection: Connection, book_id: int, *, from_on: date, to_on: date) -> list[date]:
    """The business dates of a period that have a finished run, oldest first."""
    rows = await connection.fetch(QUERIES["finished_runs"], book_id, from_on, to_on)
    return [row["business_on"] for row in rows]


def _head(report: str, result: RunResult, cut: int, *, control_column: str) -> ReportHead:
    return ReportHead(
        report=report,
        subject=result.business_on.isoformat(),
        book_id=result.book_id,
        period_from=result.business_on,
        period_to=result.business_on,
        cut=cut,
        control_column=control_column,
    )


def _outcomes(result: RunResult, currencies: Mapping[str, str]) -> Iterator[ReconciliationLine]:
    for source in result.sources:
        outcomes: dict[str, Counted] = {
            **{f"matched:{rule}": counted for rule, counted in sorted(source.matched_by_rule.items())},
            "suggested": source.suggested,
            "unmatched": source.unmatched,
            "duplicate": source.duplicates,
            "rejected": source.rejected,
        }
        for outcome, counted in outcomes.items():
            yield ReconciliationLine(
                run_id=result.run_id,
                business_date=result.business_on,
                source=source.source,
                outcome=outcome,
                lines=counted.count,
                amount_minor=counted.amount_minor,
                currency=currencies.get(source.source, CURRENCY),
            )


def _ties(result: RunResult) -> Iterator[TieOutLine]:
    for bank in result.banks:
        yield TieOutLine(
            run_id=result.run_id,
            subject=f"bank:{bank.bank}",
            currency=bank.currency,
            theirs_minor=bank.closing_minor - bank.opening_minor,
            ours_minor=bank.ledger_closing_minor - bank.ledger_opening_minor,
            explained_minor=sum(part.amount_minor for part in bank.differences),
            explanation=" ".join(f"{part.label}({part.count})" for part in bank.differences),
            unexplained_minor=bank.remainder_minor,
        )
    for provider in result.providers:
        explained = sum(part.amount_minor for part in provider.differences)
        yield TieOutLine(
            run_id=result.run_id,
            subject=f"provider:{provider.provider}",
            currency=provider.currency,
            theirs_minor=provider.provider_minor,
            ours_minor=provider.ledger_minor,
            # The run states these as ours less theirs.
            explained_minor=-explained,
            explanation=" ".join(f"{part.label}({part.count})" for part in provider.differences),
            unexplained_minor=-provider.remainder_minor,
        )
