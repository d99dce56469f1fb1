"""From a report to files: CSV for people and spreadsheets, JSON for programs, a manifest beside them.

Nothing is rendered before every identity of the report holds. Two renderings of the same report on the same cut
are the same bytes: the moment of rendering stands in the manifest only. `SHA-256 of rows` is that of the CSV
rows as they stand in the file, header line included, so anybody can recompute it from the file alone.
"""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from ledger.money import to_text
from reports.identities import Identity, require

TIMEZONE: Final = "Asia/Bangkok"
_MONEY_SUFFIX: Final = "_minor"


class ReportHead(msgspec.Struct, frozen=True, kw_only=True):
    """What every report says of itself before its rows.

    Attributes:
        report: its name, which is also the file name; subject: what it is about (a settlement, a run), if anything.
        period_from, period_to: business dates, both included; the same date twice is "as of".
        cut: last sequence of the book that the report has seen.
        control_column: the money column whose total per currency is printed as the control total.
    """

    report: str
    subject: str = ""
    book_id: int
    period_from: date
    period_to: date
    cut: int
    control_column: str

    @property
    def report_id(self) -> str:
        """The same for the same report of the same book, period and cut."""
        parts = (
            self.report,
            self.subject,
            f"b{self.book_id}",
            f"{self.period_from}",
            f"{self.period_to}",
            f"s{self.cut}",
        )
        return ":".join(part for part in parts if part)


class Row(Protocol):
    """A frozen Struct; whatever else its columns are, its money is in one currency."""

    @property
    def currency(self) -> str:
        """Of every `_minor` column of the row."""
        ...


class Report(Protocol):
    """What can be rendered: a head, rows of one Struct type, and what must add up."""

    @property
    def head(self) -> ReportHead:
        """Name, book, period, cut."""
        ...

    @property
    def rows(self) -> Sequence[Row]:
        """The rows in the order of the file."""
        ...

    @property
    def row_type(self) -> type[msgspec.Struct]:
        """Its fields are the columns, also where there are no rows."""
        ...

    def identities(self) -> Sequence[Identity]:
        """What must add up, computed from the rows at this moment."""
        ...


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """A report as files; `summary` is what the manifest repeats."""

    name: str
    csv: bytes
    json: bytes
    summary: Mapping[str, Any]


def render(report: Report) -> Rendered:
    """CSV and JSON of a report that adds up.

    Raises:
        IdentityFailed: it does not.
    """
    identities = require(report.identities())
    columns = [field.name for field in msgspec.structs.fields(report.row_type)]
    names = [name.removesuffix(_MONEY_SUFFIX) for name in columns]
    cells = [[_text(row, column) for column in columns] for row in report.rows]
    body = _csv([names, *cells])
    head = report.head
    summary = {
        "report_id": head.report_id,
        "report": head.report,
        "subject": head.subject,
        "book": head.book_id,
        "period_from": head.period_from.isoformat(),
        "period_to": head.period_to.isoformat(),
        "timezone": TIMEZONE,
        "currency": " ".join(sorted({row.currency for row in report.rows})),
        "ledger_cut": head.cut,
        "rows": len(report.rows),
        "control_column": head.control_column.removesuffix(_MONEY_SUFFIX),
        "control_total": " ".join(
            f"{to_text(total, currency)} {currency}" for currency, total in sorted(_control(report).items())
        ),
        "rows_sha256": hashlib.sha256(body).hexdigest(),
    }
    preamble = "".join(f"# {key}: {value}\n" for key, value in summary.items())
    document = {
        **summary,
        "identities": [msgspec.to_builtins(identity) for identity in identities],
        "data": [dict(zip(names, row, strict=True)) for row in cells],
    }
    return Rendered(
        name=f"{head.report}-{head.subject}" if head.subject else head.report,
        csv=preamble.encode() + body,
        json=msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n",
        summary=summary,
    )


def write(report: Report, folder: Path, *, generated_at: datetime) -> list[Path]:
    """Write `<name>.csv`, `<name>.json` and `<name>.manifest.json` into the folder, which is made if need be.

    Raises:
        IdentityFailed: the report does not add up; nothing is written.
    """
    rendered = render(report)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {
        **rendered.summary,
        "generated_at": generated_at.isoformat(),
        "files": {
            f"{rendered.name}.{kind}": hashlib.sha256(content).hexdigest()
            for kind, content in (("csv", rendered.csv), ("json", rendered.json))
        },
    }
    files = {
        "csv": rendered.csv,
        "json": rendered.json,
        "manifest.json": msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n",
    }
    paths = []
    for kind, content in files.items():
        path = folder / f"{rendered.name}.{kind}"
        path.write_bytes(content)
        paths.append(path)
    return paths


def _control(report: Report) -> dict[str, int]:
    totals: dict[str, int] = {}
    for row in report.rows:
        amount_minor: int = getattr(row, report.head.control_column)
        totals[row.currency] = totals.get(row.currency, 0) + amount_minor
    return totals


def _text(row: Row, column: str) -> str:
    value = getattr(row, column)
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() if column.endswith(_MONEY_SUFFIX):
            return to_text(value, row.currency)
        case date():
            return value.isoformat()
        case _:
            return str(value)


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
