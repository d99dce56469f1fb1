"""Closed loops over HTTP, set against each other in one run: what a payment costs beside the same server's echo."""

import asyncio
import itertools
from typing import Any, Final

from benchmarks.http_client import request
from benchmarks.http_world import World
from benchmarks.options import Options
from benchmarks.report import Finding
from benchmarks.rounds import Contender, Sample, interleave, median_rate, paired, rates

CALLERS: Final = 64
BULK: Final = 100
BULK_AT_ONCE: Final = 4
CELL_SECONDS: Final = 3.0
_SUCCESSES: Final = frozenset({200, 201})

Measured = tuple[list[Finding], list[dict[str, Any]]]


class Floor:
    """The three contenders on one API."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._numbers = itertools.count()
        self._bulk_gate = asyncio.Semaphore(BULK_AT_ONCE)

    def contenders(self) -> dict[str, Contender]:
        """By name."""
        return {
            "echo": Contender(make=lambda: request("POST", "/bench/echo", self._payment()), post=self._post),
            "create": Contender(make=lambda: self._money("/v1/payment_intents", self._payment()), post=self._post),
            "bulk": Contender(
                make=lambda: self._money("/v1/payment_intents/bulk", {"items": [self._payment() for _ in range(BULK)]}),
                post=self._post_bulk,
                per_call=BULK,
            ),
        }

    def _payment(self) -> dict[str, Any]:
        number = next(self._numbers)
        return {"amount": 100_00, "currency": "thb", "confirm": False, "merchant_reference": f"RATIO-{number}"}

    def _money(self, path: str, body: dict[str, Any]) -> bytes:
        return request("POST", path, body, bearer=self._world.secret, key=f"ratio-{next(self._numbers)}")

    async def _post(self, content: bytes) -> None:
        answer = await self._world.api.call(content)
        assert answer.status in _SUCCESSES, answer.body

    async def _post_bulk(self, content: bytes) -> None:
        async with self._bulk_gate:
            answer = await self._world.api.call(content)
        assert answer.status in _SUCCESSES, answer.body
        assert answer.json()["made"] == BULK, answer.body


async def measure(world: World, options: Options) -> Measured:
    """Creating a payment that nobody is asked about against the echo, and a hundred at once against single ones."""
    floor = Floor(world)
    samples = await interleave(floor.contenders(), rounds=options.rounds, callers=CALLERS, seconds=CELL_SECONDS)
    for name, rounds in samples.items():
        print(f"{name:<8} {median_rate(rounds):>8,.0f}/s  p99 {_p99(rounds):,.0f} ms")
    create = paired(rates(samples["create"]), rates(samples["echo"]))
    bulk = paired(rates(samples["bulk"]), rates(samples["create"]))
    findings = [
        Finding(
            goal="13",
            what=f"HTTP: payment created (confirm=false) / echo, {CALLERS} callers",
            measured=create.median,
            floor=0.20,
            stretch=0.35,
            detail=str(create),
        ),
        Finding(
            goal="14",
            what=f"HTTP: payments a second, {BULK} a call / single",
            measured=bulk.median,
            floor=3.0,
            detail=str(bulk),
        ),
    ]
    return findings, [{"contender": name, "rates_per_second": rates(found)} for name, found in samples.items()]


def _p99(rounds: list[Sample]) -> float:
    return sorted(sample.quantile_ms(0.99) for sample in rounds)[len(rounds) // 2]
