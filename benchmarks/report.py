"""Figures against goals: one table, the same as JSON for a file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report.

    Attributes:
        goal: number in the list of goals; "–" where there is none.
        what: what was measured.
        measured: the figure; None when it was not measured.
        floor: what must be reached; None = no goal, a fact only.
        stretch: what would be excellent.
        at_most: whether small is good.
        detail: range, or why it was not measured.
        unit: shown after figures.
    """

    goal: str
    what: str
    measured: float | None = None
    floor: float | None = None
    stretch: float | None = None
    at_most: bool = False
    detail: str = ""
    unit: str = ""

    @property
    def verdict(self) -> str:
        """`stretch`, `floor`, `MISSED`, `not run`, or nothing where there is no goal."""
        if self.measured is None:
            return "not run"
        if self.floor is None:
            return ""
        sign = -1 if self.at_most else 1
        if self.stretch is not None and sign * self.measured >= sign * self.stretch:
            return "stretch"
        return "floor" if sign * self.measured >= sign * self.floor else "MISSED"


def number(value: float | None, unit: str = "") -> str:
    """A figure with as many digits as it deserves."""
    if value is None:
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if unit == "ms" else f"{value:.2f}"
    return f"{text} {unit}".rstrip()


def table(findings: Sequence[Finding]) -> str:
    """The findings as aligned text."""
    rows = [("goal", "what", "floor", "stretch", "measured", "verdict", "")]
    for finding in findings:
        bound = "≤ " if finding.at_most else "≥ "
        rows.append(
            (
                finding.goal,
                finding.what,
                bound + number(finding.floor, finding.unit) if finding.floor is not None else "",
                number(finding.stretch, finding.unit) if finding.stretch is not None else "",
                number(finding.measured, finding.unit),
                finding.verdict,
                finding.detail,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("─" * width for width in widths[:-1]))
    return "\n".join(lines)


def heading(text: str) -> None:
    """Say what is measured now."""
    print(f"\n── {text}", flush=True)


def write_json(
    path: Path, conditions: dict[str, str], findings: Sequence[Finding], cells: list[dict[str, Any]]
) -> None:
    """Everything that was printed, for a machine."""
    lines = [msgspec.to_builtins(finding) | {"verdict": finding.verdict} for finding in findings]
    document = {"conditions": conditions, "findings": lines, "cells": cells}
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")
