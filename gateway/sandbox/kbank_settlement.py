"""KBank's night run and the report of it. ASSUMED: no sample of the report is public.

CSV in UTF-8 with CRLF. `H`: source, version, merchant, day. `D`: number, type, product, transaction, order, reference,
day, time, gross, fee, VAT, net, batch. `S`: a payment to the bank account: batch, day, gross, fee, VAT, net. `T`:
number of D and the sums of their gross, fee, VAT and net. Days are dd/MM/yyyy, amounts are baht, negative where they
go back.
"""

from collections.abc import Sequence
from datetime import date, time
from typing import Final

from gateway.foundation.clock import BANGKOK
from gateway.sandbox.wire import Row, baht
from gateway.sandbox.world import World

SETTLES_AT: Final = time(23)
"""ASSUMED: when the night run settles the payments of the day."""
TYPES: Final = {"payment": "PAYMENT", "void": "VOID", "refund": "REFUND"}
PRODUCTS: Final = {"promptpay": "QR", "card": "CARD"}


def is_settled(world: World, payment: Row) -> bool:
    """Whether the night run has taken a payment: it can be refunded but no longer voided."""
    return bool(payment["booked_on"] < world.today) or world.now.astimezone(BANGKOK).time() >= SETTLES_AT


def report(merchant_id: str, on: date, movements: Sequence[Row], batches: Sequence[Row]) -> bytes:
    """The settlement report of a business date."""
    records = [["H", "kbank_settlement", "1", merchant_id, f"{on:%d/%m/%Y}"]]
    records += [_detail(number, row) for number, row in enumerate(movements, start=1)]
    records += [_batch(row) for row in batches]
    sums = [sum(column) for column in zip(*(_amounts(row) for row in movements), strict=True)] or [0, 0, 0, 0]
    records.append(["T", str(len(movements)), *(_signed(amount_minor) for amount_minor in sums)])
    return "".join(",".join(record) + "\r\n" for record in records).encode()


def _detail(number: int, row: Row) -> list[str]:
    at = row["occurred_at"].astimezone(BANGKOK)
    return [
        "D",
        str(number),
        TYPES[row["kind"]],
        PRODUCTS[row["method"]],
        row["id"],
        row["charge_id"],
        row["reference"],
        f"{row['booked_on']:%d/%m/%Y}",
        f"{at:%H:%M:%S}",
        *(_signed(amount_minor) for amount_minor in _amounts(row)),
        row["batch_id"] or "",
    ]


def _batch(row: Row) -> list[str]:
    amounts = (row["gross_minor"], row["fee_minor"], row["fee_vat_minor"], row["net_minor"])
    return ["S", row["id"], f"{row['settled_on']:%d/%m/%Y}", *(_signed(amount_minor) for amount_minor in amounts)]


def _amounts(row: Row) -> tuple[int, int, int, int]:
    gross_minor = row["amount_minor"] if row["kind"] == "payment" else -row["amount_minor"]
    fee_minor, vat_minor = row["fee_minor"], row["fee_vat_minor"]
    return gross_minor, fee_minor, vat_minor, gross_minor - fee_minor - vat_minor


def _signed(amount_minor: int) -> str:
    return ("-" if amount_minor < 0 else "") + baht(abs(amount_minor))
