"""All cells of one provider, played at once, and the table of what came of them."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from tests.matrix.cells import HARD_CASES, Cell, cells_of
from tests.matrix.hard_cases import HardPlayer
from tests.matrix.house import AT_ONCE, House, Lane
from tests.matrix.play import Played, Player, Rounds
from tests.matrix.proofs import complaints_of

HEADER: Final = "| method | operation | fault | payment | refund | remarks |\n|---|---|---|---|---|---|"


async def play(house: House, provider: str, cells: Sequence[Cell] | None = None) -> tuple[list[Played], list[str]]:
    """Play every cell of a provider, or those; returns what they came to and everything that did not hold."""
    rounds, gate = Rounds(), asyncio.Semaphore(AT_ONCE)
    shared = await house.open_lane(provider)

    async def player_of(cell: Cell) -> Player:
        if not cell.is_alone:
            return Player(house, rounds, gate, cell, shared)
        kind = HardPlayer if cell.fault in HARD_CASES else Player
        async with gate:
            return kind(house, rounds, gate, cell, await house.open_lane(provider, rate_ppm=0))

    players = await asyncio.gather(*(player_of(cell) for cell in cells or cells_of(provider)))
    tasks = [asyncio.create_task(player.play()) for player in players]
    try:
        await rounds.drive(house, tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    everything = [player.played for player in players]
    lanes: dict[int, tuple[Lane, list[Played]]] = {}
    for played in everything:
        lanes.setdefault(played.lane.book_id, (played.lane, []))[1].append(played)
    complaints = [complaint for lane, cells in lanes.values() for complaint in await complaints_of(house, lane, cells)]
    return everything, complaints


def section(provider: str, cells: Iterable[Played]) -> str:
    """A provider's part of the table, in Markdown."""
    return f"## {provider}\n\n{HEADER}\n" + "".join(f"| {' | '.join(_row(played))} |\n" for played in cells)


def _row(played: Played) -> Sequence[str]:
    intent, refund = played.intent, played.refund
    status = intent["status"]
    if intent["qualifiers"]:
        status += f" ({', '.join(intent['qualifiers'])})"
    return (*played.cell.name, status, refund["status"] if refund else "", played.note)
