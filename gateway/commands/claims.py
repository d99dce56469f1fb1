"""`quickkub claims`: money that payers claim; operators offer what is held, and let transfers go or refuse them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import rich_click as click
from sqlalchemy import select

from gateway.bootstrap import Services, open_services
from gateway.commands import books
from gateway.commands.merchants import actor, filled
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.settings import Settings
from gateway.payments.claim_disputes import claims_disputed
from gateway.payments.claim_records import ClaimRow
from gateway.payments.errors import PaymentError
from gateway.payments.records import rows_of
from gateway.payments.states import ClaimState
from gateway.payments.tables import refund_claims
from ledger.money import to_text

_REASON: Final = click.option("--reason", required=True, callback=filled, help="Why, for the record.")
Result = TypeVar("Result")
_OVER: Final = (ClaimState.PAID, ClaimState.RETURNED, ClaimState.EXPIRED, ClaimState.REJECTED)


@click.group()
def claims() -> None:
    """Refunds and held money that payers claim with a bank account."""


@claims.command(name="list")
@click.argument("book_id", type=books.NUMBER)
@click.option("--all", "is_all", is_flag=True, help="Also those that have ended.")
@click.option("--disputed", "is_disputed", is_flag=True, help="Those whose money the payer's bank takes as well.")
def list_(book_id: int, *, is_all: bool, is_disputed: bool) -> None:
    """The claims of a book, oldest first."""

    async def found(services: Services) -> list[ClaimRow]:
        if is_disputed:
            async with services.database.read() as connection:
                return await claims_disputed(connection, book_id)
        statement = select(refund_claims).where(refund_claims.c.book_id == book_id)
        if not is_all:
            statement = statement.where(refund_claims.c.state.not_in(_OVER))
        async with services.database.read() as connection:
            return await rows_of(connection, statement.order_by(refund_claims.c.claim_id), ClaimRow)

    for claim in _done(book_id, found):
        print(_line(claim))


@claims.command()
@click.argument("book_id", type=books.NUMBER)
@click.argument("claim_id")
@_REASON
def approve(book_id: int, claim_id: str, reason: str) -> None:
    """Let a claimed transfer go to the bank with the next file; not one that you offered."""

    def act(services: Services) -> Awaitable[ClaimRow]:
        return services.refund_claims.approve(book_id, claim_id, actor=actor(), reason=reason)

    print(_line(_done(book_id, act)))


@claims.command()
@click.argument("book_id", type=books.NUMBER)
@click.argument("claim_id")
@_REASON
def refuse(book_id: int, claim_id: str, reason: str) -> None:
    """Refuse a claim that is in no file yet; the merchant has a refund's money again. Safe to repeat."""

    def act(services: Services) -> Awaitable[ClaimRow]:
        return services.refund_claims.refuse(book_id, claim_id, actor=actor(), reason=reason)

    print(_line(_done(book_id, act)))


@claims.command()
@click.argument("book_id", type=books.NUMBER)
@click.argument("intent_id")
@click.option("--held", "held_id", help="Which receipt, by its id of `unmatched list`; the oldest if not given.")
@_REASON
def offer(book_id: int, intent_id: str, held_id: str | None, reason: str) -> None:
    """Offer a receipt that is held for a payer back; prints which it is and the payer's token, this once."""
    offered = _done(
        book_id,
        lambda services: services.held_money.offer(
            book_id, intent_id, account_id=None, actor=actor(), reason=reason, held_id=held_id
        ),
    )
    print(f"claim    {offered.id}")
    print(f"held     {offered.held}")
    print(f"amount   {to_text(offered.amount, offered.currency.upper())} {offered.currency.upper()}")
    print(f"token    {offered.token}")
    print(f"until    {offered.expires_at:%Y-%m-%d %H:%M} UTC")


def _done(book_id: int, act: Callable[[Services], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with resolved(Settings.from_environment()) as settings, open_services(settings) as services:
            await books.must_exist(services.database, book_id)
            return await act(services)

    try:
        return asyncio.run(run())
    except PaymentError as error:
        raise click.ClickException(f"{error.code}: {error.detail}") from error
    except LookupError as error:
        raise click.ClickException(str(error)) from error


def _line(claim: ClaimRow) -> str:
    amount = f"{to_text(claim.amount_minor, claim.currency)} {claim.currency}"
    what = claim.refund_id or "held money"
    destination = f"{claim.bank_code} ••••{claim.last_four}" if claim.bank_code else "no bank account yet"
    disputed = "" if claim.disputed_at is None else f"  DISPUTED since {claim.disputed_at:%Y-%m-%d %H:%M} UTC"
    return f"{claim.claim_id}  {claim.intent_id}  {what}  {amount}  {claim.state}  {destination}{disputed}"
