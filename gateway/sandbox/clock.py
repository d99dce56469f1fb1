"""Days pass: whatever the providers do by themselves, in order, each day once."""

from collections.abc import Collection
from datetime import timedelta
from typing import Final

from gateway.sandbox.provider import SandboxProvider
from gateway.sandbox.world import World

ONE_DAY: Final = timedelta(days=1)


async def roll_forward(world: World, providers: Collection[SandboxProvider]) -> None:
    """Let every day pass up to today, then what is due within the day."""
    day = world.rolled_to_on
    world.has_moved = True
    while day < world.today:
        for provider in providers:
            if provider.end_day is not None:
                await provider.end_day(world, day)
        day += ONE_DAY
        for provider in providers:
            if provider.start_day is not None:
                await provider.start_day(world, day)
    if day != world.rolled_to_on:
        await world.connection.execute("UPDATE sandbox.worlds SET rolled_to_on = $2 WHERE world = $1", world.name, day)
        world.rolled_to_on = day
    for provider in providers:
        if provider.due is not None:
            await provider.due(world)
