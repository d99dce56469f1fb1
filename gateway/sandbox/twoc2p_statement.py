"""2C2P's reconcile file, v2.4, without instalments: 67 columns, no header line.

Before the rows (D) of each scheme or channel stands their total (H).

ASSUMED: refunds and voids are rows with negative amounts; a void bears the tranRef of its payment; a day without a
movement is one total over nothing.
"""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from gateway.foundation.clock import BANGKOK
from gateway.sandbox.wire import Row, baht

COLUMNS: Final = 67
DATE_FORMAT: Final = "%d/%m/%Y"
SCHEMES: Final = {"card": "VI", "promptpay": "PPQR", "truemoney": "TM", "shopeepay": "SHP", "rabbit_linepay": "LINE"}
"""ASSUMED but for cards: the words for channels."""
ZERO_COLUMNS: Final = (19, 20, 28, 31, 42)
ZERO: Final = "0.00000"


def reconcile_file(merchant_id: str, rows: Sequence[Row], payments: dict[str, str]) -> bytes:
    """The file of a day.

    Args:
        merchant_id: whose.
        rows: what moved, of `acquirer.of_day`.
        payments: charge id → tranRef of its payment.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    schemes = sorted({SCHEMES[row["method"]] for row in rows}) or [""]
    for scheme in schemes:
        inside = [row for row in rows if not scheme or SCHEMES[row["method"]] == scheme]
        writer.writerow(_total(merchant_id, scheme, inside))
        for number, row in enumerate(inside, start=1):
            writer.writerow(_row(merchant_id, number, row, payments))
    return file.getvalue().encode()


def _total(merchant_id: str, scheme: str, rows: Sequence[Row]) -> list[str]:
    gross = sum(_gross(row) for row in rows)
    fee, vat = sum(row["fee_minor"] for row in rows), sum(row["fee_vat_minor"] for row in rows)
    return _line(
        {
            1: rows[0]["batch_id"] or "" if rows else "",
            2: str(len(rows)),
            3: "H",
            4: "QuickKub test",
            12: merchant_id,
            16: scheme,
            18: _signed(gross),
            21: _signed(fee),
            22: _signed(vat),
            29: "0.00",
            30: _signed(gross - fee - vat),
            32: "THB",
            33: "000000",
            45: "0",
        }
    )


def _row(merchant_id: str, number: int, row: Row, payments: dict[str, str]) -> list[str]:
    at: datetime = row["occurred_at"].astimezone(BANGKOK)
    gross, fee, vat = _gross(row), row["fee_minor"], row["fee_vat_minor"]
    reference = payments[row["charge_id"]] if row["kind"] == "void" else row["id"]
    scheme = SCHEMES[row["method"]]
    return _line(
        {
            1: row["batch_id"] or "",
            2: str(number),
            3: "D",
            4: "QuickKub test",
            6: f"{row['booked_on']:{DATE_FORMAT}}",
            7: "QuickKub test",
            8: at.strftime(DATE_FORMAT),
            9: at.strftime("%H%M%S"),
            10: f"{row['booked_on']:{DATE_FORMAT}}",
            11: "000000" if row["kind"] == "payment" else at.strftime("%H%M%S"),
            12: merchant_id,
            13: row["charge_reference"],
            15: "001",
            16: scheme,
            17: "TEST BANK",
            18: f"{_signed(gross)}000",
            21: f"{_signed(fee)}000",
            22: f"{_signed(vat)}000",
            29: ZERO,
            30: f"{_signed(gross - fee - vat)}000",
            32: "THB",
            33: row["id"][-6:],
            36: row["charge_details"].get("userDefined1", ""),
            43: "TH",
            44: scheme,
            45: reference,
            65: row["id"],
            **dict.fromkeys(ZERO_COLUMNS, ZERO),
        }
    )


def _gross(row: Row) -> int:
    return int(row["amount_minor"] if row["kind"] == "payment" else -row["amount_minor"])


def _signed(amount_minor: int) -> str:
    return f"{'-' if amount_minor < 0 else ''}{baht(abs(amount_minor))}"


def _line(cells: dict[int, str]) -> list[str]:
    return [cells.get(column, "") for column in range(1, COLUMNS + 1)]
