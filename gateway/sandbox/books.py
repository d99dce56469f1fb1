"""The sandbox's own books of a world: what really happened, for tests to hold the ledger against."""

from typing import Any, Final

from gateway.sandbox import bank_account, omise_balance
from gateway.sandbox.wire import utc_text
from gateway.sandbox.world import World

_LISTS: Final = {
    "refunds": "SELECT id, charge_id, amount_minor, status, voided, metadata, created_at FROM sandbox.refunds "
    "WHERE world = $1 ORDER BY created_at, id",
    "transactions": "SELECT id, origin, direction, amount_minor, key, transferable_at, created_at "
    "FROM sandbox.transactions WHERE world = $1 ORDER BY created_at, id",
    "transfers": "SELECT id, amount_minor, fee_minor, fee_vat_minor, amount_minor - fee_minor - fee_vat_minor AS"
    " net_minor, created_at, arrives_on, paid_at FROM sandbox.transfers WHERE world = $1 ORDER BY created_at, id",
    "bank_lines": "SELECT id, booked_on, amount_minor, reference, description FROM sandbox.bank_lines "
    "WHERE world = $1 ORDER BY booked_on, position",
    "payouts": "SELECT end_to_end_id, file_reference, amount_minor, execute_on, state, executed_on, returned_on"
    " FROM sandbox.payouts WHERE world = $1 ORDER BY end_to_end_id",
    "faults": "SELECT id, provider, operation, fault, remaining, amount_minor FROM sandbox.faults "
    "WHERE world = $1 ORDER BY id",
    "callbacks": "SELECT id, provider, subject, forged, state, attempts, last_status FROM sandbox.callback_queue "
    "WHERE world = $1 ORDER BY created_at, id",
}


async def books(world: World) -> dict[str, Any]:
    """Everything that the world believes; amounts in satang."""
    held = await omise_balance.balance(world, world.now)
    closing_minor = await bank_account.balance_minor(world, world.today)
    moved_today: int = await world.connection.fetchval(
        "SELECT coalesce(sum(amount_minor), 0)::bigint FROM sandbox.bank_lines WHERE world = $1 AND booked_on = $2",
        world.name,
        world.today,
    )
    found: dict[str, Any] = {
        "world": world.name,
        "now": utc_text(world.now),
        "today": world.today,
        "settings": world.settings,
        "omise_balance": {"total_minor": held.total_minor, "transferable_minor": held.transferable_minor},
        "bank_balance_minor": closing_minor + moved_today,
        "charges": [*await _bills(world), *await _omise_charges(world)],
    }
    for name, query in _LISTS.items():
        found[name] = [dict(row) for row in await world.connection.fetch(query, world.name)]
    return found


async def _bills(world: World) -> list[dict[str, Any]]:
    """SCB's side: issued QR codes and what was paid on them, also on references that were never issued."""
    issued = await world.connection.fetch(
        "SELECT ref1, amount_minor, created_at, expires_at FROM sandbox.qr_codes WHERE world = $1 ORDER BY created_at",
        world.name,
    )
    paid: dict[str, list[dict[str, Any]]] = {}
    for row in await world.connection.fetch(
        "SELECT ref1, transaction_id, amount_minor, paid_at FROM sandbox.bill_payments WHERE world = $1 "
        "ORDER BY paid_at, transaction_id",
        world.name,
    ):
        paid.setdefault(row["ref1"], []).append(
            {"transaction_id": row["transaction_id"], "amount_minor": row["amount_minor"], "paid_at": row["paid_at"]}
        )
    asked = {row["ref1"]: dict(row) for row in issued}
    bills = []
    for ref1 in {**asked, **paid}:
        received = paid.get(ref1, [])
        qr = asked.get(ref1, {})
        bills.append(
            {
                "provider": "scb",
                "method": "promptpay",
                "reference": ref1,
                "status": "paid" if received else "pending",
                "amount_minor": qr.get("amount_minor"),
                "received_minor": sum(payment["amount_minor"] for payment in received),
                "received": received,
                "refunded_minor": 0,
                "fee_minor": 0,
                "fee_vat_minor": 0,
                "created_at": qr.get("created_at"),
                "expires_at": qr.get("expires_at"),
            }
        )
    return bills


async def _omise_charges(world: World) -> list[dict[str, Any]]:
    rows = await world.connection.fetch(
        "SELECT * FROM sandbox.charges WHERE world = $1 ORDER BY created_at, id", world.name
    )
    return [
        {
            "provider": "omise",
            "method": row["method"],
            "reference": row["id"],
            "status": row["status"],
            "amount_minor": row["amount_minor"],
            "received_minor": row["captured_minor"],
            "received": [
                {
                    "transaction_id": row["transaction_id"],
                    "amount_minor": row["captured_minor"],
                    "paid_at": row["paid_at"],
                }
            ]
            if row["captured_minor"]
            else [],
            "refunded_minor": row["refunded_minor"],
            "fee_minor": row["fee_minor"],
            "fee_vat_minor": row["fee_vat_minor"],
            "failure_code": row["failure_code"],
            "metadata": row["metadata"],
            "created_at": row["created_at"],
            "expires_at": row["expires_at"],
        }
        for row in rows
    ]
