"""Background work with a limit, so that what is slow holds up nothing but its own slot."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from gateway.foundation.logs import get_logger

_log = get_logger("quickkub.webhooks")


class Slots:
    """At most `limit` coroutines at a time; each returns how many things it did."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running: set[asyncio.Task[int]] = set()

    @property
    def free(self) -> int:
        """How many more may be started."""
        return self._limit - len(self._running)

    def start(self, work: Coroutine[Any, Any, int]) -> None:
        """Run it in the background; a slot must be free."""
        assert self.free > 0
        self._running.add(asyncio.create_task(work))

    async def gather(self, *, seconds: float | None) -> int:
        """What was done by those that ended, once all have or the time is up. Errors are logged, not raised.

        Args:
            seconds: how long to wait at most; None = until nothing runs.
        """
        if not self._running:
            return 0
        ended, self._running = await asyncio.wait(self._running, timeout=seconds)
        done = 0
        for task in ended:
            error = task.exception()
            if error is None:
                done += task.result()
            else:
                _log.error("background work failed", exc_info=error)
        return done
