"""Omise's account of a world: transactions, what of them is transferable, transfers to the bank."""

from datetime import datetime, time, timedelta
from typing import Any, Final

import msgspec

from gateway.foundation.clock import BANGKOK, business_date_of
from gateway.sandbox import bank_account
from gateway.sandbox.omise_events import emit
from gateway.sandbox.omise_objects import transfer_object
from gateway.sandbox.wire import omise_id
from gateway.sandbox.world import World

CURRENCY: Final = "THB"


class Balance(msgspec.Struct, frozen=True):
    """Satang: everything, and what of it may be transferred now."""

    total_minor: int
    transferable_minor: int


async def credit_or_debit(
    world: World, *, origin: str, key: str, amount_minor: int, at: datetime, transferable_at: datetime
) -> str:
    """Record a transaction and return its id; a negative amount is a debit."""
    identifier = omise_id("trxn")
    await world.connection.execute(
        "INSERT INTO sandbox.transactions"
        " (world, id, origin, key, direction, amount_minor, currency, transferable_at, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        world.name,
        identifier,
        origin,
        key,
        "credit" if amount_minor > 0 else "debit",
        abs(amount_minor),
        CURRENCY,
        transferable_at,
        at,
    )
    return identifier


def transferable_from(world: World) -> datetime:
    """When the money of a charge captured now may be transferred: the start of the day on which the hold ends."""
    hold = timedelta(days=world.settings.omise_hold_days)
    return max(world.now, datetime.combine(world.today + hold, time.min, BANGKOK)) if hold else world.now


async def balance(world: World, at: datetime) -> Balance:
    """The balance at a moment of business time."""
    row = await world.connection.fetchrow(
        "SELECT coalesce(sum(signed), 0)::bigint AS total,"
        " coalesce(sum(signed) FILTER (WHERE transferable_at <= $2), 0)::bigint AS transferable FROM ("
        " SELECT CASE direction WHEN 'credit' THEN amount_minor ELSE -amount_minor END AS signed, transferable_at"
        " FROM sandbox.transactions WHERE world = $1 AND created_at <= $2) AS signed_transactions",
        world.name,
        at,
    )
    assert row is not None
    return Balance(total_minor=row["total"], transferable_minor=max(row["transferable"], 0))


def transfer_fee_minor(world: World) -> int:
    """What one transfer costs, VAT included."""
    return world.settings.omise_transfer_fee_minor + world.settings.omise_transfer_fee_vat_minor


async def transfer_all(world: World, at: datetime) -> None:
    """Send everything transferable to the bank, if anything is left of it after the fee."""
    amount_minor = (await balance(world, at)).transferable_minor
    if amount_minor > transfer_fee_minor(world):
        await send_transfer(world, amount_minor, at=at, idempotency_key=None, metadata={})


async def send_transfer(
    world: World, amount_minor: int, *, at: datetime, idempotency_key: str | None, metadata: dict[str, str]
) -> dict[str, Any]:
    """Take `amount_minor` from the balance; all but the fee arrives at the bank after the agreed days.

    Args:
        world: locked.
        amount_minor: more than the fee, at most what is transferable (the caller has looked).
        at: business time of the sending.
        idempotency_key: Omise's `idemp_key`.
        metadata: as sent.
    """
    identifier = omise_id("trsf")
    transaction_id = await credit_or_debit(
        world, origin=identifier, key="transfer.sent.net", amount_minor=-amount_minor, at=at, transferable_at=at
    )
    row = await world.connection.fetchrow(
        "INSERT INTO sandbox.transfers (world, id, amount_minor, fee_minor, fee_vat_minor, currency,"
        " idempotency_key, metadata, transaction_id, created_at, arrives_on)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING *",
        world.name,
        identifier,
        amount_minor,
        world.settings.omise_transfer_fee_minor,
        world.settings.omise_transfer_fee_vat_minor,
        CURRENCY,
        idempotency_key,
        metadata,
        transaction_id,
        at,
        business_date_of(at) + timedelta(days=world.settings.omise_transfer_bank_days),
    )
    assert row is not None
    sent = transfer_object(row)
    for key in ("transfer.create", "transfer.send"):
        await emit(world, key, sent, at=at, amount_minor=amount_minor)
    return sent


async def receive_transfers(world: World, at: datetime) -> None:
    """Let the transfers arrive on the bank account whose day has come."""
    on = business_date_of(at)
    rows = await world.connection.fetch(
        "UPDATE sandbox.transfers SET paid_at = $3 WHERE world = $1 AND paid_at IS NULL AND arrives_on <= $2 "
        "RETURNING *",
        world.name,
        on,
        at,
    )
    for row in rows:
        net_minor = row["amount_minor"] - row["fee_minor"] - row["fee_vat_minor"]
        description = f"OMISE TRANSFER {row['id']}"
        bank_account.book(world, on, net_minor, reference=bank_account.NO_REFERENCE, description=description)
        await emit(world, "transfer.pay", transfer_object(row), at=at, amount_minor=row["amount_minor"])
