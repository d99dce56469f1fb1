"""The passing of business days in a world, in the order in which a bank and an acquirer would live through it.

Nothing runs on a timer: whoever opens a world first lets the days pass that have passed since, one after another.
At the end of a day SCB charges its fees. At the start of a day Omise's earlier transfers arrive, due payouts are
executed, returned ones come back, and Omise sends what has become transferable. Every calendar day is a banking day.
"""

from datetime import datetime, time, timedelta
from typing import Final

from gateway.foundation.clock import BANGKOK
from gateway.sandbox import bank_account, omise_balance, omise_charges, omise_refunds
from gateway.sandbox.world import World

ONE_DAY: Final = timedelta(days=1)


async def roll_forward(world: World) -> None:
    """Let every day pass up to today, then what is due within the day."""
    day = world.rolled_to_on
    while day < world.today:
        await bank_account.charge_biller_fees(world, day)
        day += ONE_DAY
        starts_at = datetime.combine(day, time.min, BANGKOK)
        await bank_account.execute_payouts(world, day)
        await bank_account.return_payouts(world, day)
        if world.settings.omise_transfer_interval == "daily":
            await omise_balance.transfer_all(world, starts_at)
        await omise_balance.receive_transfers(world, starts_at)
    if day != world.rolled_to_on:
        await world.connection.execute("UPDATE sandbox.worlds SET rolled_to_on = $2 WHERE world = $1", world.name, day)
        world.rolled_to_on = day
    await omise_charges.expire_due(world)
    await omise_refunds.fail_refunds_due(world)
