"""The bank account of a world: its lines, the biller's fees, the payouts. Debits are negative."""

from datetime import date, timedelta
from typing import Final

from gateway.sandbox.wire import share, short_id
from gateway.sandbox.world import World

NO_REFERENCE: Final = "NONREF"
_BOOK: Final = (
    "INSERT INTO sandbox.bank_lines (world, id, position, booked_on, amount_minor, reference, description) "
    "SELECT $1, $2, coalesce(max(position), 0) + {nth}, $3, $4, $5, $6 FROM sandbox.bank_lines WHERE world = $1"
)


def book(world: World, on: date, amount_minor: int, *, reference: str, description: str) -> None:
    """Book a line on the bank account, when the operation ends.

    Args:
        world: locked.
        on: business date of the line.
        amount_minor: satang; credits positive, debits negative.
        reference: at most 16 characters, the customer reference of `:61:`.
        description: the text of `:86:`.
    """
    world.later(_BOOK, world.name, short_id("L"), on, amount_minor, reference, description)


async def charge_biller_fees(world: World, on: date) -> None:
    """Charge the fee of all bill payments of an ended day in one sum, and the VAT on that sum."""
    items: int = await world.connection.fetchval(
        "SELECT count(*) FROM sandbox.bill_payments WHERE world = $1 AND paid_on = $2", world.name, on
    )
    fee_minor = items * world.settings.scb_fee_minor
    vat_minor = share(fee_minor, world.settings.vat_rate_ppm)
    for amount_minor, what in ((fee_minor, "BILLPAY FEE"), (vat_minor, "BILLPAY FEE VAT")):
        if amount_minor:
            description = f"{what} {items} ITEMS"
            book(world, on, -amount_minor, reference=NO_REFERENCE, description=description)


async def execute_payouts(world: World, on: date) -> None:
    """Debit the accepted payouts whose day has come."""
    rows = await world.connection.fetch(
        "UPDATE sandbox.payouts SET state = 'executed', executed_on = $2 "
        "WHERE world = $1 AND state = 'accepted' AND execute_on <= $2 RETURNING end_to_end_id, amount_minor",
        world.name,
        on,
    )
    for row in rows:
        description = f"PAYOUT {row['end_to_end_id']}"
        book(world, on, -row["amount_minor"], reference=NO_REFERENCE, description=description)


async def return_payouts(world: World, on: date) -> None:
    """Credit the payouts that the receiving bank sent back, the day after they were executed."""
    rows = await world.connection.fetch(
        "UPDATE sandbox.payouts SET state = 'returned', returned_on = $2 "
        "WHERE world = $1 AND state = 'executed' AND to_be_returned AND executed_on < $2 "
        "RETURNING end_to_end_id, amount_minor",
        world.name,
        on,
    )
    for row in rows:
        description = f"PAYOUT RETURN {row['end_to_end_id']}"
        book(world, on, row["amount_minor"], reference=NO_REFERENCE, description=description)


async def balance_minor(world: World, before: date) -> int:
    """The balance at the start of a day."""
    moved: int = await world.connection.fetchval(
        "SELECT coalesce(sum(amount_minor), 0)::bigint FROM sandbox.bank_lines WHERE world = $1 AND booked_on < $2",
        world.name,
        before,
    )
    return world.settings.bank_opening_minor + moved


def statement_number(world: World, on: date) -> int:
    """1 for the day on which the account was opened, one more each calendar day."""
    return (on - world.opened_on) // timedelta(days=1) + 1
