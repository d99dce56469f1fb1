"""`quickkub unmatched`: money that matches no payment, what it comes to, and whose it is."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import rich_click as click

from gateway.bootstrap import Services, open_services
from gateway.commands import books
from gateway.commands.merchants import actor, filled
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.settings import Settings
from gateway.payments.errors import PaymentError
from gateway.settlement.receipts import TargetKind
from gateway.settlement.unmatched import Unmatched, UnmatchedReason
from gateway.settlement.unmatched import unmatched as read_unmatched
from ledger.money import to_text

_REASON: Final = click.option("--reason", required=True, callback=filled, help="Why, for the record.")
_PAGE: Final = 100
Result = TypeVar("Result")


@click.group()
def unmatched() -> None:
    """Money that matches no payment."""


@unmatched.command(name="list")
@click.argument("book_id", type=books.NUMBER)
@click.option("--only", type=click.Choice([reason.value for reason in UnmatchedReason]), help="Of this reason.")
@click.option("--account", help="Of this merchant.")
def list_(book_id: int, only: str | None, account: str | None) -> None:
    """Every row, oldest first, then the sums of the book and how they tie out with the ledger."""
    reason = None if only is None else UnmatchedReason(only)

    async def found(services: Services) -> list[Unmatched]:
        pages, after = [], ""
        while True:
            page = await read_unmatched(
                services.database, book_id, reason=reason, account=account, after=after, limit=_PAGE
            )
            pages.append(page)
            if not page.has_more:
                return pages
            after = page.rows[-1].id

    pages = _done(book_id, found)
    for row in (row for page in pages for row in page.rows):
        amount = f"{to_text(row.amount_minor, row.currency)} {row.currency}"
        claim = f"  claim {row.claim}" if row.claim else ""
        print(f"{row.id}  {row.since:%Y-%m-%d}  {row.reason}  {row.provider}  {row.subject}  {amount}{claim}")
    for each in pages[-1].sums:
        print(f"{each.reason:<18} {each.rows:>6}  {to_text(each.amount_minor, each.currency)} {each.currency}")
    for tie in pages[-1].tie_outs:
        rows, ledger = to_text(tie.rows_minor, tie.currency), to_text(tie.ledger_minor, tie.currency)
        difference = to_text(tie.difference_minor, tie.currency)
        print(f"{tie.account_kind}  rows {rows}  ledger {ledger}  difference {difference} {tie.currency}")


@unmatched.command()
@click.argument("book_id", type=books.NUMBER)
@click.argument("line_id")
@_REASON
def note(book_id: int, line_id: str, reason: str) -> None:
    """Take a credit of the bank's statement (an `unknown_line`) for money of nobody known. Safe to repeat."""
    receipt = _done(book_id, lambda services: services.receipts.note(book_id, line_id, actor=actor(), reason=reason))
    print(f"{receipt.receipt_id}  {to_text(receipt.amount_minor, receipt.currency)} {receipt.currency}")


@unmatched.command()
@click.argument("book_id", type=books.NUMBER)
@click.argument("receipt_id")
@click.option("--payment", "payment_id", help="The payment that it belongs to, or")
@click.option("--merchant", "merchant_id", help="the merchant.")
@_REASON
def assign(book_id: int, receipt_id: str, payment_id: str | None, merchant_id: str | None, reason: str) -> None:
    """Say whose a receipt is. Safe to repeat. Held money goes back with `quickkub claims offer`."""
    target = payment_id or merchant_id
    if target is None or (payment_id and merchant_id):
        raise click.UsageError("name either --payment or --merchant")
    kind: TargetKind = "payment" if payment_id else "merchant"
    _done(
        book_id,
        lambda services: services.receipts.assign(book_id, receipt_id, kind, target, actor=actor(), reason=reason),
    )
    print(f"{receipt_id}  {target}")


@unmatched.command()
@click.argument("book_id", type=books.NUMBER)
@click.argument("held_id")
@_REASON
def accept(book_id: int, held_id: str, reason: str) -> None:
    """Take a receipt that is held for a payer for its merchant, who asked for it. Safe to repeat."""
    payment = _done(
        book_id, lambda services: services.accepting.accept_receipt(book_id, held_id, actor=actor(), reason=reason)
    )
    currency = payment.currency.upper()
    captured, held = to_text(payment.amount_captured, currency), to_text(payment.amount_held, currency)
    print(f"{payment.id}  {payment.status}  captured {captured}  still held {held} {currency}")


def _done(book_id: int, act: Callable[[Services], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with resolved(Settings.from_environment()) as settings, open_services(settings) as services:
            await books.must_exist(services.database, book_id)
            return await act(services)

    try:
        return asyncio.run(run())
    except PaymentError as error:
        raise click.ClickException(f"{error.code}: {error.detail}") from error
