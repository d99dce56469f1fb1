"""The closed loop, and paired, interleaved rounds of it.

N callers, each makes an item, hands it in, waits for its answer, makes the next. What is compared alternates within
each round, so that whatever else the machine does hits both; a figure is the median of the ratios of the rounds.
"""

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from benchmarks.meter import Meter, Reading

QUIET_SECONDS: Final = 0.05

Post = Callable[[Any], Awaitable[Any]]


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a comparison: where items come from, and who takes one and answers when it is durable."""

    make: Callable[[], Any]
    post: Post
    per_call: int = 1


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One closed loop: items answered, its length, every latency (sorted), what the counters moved."""

    items: int
    seconds: float
    latencies: list[float]
    moved: Reading | None = None

    @property
    def rate(self) -> float:
        """Items a second."""
        return self.items / self.seconds

    def quantile_ms(self, share: float) -> float:
        """The latency that this share of the calls stayed below."""
        return 1000 * self.latencies[min(int(len(self.latencies) * share), len(self.latencies) - 1)]


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """Paired ratios of one comparison: their median and their range."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


async def closed_loop(contender: Contender, *, callers: int, seconds: float, meter: Meter | None = None) -> Sample:
    """Run the callers for so long."""
    latencies: list[float] = []
    make, post, clock = contender.make, contender.post, time.perf_counter
    before = await meter.read() if meter else None
    started = clock()
    deadline = started + seconds

    async def caller() -> None:
        while clock() < deadline:
            item = make()
            asked = clock()
            await post(item)
            latencies.append(clock() - asked)

    await asyncio.gather(*(caller() for _ in range(callers)))
    elapsed = clock() - started
    moved = await meter.read() - before if meter and before else None
    return Sample(items=len(latencies) * contender.per_call, seconds=elapsed, latencies=sorted(latencies), moved=moved)


async def interleave(
    contenders: Mapping[str, Contender],
    *,
    rounds: int,
    callers: int,
    seconds: float,
    meters: Mapping[str, Meter] | None = None,
) -> dict[str, list[Sample]]:
    """Warm everybody up, then let them alternate; sample i of each belongs to round i."""
    names = list(contenders)
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    # What was set up lives on: no collection of ours shall walk it in the middle of somebody's cell.
    gc.collect()
    gc.freeze()
    for name in names:
        await closed_loop(contenders[name], callers=callers, seconds=seconds / 2)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            await asyncio.sleep(QUIET_SECONDS)
            meter = meters.get(name) if meters else None
            sample = await closed_loop(contenders[name], callers=callers, seconds=seconds, meter=meter)
            samples[name].append(sample)
    return samples


def paired(ours: Sequence[float], others: Sequence[float]) -> Ratio:
    """The ratio of each round; median and range."""
    ratios = [a / b for a, b in zip(ours, others, strict=True)]
    return Ratio(median=statistics.median(ratios), low=min(ratios), high=max(ratios))


def median_of(ratio: Ratio | None) -> float | None:
    """Its median, where there is one."""
    return ratio.median if ratio else None


def rates(samples: Sequence[Sample]) -> list[float]:
    """The rate of each round."""
    return [sample.rate for sample in samples]


def median_rate(samples: Sequence[Sample]) -> float:
    """The middle of the rounds' rates."""
    return statistics.median(rates(samples))


def per_item(samples: Sequence[Sample], counter: str) -> float:
    """A counter's movement for each item, over all rounds that were metered."""
    total = sum(getattr(sample.moved, counter) for sample in samples if sample.moved)
    return float(total) / max(sum(sample.items for sample in samples if sample.moved), 1)
