"""`quickkub overrides`: two people settle a payment, refund or payout whose outcome stays unknown."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, Literal, TypeVar

import rich_click as click

from gateway.bootstrap import Services, open_services
from gateway.commands import books
from gateway.commands.merchants import actor, filled
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.settings import Settings
from gateway.payments.errors import PaymentError
from gateway.settlement.override_records import OverrideRow, OverrideState
from gateway.settlement.overrides import Proposal
from gateway.settlement.unknowns import UnknownRow, unknowns
from ledger.money import to_text

_REASON: Final = click.option("--reason", required=True, callback=filled, help="Why, for the record.")
_PAGE: Final = 100
Result = TypeVar("Result")


@click.group()
def overrides() -> None:
    """What nobody else settles, settled by two people."""


@overrides.command()
@click.argument("book_id", type=books.NUMBER)
@click.argument("subject")
@click.argument("outcome", type=click.Choice(["succeeded", "failed"]))
@click.option("--evidence", required=True, callback=filled, help="What shows it; name no payer.")
@_REASON
def propose(book_id: int, subject: str, outcome: Literal["succeeded", "failed"], evidence: str, reason: str) -> None:
    """Propose how a payment, refund or payout of unknown outcome ended; SUBJECT is its id. Nothing moves yet."""
    proposal = Proposal(subject=subject, outcome=outcome, evidence=evidence, reason=reason)
    row = _done(book_id, lambda services: services.overrides.propose(book_id, proposal, actor=actor()))
    print(_line(row, row.proposed_at))


@overrides.command()
@click.argument("book_id", type=books.NUMBER)
@click.argument("override_id")
@_REASON
def approve(book_id: int, override_id: str, reason: str) -> None:
    """Agree to what somebody else at this machine proposed; it is done at once. Safe to repeat."""

    def act(services: Services) -> Awaitable[OverrideRow]:
        return services.overrides.approve(book_id, override_id, actor=actor(), reason=reason)

    row = _done(book_id, act)
    print(_line(row, row.decided_at or row.proposed_at))


@overrides.command()
@click.argument("book_id", type=books.NUMBER)
@click.argument("override_id")
@_REASON
def reject(book_id: int, override_id: str, reason: str) -> None:
    """Do not agree, or take your own proposal back; nothing moves."""

    def act(services: Services) -> Awaitable[OverrideRow]:
        return services.overrides.reject(book_id, override_id, actor=actor(), reason=reason)

    row = _done(book_id, act)
    print(_line(row, row.decided_at or row.proposed_at))


@overrides.command(name="list")
@click.argument("book_id", type=books.NUMBER)
@click.option("--status", type=click.Choice([state.value for state in OverrideState]), help="Only those.")
def list_(book_id: int, status: str | None) -> None:
    """The proposals of a book, oldest first."""

    async def found(services: Services) -> list[tuple[OverrideRow, datetime]]:
        state, after, shown = None if status is None else OverrideState(status), "", []
        while True:
            rows, now = await services.overrides.list(book_id, state=state, after=after, limit=_PAGE)
            shown += [(row, now) for row in rows]
            if len(rows) < _PAGE:
                return shown
            after = rows[-1].override_id

    for row, now in _done(book_id, found):
        print(_line(row, now))


@overrides.command()
@click.argument("book_id", type=books.NUMBER)
def waiting(book_id: int) -> None:
    """What nobody knows the outcome of, oldest first, and why."""

    async def found(services: Services) -> list[UnknownRow]:
        after, shown = "", list[UnknownRow]()
        while True:
            rows = await unknowns(services.database, book_id, after=after, limit=_PAGE)
            shown += rows
            if len(rows) < _PAGE:
                return shown
            after = rows[-1].subject_id

    for row in _done(book_id, found):
        amount = f"{to_text(row.amount_minor, row.currency)} {row.currency}"
        proposed = f"  {row.override_id}" if row.override_id else ""
        print(f"{row.subject_id}  {row.since:%Y-%m-%d %H:%M}  {row.reason}  {row.provider}  {amount}{proposed}")


def _done(book_id: int, act: Callable[[Services], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with resolved(Settings.from_environment()) as settings, open_services(settings) as services:
            await books.must_exist(services.database, book_id)
            return await act(services)

    try:
        return asyncio.run(run())
    except PaymentError as error:
        raise click.ClickException(f"{error.code}: {error.detail}") from error


def _line(row: OverrideRow, now: datetime) -> str:
    amount = f"{to_text(row.amount_minor, row.currency)} {row.currency}"
    people = row.proposed_by if row.decided_by is None else f"{row.proposed_by} → {row.decided_by}"
    what = f"{row.subject_kind} {row.subject_id} {row.outcome}"
    return f"{row.override_id}  {what}  {amount}  {row.state_at(now)}  {people}  {row.evidence}"
