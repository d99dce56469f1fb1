"""What the settlement room tells the reports: windows, payouts, and what each payout file says of itself.

`write_finance_reports` writes all that finance reads of a book and a period, each report checked as it is rendered.
"""

from datetime import date, datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import business_date_of
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.settlement.files import content_context
from gateway.settlement.payout_files import pain_001
from gateway.settlement.payouts import Payout, PayoutState, of_row
from gateway.settlement.schedules import PAYOUT_FEE
from gateway.settlement.tables import payout_files, payouts, settlements
from reports import rendering
from reports.finance.merchant_settlement import SettlementWindow, merchant_settlement
from reports.finance.payouts import payout_report
from reports.finance.reconciliation_summary import finished_runs, reconciliation_reports
from reports.finance.trial_balance import trial_balance
from reports.rendering import Report
from reports.rows import PayoutFileTotal, PayoutLine

_NOT_OWED = frozenset({PayoutState.PAID, PayoutState.RETURNED, PayoutState.REJECTED})


async def write_finance_reports(
    database: Database,
    vault: Vault,
    *,
    book_id: int,
    folder: Path,
    from_on: date,
    to_on: date,
    generated_at: datetime,
) -> list[Path]:
    """Trial balance, payouts, and each settlement and reconciliation run of the period; returns the files.

    Raises:
        IdentityFailed: a report does not add up. Those before it are written, it and those after it are not.
    """
    async with database.read() as connection:
        windows = await settlement_windows(connection, book_id, from_on=from_on, to_on=to_on)
        rows = await payout_lines(connection, book_id)
        files = await file_totals(connection, vault, book_id)
    async with database.ledger_pool.acquire() as ledger:
        reports: list[Report] = [
            await trial_balance(ledger, book_id, from_on=from_on, to_on=to_on),
            await payout_report(ledger, book_id, rows=rows, files=files, as_of=to_on),
        ]
        reports += [await merchant_settlement(ledger, book_id, window) for window in windows]
        for business_on in await finished_runs(ledger, book_id, from_on=from_on, to_on=to_on):
            reports += await reconciliation_reports(ledger, book_id, business_on=business_on)
    return [path for report in reports for path in rendering.write(report, folder, generated_at=generated_at)]


async def settlement_windows(
    connection: AsyncConnection, book_id: int, *, from_on: date, to_on: date
) -> list[SettlementWindow]:
    """The closed settlements of a book with a business date in the period, oldest first."""
    s = settlements.c
    statement = (
        select(*(s[name] for name in SettlementWindow.__struct_fields__ if name != "merchant"), s.account_id)
        .where(s.book_id == book_id, s.state == "closed", s.business_date.between(from_on, to_on))
        .order_by(s.business_date, s.settlement_id)
    )
    return [
        SettlementWindow(
            **{name: value for name, value in row.items() if name != "account_id"}, merchant=row["account_id"]
        )
        for row in (await connection.execute(statement)).mappings()
    ]


async def payout_lines(connection: AsyncConnection, book_id: int) -> list[PayoutLine]:
    """Every payout of a book, oldest first."""
    statement = select(payouts).where(payouts.c.book_id == book_id).order_by(payouts.c.payout_id)
    return [_line(of_row(row)) for row in (await connection.execute(statement)).mappings()]


async def file_totals(connection: AsyncConnection, vault: Vault, book_id: int) -> list[PayoutFileTotal]:
    """Count and control sum of every payout file of a book, read out of the very bytes that went to the bank.

    Files of transfers to payers are none of it.
    """
    f, p = payout_files.c, payouts.c
    holds_payouts = select(p.payout_id).where(p.book_id == f.book_id, p.payout_file_id == f.payout_file_id).exists()
    statement = select(f.payout_file_id, f.currency, f.sealed_content).where(f.book_id == book_id, holds_payouts)
    totals = []
    for file_id, currency, sealed in await connection.execute(statement.order_by(f.payout_file_id)):
        count, control_minor = pain_001.totals(vault.open_house(sealed, context=content_context(file_id)), currency)
        totals.append(PayoutFileTotal(file_id=file_id, count=count, control_minor=control_minor, currency=currency))
    return totals


def _line(payout: Payout) -> PayoutLine:
    reserved = payout.reserved_sequence is not None
    return PayoutLine(
        payout_id=payout.payout_id,
        merchant=payout.account_id,
        bank=payout.bank_code,
        account_masked=f"••••{payout.last_four}",
        amount_minor=payout.amount_minor,
        fee_minor=PAYOUT_FEE.amount_minor if reserved else 0,
        fee_vat_minor=PAYOUT_FEE.vat_minor if reserved else 0,
        currency=payout.currency,
        status=payout.state,
        is_owed=reserved and payout.state not in _NOT_OWED,
        created_on=business_date_of(payout.requested_at),
        submitted_on=business_date_of(payout.submitted_at) if payout.submitted_at else None,
        value_on=payout.value_on,
        bank_reference=payout.bank_reference or "",
        file_id=payout.payout_file_id or "",
        reject_code=payout.reject_code or "",
    )
