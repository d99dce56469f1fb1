"""Every report of a book and period as files: what finance and auditors get, written in one go."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import msgspec

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.settlement.files import PayoutFiles
from gateway.settlement.reporting import file_totals, payout_lines, write_finance_reports
from reports.audit.export import export


class ReportFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What was written.

    Attributes:
        payouts: merchant's payouts of the book: id, amount in minor units, state.
    """

    files: Sequence[Path]
    payouts: Sequence[tuple[str, int, str]]


async def write_reports(
    database: Database, vault: Vault, book_id: int, *, folder: Path, from_on: date, to_on: date
) -> ReportFiles:
    """Write the finance reports of a period, the payout files as the bank got them, and the audit export.

    Args:
        folder: where to; made if need be, same names are replaced.
        from_on: first business date of the period; to_on: the last.

    Raises:
        IdentityFailed: a report does not add up; the files written before it are whole.
    """
    now = real_now()
    written = await write_finance_reports(
        database, vault, book_id=book_id, folder=folder, from_on=from_on, to_on=to_on, generated_at=now
    )
    async with database.read() as rows:
        payouts = await payout_lines(rows, book_id)
        totals = await file_totals(rows, vault, book_id)
    files = PayoutFiles(database, vault)
    for total in totals:
        path = folder / f"{total.file_id}.xml"
        path.write_bytes(await files.content(book_id, total.file_id))
        written.append(path)
    async with database.ledger_pool.acquire() as connection:
        exported = await export(connection, book_id, folder / "audit", generated_at=now)
    return ReportFiles(
        files=(*written, *exported.files),
        payouts=tuple((line.payout_id, line.amount_minor, line.status) for line in payouts),
    )
