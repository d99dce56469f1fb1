"""`quickkub disputes`: what providers without an interface for it say of disputes by letter, telephone or file."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import rich_click as click

from gateway.bootstrap import open_services
from gateway.commands import books
from gateway.commands.merchants import actor, filled
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.settings import Settings
from gateway.merchants.operators import record_act
from gateway.payments.dispute_acts import DisputeActs, Stated
from gateway.payments.dispute_records import DisputeRow, dispute_by_id
from gateway.payments.disputes import Evidence
from gateway.payments.errors import PaymentError, ReceiptAmbiguous
from gateway.providers.base import FactKind
from gateway.providers.dispute_terms import DisputeStage, DisputeTerms
from ledger.money import to_text

_OUTCOMES: Final = {
    "under-review": FactKind.DISPUTE_UNDER_REVIEW,
    "funds-withdrawn": FactKind.DISPUTE_FUNDS_WITHDRAWN,
    "won": FactKind.DISPUTE_WON,
    "lost": FactKind.DISPUTE_LOST,
}
_REASON: Final = click.option("--reason", required=True, callback=filled, help="Why, for the record.")


@click.group()
def disputes() -> None:
    """Disputes that reach us by letter."""


@disputes.command(name="open")
@click.argument("book_id", type=books.NUMBER)
@click.argument("intent_id")
@click.option(
    "--reference", required=True, callback=filled, help="The provider's case number; the same = the same case."
)
@click.option("--amount", type=click.IntRange(1), help="Minor units; all that the receipt brought if not given.")
@click.option("--receipt", help="Which money, where it was paid more than once: our id of it, or the provider's.")
@click.option(
    "--stage", type=click.Choice([stage.value for stage in DisputeStage]), default="dispute", show_default=True
)
@click.option("--code", default="general", show_default=True, callback=filled, help="Why the payer disputes, our word.")
@click.option("--due", type=click.DateTime(["%Y-%m-%dT%H:%M"]), help="Until when to answer, UTC.")
@_REASON
def open_(
    *,
    book_id: int,
    intent_id: str,
    reference: str,
    amount: int | None,
    receipt: str | None,
    stage: str,
    code: str,
    due: datetime | None,
    reason: str,
) -> None:
    """State that a payment is disputed, or that a dispute has reached a later stage. Safe to repeat."""
    terms = DisputeTerms(
        reference=reference,
        stage=DisputeStage(stage),
        reason_code=code,
        evidence_due_at=None if due is None else due.replace(tzinfo=UTC),
    )

    _state(
        book_id,
        lambda acts: acts.open(
            book_id, intent_id, terms, amount_minor=amount, receipt=receipt, actor=actor(), reason=reason
        ),
    )


@disputes.command()
@click.argument("book_id", type=books.NUMBER)
@click.argument("dispute_id")
@click.argument("outcome", type=click.Choice(sorted(_OUTCOMES)))
@_REASON
def record(book_id: int, dispute_id: str, outcome: str, reason: str) -> None:
    """State what became of a dispute at its stage. Safe to repeat."""
    _state(book_id, lambda acts: acts.record(book_id, dispute_id, _OUTCOMES[outcome], actor=actor(), reason=reason))


@disputes.command(name="list")
@click.argument("book_id", type=books.NUMBER)
def list_(book_id: int) -> None:
    """The disputes of a book, the next deadline first."""
    for dispute in asyncio.run(_list(book_id)):
        print(_line(dispute))


@disputes.command()
@click.argument("book_id", type=books.NUMBER)
@click.argument("dispute_id")
@_REASON
def evidence(book_id: int, dispute_id: str, reason: str) -> None:
    """Show the merchant's evidence, to be sent on; it may tell of payers, so that it was read is kept."""
    for each in asyncio.run(_evidence(book_id, dispute_id, reason)):
        print(f"{each.id}  {each.stage}  {each.submitted_at:%Y-%m-%d %H:%M} UTC")
        for name, value in {**each.text, **each.files}.items():
            print(f"  {name}: {value}")


def _state(book_id: int, act: Callable[[DisputeActs], Awaitable[Stated]]) -> None:
    try:
        stated = asyncio.run(_stated(book_id, act))
    except ReceiptAmbiguous as error:
        for _, line in error.receipts:
            click.echo(line, err=True)
        raise click.ClickException(f"{error.code}: name one with --receipt") from error
    except PaymentError as error:
        raise click.ClickException(f"{error.code}: {error.detail}") from error
    print(_line(stated.dispute))
    if not stated.is_news:
        print("known already; nothing changed")


async def _stated(book_id: int, act: Callable[[DisputeActs], Awaitable[Stated]]) -> Stated:
    async with resolved(Settings.from_environment()) as settings, open_services(settings) as services:
        await books.must_exist(services.database, book_id)
        return await act(services.dispute_acts)


async def _list(book_id: int) -> list[DisputeRow]:
    async with resolved(Settings.from_environment()) as settings, open_services(settings) as services:
        await books.must_exist(services.database, book_id)
        return await services.dispute_acts.list(book_id)


async def _evidence(book_id: int, dispute_id: str, reason: str) -> Sequence[Evidence]:
    async with resolved(Settings.from_environment()) as settings, open_services(settings) as services:
        async with services.database.transaction() as connection:
            dispute = await dispute_by_id(connection, book_id, dispute_id)
            if dispute is None:
                raise click.ClickException(f"the book has no dispute {dispute_id}")
            await record_act(connection, actor=actor(), act="dispute.evidence_read", subject=dispute_id, reason=reason)
        return await services.disputes.evidence_of(dispute)


def _line(dispute: DisputeRow) -> str:
    due = "no deadline" if dispute.evidence_due_at is None else f"until {dispute.evidence_due_at:%Y-%m-%d %H:%M} UTC"
    amount = f"{to_text(dispute.amount_minor, dispute.currency)} {dispute.currency}"
    held = f" ({to_text(dispute.payer_minor, dispute.currency)} held)" if dispute.payer_minor else ""
    return f"{dispute.dispute_id}  {dispute.intent_id}  {amount}{held}  {dispute.stage}  {dispute.status}  {due}"
