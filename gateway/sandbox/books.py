"""The sandbox's own books of a world: what really happened, for tests to hold the ledger against."""

from collections.abc import Collection
from typing import Any, Final

from gateway.sandbox import bank_account, omise_balance
from gateway.sandbox.provider import SandboxProvider
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
    "movements": "SELECT provider, id, charge_id, kind, status, amount_minor, fee_minor, fee_vat_minor, reference,"
    " occurred_at, booked_on, batch_id FROM sandbox.acquired_movements WHERE world = $1 ORDER BY occurred_at, id",
    "batches": "SELECT provider, id, settled_on, gross_minor, fee_minor, fee_vat_minor, net_minor"
    " FROM sandbox.acquired_batches WHERE world = $1 ORDER BY settled_on, id",
    "faults": "SELECT id, provider, operation, fault, remaining, amount_minor FROM sandbox.faults "
    "WHERE world = $1 ORDER BY id",
    "callbacks": "SELECT id, provider, subject, forged, state, attempts, last_status FROM sandbox.callback_queue "
    "WHERE world = $1 ORDER BY created_at, id",
}


async def books(world: World, providers: Collection[SandboxProvider]) -> dict[str, Any]:
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
        "charges": [
            charge for provider in providers if provider.charges is not None for charge in await provider.charges(world)
        ],
    }
    for name, query in _LISTS.items():
        found[name] = [dict(row) for row in await world.connection.fetch(query, world.name)]
    return found
