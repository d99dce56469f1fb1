"""Background work with a limit, so that what is slow holds up nothing but itself; and rounds that are worth it."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final

from gateway.foundation.logs import get_logger

TOGETHER_SECONDS: Final = 0.01
"""How long those that end together with the first are waited for: whoever asks for more work asks once for all."""

APART_SECONDS: Final = 0.1
"""How far a claim keeps from one that found something. What comes meanwhile shares the next one, and with it the
transaction of its facts and the statement that ends it: at 30 callbacks a second a third of both, at 100 a sixth. Half
of what the loops pause where nothing is found, so nobody waits longer under load than in quiet."""

_log = get_logger("quickkub.webhooks")


class Pace:
    """Keeps claims apart, where they find less than there is room for.

    The first after a quiet while waits for nothing, nor does one after a claim that may have left something behind.
    """

    def __init__(self) -> None:
        self._began_at = self._not_before = -math.inf

    async def next_claim(self) -> None:
        """Wait until it is time for the next claim."""
        if (wait_seconds := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(wait_seconds)
        self._began_at = time.monotonic()

    def found(self, count: int, *, limit: int) -> None:
        """What the claim found, and how much it might have."""
        if 0 < count < limit:
            self._not_before = self._began_at + APART_SECONDS


class Slots:
    """At most `limit` coroutines work at a time; each returns how many things it did.

    Args:
        limit: how many work.
        lent_max: how many more may be under way, because others only wait and have `lent` their slots meanwhile.
    """

    def __init__(self, limit: int, *, lent_max: int = 0) -> None:
        self._limit = limit
        self._under_way_max = limit + lent_max
        self._turns = asyncio.Semaphore(limit)
        self._running: set[asyncio.Task[int]] = set()
        self._lent = 0
        self._started = False

    @property
    def free(self) -> int:
        """How many more may be started."""
        working = len(self._running) - self._lent
        return max(min(self._limit - working, self._under_way_max - len(self._running)), 0)

    def start(self, work: Coroutine[Any, Any, int]) -> None:
        """Run it in the background, when its turn comes; a slot must have been free when the caller asked.

        Work that has lent its slot may have come back for it since.
        """
        assert len(self._running) < self._under_way_max
        self._started = True
        self._running.add(asyncio.create_task(self._in_turn(work)))

    @contextlib.asynccontextmanager
    async def lent(self) -> AsyncIterator[None]:
        """Let others have the slot of the work that calls this, while it only waits for somebody outside.

        Who comes back to work goes before what is new.
        """
        self._lent += 1
        self._turns.release()
        try:
            yield
        finally:
            self._lent -= 1
            await self._turns.acquire()

    async def gather(self, *, seconds: float | None) -> int:
        """What was done by those that ended; errors are logged, not raised.

        Args:
            seconds: how long to wait at most for the first to end; where nothing was started since the last time and
                slots are free, there is no reason to wait. None = until nothing runs.
        """
        if not self._running:
            return 0
        worth_waiting, self._started = self._started or not self.free, False
        if seconds is None:
            await asyncio.wait(self._running)
        elif worth_waiting:
            await asyncio.wait(self._running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(self._running, timeout=TOGETHER_SECONDS)
        ended = {task for task in self._running if task.done()}
        self._running -= ended
        done = 0
        for task in ended:
            error = task.exception()
            if error is None:
                done += task.result()
            else:
                _log.error("background work failed", exc_info=error)
        return done

    async def _in_turn(self, work: Coroutine[Any, Any, int]) -> int:
        async with self._turns:
            return await work
