"""What the books of most providers have in common: charges, the payments on them, money given back, a net a day.

A provider's own module speaks its protocol and keeps what only it knows in `details`. Here a charge waits, is paid or
authorised, captured in parts, given up or given back; each movement of money is one row with the provider's fee and the
VAT on it; and at midnight the net of the days before goes to the bank account as one credit. Every function gets a
locked world and leaves it whole. A refused movement is the caller's to refuse: these functions assert.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final

import msgspec

from gateway.sandbox import bank_account
from gateway.sandbox.wire import Row, share, short_id
from gateway.sandbox.world import World

OPEN: Final = ("pending", "authorized")
ENDS_AFTER: Final = timedelta(seconds=5)
"""How long a refund takes that does not end at once, unless the order says."""

_UPDATE: Final = "UPDATE sandbox.acquired_charges SET "
_OF_CHARGE: Final = " WHERE world = $1 AND provider = $2 AND id = $3 RETURNING *"
_SET_DETAILS: Final = f"{_UPDATE}details = details || $4{_OF_CHARGE}"
_END: Final = f"{_UPDATE}status = $4, failure_code = $5{_OF_CHARGE}"
_AUTHORIZE: Final = f"{_UPDATE}status = 'authorized', expires_at = $4{_OF_CHARGE}"
_MOVE: Final = (
    "WITH moved AS (INSERT INTO sandbox.acquired_movements (world, provider, charge_id, amount_minor, id, kind, status,"
    " fee_minor, fee_vat_minor, reference, details, occurred_at, booked_on, ends_as, ends_at)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)) "
)
_CAPTURE: Final = (
    f"{_MOVE}{_UPDATE}status = 'captured', captured_minor = captured_minor + $4, failure_code = NULL{_OF_CHARGE}"
)
_RETURN: Final = f"{_MOVE}{_UPDATE}returned_minor = returned_minor + $4{_OF_CHARGE}"


class Rail(msgspec.Struct, frozen=True, kw_only=True):
    """What a payer can do with an open charge of a method.

    Attributes:
        rate: the provider's fee, of the world's settings.
        again: pay it a second time; late: after its expiry; other_amount: not what it says.
        identifier: makes the provider's id of the next payment of a charge; None: a new one of no meaning.
    """

    rate: Callable[[World], int]
    again: bool = False
    late: bool = False
    other_amount: bool = False
    identifier: Callable[[World, Row], str | None] = lambda _, __: None


CARD: Final = Rail(rate=lambda world: world.settings.acquirer_card_rate_ppm)
QR: Final = Rail(rate=lambda world: world.settings.acquirer_qr_rate_ppm, again=True, late=True, other_amount=True)
"""A PromptPay bill payment: the payer's bank knows neither expiry nor single use nor amount."""
WALLET: Final = Rail(rate=lambda world: world.settings.acquirer_wallet_rate_ppm)


async def create(
    world: World,
    provider: str,
    *,
    identifier: str,
    reference: str,
    method: str,
    amount_minor: int,
    expires_at: datetime | None,
    status: str = "pending",
    failure_code: str | None = None,
    qr_data: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> Row:
    """Keep a new charge.

    Args:
        world: locked.
        provider: whose.
        identifier: the provider's id of it; reference: the merchant's.
        method: one of the words of `gateway.providers.base.Method`.
        amount_minor: satang.
        expires_at: of a waiting charge or of an authorisation; None: never.
        status: `pending`, `authorized` or `failed`; money is taken by `capture`.
        failure_code: the provider's word, where it failed.
        qr_data: text of its QR.
        details: what only this provider's module reads.
    """
    row = await world.connection.fetchrow(
        "INSERT INTO sandbox.acquired_charges (world, provider, id, reference, method, amount_minor, status,"
        " failure_code, qr_data, details, created_at, expires_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING *",
        world.name,
        provider,
        identifier,
        reference,
        method,
        amount_minor,
        status,
        failure_code,
        qr_data,
        dict(details or {}),
        world.now,
        expires_at,
    )
    assert row is not None
    return row


async def find(world: World, provider: str, identifier: str) -> Row | None:
    """The charge with the provider's id, or the newest with the merchant's reference or the text of its QR."""
    return await world.connection.fetchrow(
        "SELECT * FROM sandbox.acquired_charges WHERE world = $1 AND provider = $2"
        " AND (id = $3 OR reference = $3 OR qr_data = $3) ORDER BY created_at DESC, id DESC LIMIT 1",
        world.name,
        provider,
        identifier,
    )


async def by_reference(world: World, provider: str, reference: str) -> list[Row]:
    """Every charge with the merchant's reference, oldest first."""
    return list(
        await world.connection.fetch(
            "SELECT * FROM sandbox.acquired_charges WHERE world = $1 AND provider = $2 AND reference = $3"
            " ORDER BY created_at, id",
            world.name,
            provider,
            reference,
        )
    )


async def set_details(world: World, charge: Row, **changed: Any) -> Row:
    """The charge with these details laid over those it has."""
    return await _update(world, charge, _SET_DETAILS, changed)


async def end(world: World, charge: Row, status: str, failure_code: str | None = None) -> Row:
    """End an open charge without money: `failed`, `expired`, `canceled`, `voided` (an authorisation given up)."""
    assert charge["status"] in OPEN, charge["status"]
    return await _update(world, charge, _END, status, failure_code)


async def authorize(world: World, charge: Row, *, expires_at: datetime) -> Row:
    """The payer did his part, the money waits for `capture` until it expires."""
    assert charge["status"] == "pending", charge["status"]
    return await _update(world, charge, _AUTHORIZE, expires_at)


async def capture(
    world: World,
    charge: Row,
    amount_minor: int,
    rail: Rail,
    *,
    identifier: str | None = None,
    reference: str = "",
    details: Mapping[str, Any] | None = None,
) -> tuple[Row, Row]:
    """Take money for a charge: the payment of a payer, or one capture of an authorisation.

    Returns:
        the charge and the movement.
    """
    fee_minor = share(amount_minor, rail.rate(world))
    return await _move(
        world,
        charge,
        _CAPTURE,
        "payment",
        amount_minor,
        fees=(fee_minor, share(fee_minor, world.settings.vat_rate_ppm)),
        identifier=identifier or short_id("T"),
        reference=reference or charge["reference"],
        details=details,
    )


async def give_back(
    world: World,
    charge: Row,
    amount_minor: int,
    *,
    kind: str,
    identifier: str | None = None,
    reference: str = "",
    details: Mapping[str, Any] | None = None,
    ends_as: str | None = None,
    ends_after: timedelta | None = None,
    payment_id: str | None = None,
) -> tuple[Row, Row]:
    """Give money back. A void undoes the payment with its fee; a refund leaves the fee.

    Args:
        world: locked.
        charge: captured, with at least this much left.
        amount_minor: satang.
        kind: `void` or `refund`.
        identifier: the provider's id of it; None: a new one.
        reference: the merchant's own.
        details: what only this provider's module reads.
        ends_as: None: it is done now; `done` or `failed`: what becomes of it later.
        ends_after: when; None: after a while.
        payment_id: the one payment that a void undoes; None: all of the charge.

    Returns:
        the charge and the movement.
    """
    fees = (0, 0)
    if kind == "void":
        row = await world.connection.fetchrow(
            "SELECT -coalesce(sum(fee_minor), 0)::bigint AS fee, -coalesce(sum(fee_vat_minor), 0)::bigint AS vat"
            " FROM sandbox.acquired_movements WHERE world = $1 AND provider = $2 AND charge_id = $3"
            " AND kind = 'payment' AND (id = $4 OR $4::text IS NULL)",
            world.name,
            charge["provider"],
            charge["id"],
            payment_id,
        )
        assert row is not None
        fees = (row["fee"], row["vat"])
    return await _move(
        world,
        charge,
        _RETURN,
        kind,
        amount_minor,
        fees=fees,
        identifier=identifier or short_id("R"),
        reference=reference,
        details=details,
        ends_as=ends_as,
        ends_at=None if ends_as is None else world.now + (ENDS_AFTER if ends_after is None else ends_after),
    )


async def movements_of(world: World, charge: Row, *kinds: str) -> list[Row]:
    """The movements of a charge, oldest first; all kinds, or those that are named."""
    return list(
        await world.connection.fetch(
            "SELECT * FROM sandbox.acquired_movements WHERE world = $1 AND provider = $2 AND charge_id = $3"
            " AND (kind = ANY($4) OR $4 = '{}') ORDER BY occurred_at, id",
            world.name,
            charge["provider"],
            charge["id"],
            list(kinds),
        )
    )


async def is_settled(world: World, charge: Row) -> bool:
    """Whether a payment of the charge is in a batch already, so that it can be refunded but not voided."""
    return any(row["batch_id"] is not None for row in await movements_of(world, charge, "payment"))


async def of_day(world: World, provider: str, on: date) -> list[Row]:
    """What moved on a business date, with the charge's `charge_reference`, `method` and `charge_details`."""
    return list(
        await world.connection.fetch(
            "SELECT m.*, c.reference AS charge_reference, c.method, c.details AS charge_details"
            " FROM sandbox.acquired_movements m"
            " JOIN sandbox.acquired_charges c ON (c.world, c.provider, c.id) = (m.world, m.provider, m.charge_id)"
            " WHERE m.world = $1 AND m.provider = $2 AND m.booked_on = $3 AND m.status = 'done'"
            " ORDER BY m.occurred_at, m.id",
            world.name,
            provider,
            on,
        )
    )


async def batches_of_day(world: World, provider: str, on: date) -> list[Row]:
    """The net payments to the bank that left on a business date."""
    return list(
        await world.connection.fetch(
            "SELECT * FROM sandbox.acquired_batches WHERE world = $1 AND provider = $2 AND settled_on = $3 ORDER BY id",
            world.name,
            provider,
            on,
        )
    )


async def settle(world: World, provider: str, on: date) -> None:
    """At the start of a day: pay the net of what is old enough to the bank account; what nets to nothing waits."""
    row = await world.connection.fetchrow(
        "SELECT coalesce(sum(CASE kind WHEN 'payment' THEN amount_minor ELSE -amount_minor END), 0)::bigint AS gross,"
        " coalesce(sum(fee_minor), 0)::bigint AS fee, coalesce(sum(fee_vat_minor), 0)::bigint AS vat"
        " FROM sandbox.acquired_movements WHERE world = $1 AND provider = $2 AND batch_id IS NULL AND status = 'done'"
        " AND booked_on <= $3",
        world.name,
        provider,
        on - timedelta(days=world.settings.acquirer_days),
    )
    assert row is not None
    net_minor = row["gross"] - row["fee"] - row["vat"]
    if net_minor <= 0:
        return
    batch_id = short_id("B")
    await world.connection.execute(
        "INSERT INTO sandbox.acquired_batches"
        " (world, provider, id, settled_on, gross_minor, fee_minor, fee_vat_minor, net_minor)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        world.name,
        provider,
        batch_id,
        on,
        row["gross"],
        row["fee"],
        row["vat"],
        net_minor,
    )
    await world.connection.execute(
        "UPDATE sandbox.acquired_movements SET batch_id = $4 WHERE world = $1 AND provider = $2 AND batch_id IS NULL"
        " AND status = 'done' AND booked_on <= $3",
        world.name,
        provider,
        on - timedelta(days=world.settings.acquirer_days),
        batch_id,
    )
    bank_account.book(world, on, net_minor, reference=batch_id, description=f"{provider.upper()} SETTLEMENT {batch_id}")


async def expire_due(world: World, provider: str) -> list[Row]:
    """Expire what nobody paid in time, and give up authorisations that nobody captured; returns those charges."""
    return list(
        await world.connection.fetch(
            "UPDATE sandbox.acquired_charges SET status = CASE status WHEN 'pending' THEN 'expired' ELSE 'voided' END"
            " WHERE world = $1 AND provider = $2 AND status IN ('pending', 'authorized') AND expires_at <= $3"
            " RETURNING *",
            world.name,
            provider,
            world.now,
        )
    )


async def end_refunds_due(world: World, provider: str) -> list[Row]:
    """Let refunds end that were to end later; returns their movements as they are now."""
    rows = await world.connection.fetch(
        "UPDATE sandbox.acquired_movements SET status = ends_as, booked_on = $4"
        " WHERE world = $1 AND provider = $2 AND status = 'pending' AND ends_at <= $3 RETURNING *",
        world.name,
        provider,
        world.now,
        world.today,
    )
    for movement in rows:
        if movement["status"] == "failed":
            await world.connection.execute(
                "UPDATE sandbox.acquired_charges SET returned_minor = returned_minor - $4"
                " WHERE world = $1 AND provider = $2 AND id = $3",
                world.name,
                provider,
                movement["charge_id"],
                movement["amount_minor"],
            )
    return list(rows)


async def _move(
    world: World,
    charge: Row,
    statement: str,
    kind: str,
    amount_minor: int,
    *,
    fees: tuple[int, int],
    identifier: str,
    reference: str,
    details: Mapping[str, Any] | None,
    ends_as: str | None = None,
    ends_at: datetime | None = None,
) -> tuple[Row, Row]:
    """Keep a movement and change its charge with one `statement`; returns both."""
    # In the order of the statement's values.
    movement = {
        "world": world.name,
        "provider": charge["provider"],
        "charge_id": charge["id"],
        "amount_minor": amount_minor,
        "id": identifier,
        "kind": kind,
        "status": "done" if ends_as is None else "pending",
        "fee_minor": fees[0],
        "fee_vat_minor": fees[1],
        "reference": reference,
        "details": dict(details or {}),
        "occurred_at": world.now,
        "booked_on": world.today,
        "ends_as": ends_as,
        "ends_at": ends_at,
    }
    changed = await world.connection.fetchrow(statement, *movement.values())
    assert changed is not None
    return changed, movement | {"batch_id": None}


async def _update(world: World, charge: Row, statement: str, *values: Any) -> Row:
    row = await world.connection.fetchrow(
        statement,
        world.name,
        charge["provider"],
        charge["id"],
        *values,
    )
    assert row is not None
    return row
