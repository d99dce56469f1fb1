"""The worker: everything that happens without a request, as loops side by side.

Any number of workers may run: every piece of work is a row that one of them claims. A loop that fails says so in
the log, counts it and goes on after a pause; only a signal ends it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import msgspec
from prometheus_client import start_http_server

from gateway import checkpoints, jobs, upkeep
from gateway.bootstrap import Services, open_services
from gateway.foundation.clock import real_now
from gateway.foundation.collecting import set_aside_what_stays
from gateway.foundation.embedded import ensure_port_free
from gateway.foundation.logs import get_logger
from gateway.foundation.metrics import JOB_LAST_SUCCESS_TIMESTAMP, WORKER_LOOP_FAILURES
from gateway.foundation.settings import Settings
from gateway.payments import velocity
from gateway.scheduler import Scheduler

PAUSE_AFTER_FAILURE_SECONDS: Final = 1.0
JOB_POLL_SECONDS: Final = 0.5
MONTHS_POLL_SECONDS: Final = 3600.0
OLD_KEYS_POLL_SECONDS: Final = 86_400.0
HOLDS_POLL_SECONDS: Final = 5.0
CHECKPOINTS_POLL_SECONDS: Final = 600.0

_log = get_logger("quickkub.worker")


class Loop(msgspec.Struct, frozen=True):
    """Work done over and over.

    Attributes:
        run_once: does what is due and returns how much that was; called again at once while it is not zero.
        pause_seconds: how long to wait when nothing was due.
    """

    name: str
    run_once: Callable[[], Awaitable[int]]
    pause_seconds: float


async def repeat(loop: Loop, stop: asyncio.Event) -> None:
    """Run one loop until `stop` is set; the piece of work under way is finished first."""
    while not stop.is_set():
        try:
            pause = 0.0 if await loop.run_once() else loop.pause_seconds
        except Exception:  # noqa: BLE001 -- whatever it is, the other loops go on and this one tries again
            WORKER_LOOP_FAILURES.labels(loop.name).inc()
            _log.exception("worker loop failed", extra={"loop": loop.name})
            pause = PAUSE_AFTER_FAILURE_SECONDS
        if pause:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)


async def run_job(services: Services) -> int:
    """Claim and run one daily job; 0 where none is due."""
    job = await jobs.claim(services.database, now=real_now())
    if job is None:
        return 0
    try:
        result = await services.daily.run(job)
    except Exception as error:  # noqa: BLE001 -- kept with the job, which is tried again later
        _log.exception("job failed", extra={"job": job.step.name.lower(), "book_id": job.book_id})
        async with services.database.transaction() as connection:
            await jobs.postpone(connection, job, error=f"{type(error).__name__}: {error}", now=real_now())
    else:
        async with services.database.transaction() as connection:
            await jobs.finish(connection, job, result=result, now=real_now())
        JOB_LAST_SUCCESS_TIMESTAMP.labels(job.step.name.lower()).set(real_now().timestamp())
    return 1


def _unhurried(run_once: Callable[[], Awaitable[int]]) -> Callable[[], Awaitable[int]]:
    """The same work, always with the pause after it: what it finds may have to wait for others."""

    async def run() -> int:
        await run_once()
        return 0

    return run


def loops(services: Services) -> tuple[Loop, ...]:
    """What this worker does."""
    settings = services.settings
    return (
        Loop("inbox", services.inbox.run_once, settings.inbox_poll_seconds),
        Loop("janitor", services.janitor.run_once, settings.janitor_poll_seconds),
        Loop("disputes", services.dispute_upkeep.run_once, settings.janitor_poll_seconds),
        Loop("deliveries", services.deliverer.run_once, settings.delivery_poll_seconds),
        Loop("payouts", _unhurried(services.payout_sweeper.run_once), settings.payout_sweep_seconds),
        Loop("claims", _unhurried(services.refund_claims.run_once), settings.payout_sweep_seconds),
        Loop("overrides", _unhurried(services.overrides.run_once), settings.payout_sweep_seconds),
        Loop("receipts", _unhurried(services.receipts.run_once), settings.payout_sweep_seconds),
        Loop("jobs", lambda: run_job(services), JOB_POLL_SECONDS),
        Loop("registrations", _unhurried(services.register_pending), settings.registration_poll_seconds),
        Loop("months", _unhurried(lambda: upkeep.make_months(services.database)), MONTHS_POLL_SECONDS),
        Loop(
            "holds",
            _unhurried(lambda: upkeep.expire_holds(services.database, services.ledger)),
            HOLDS_POLL_SECONDS,
        ),
        Loop(
            "checkpoints",
            _unhurried(lambda: checkpoints.make_due(services.database, settings)),
            CHECKPOINTS_POLL_SECONDS,
        ),
        Loop("old_keys", services.idempotency.forget_old, OLD_KEYS_POLL_SECONDS),
        Loop("old_marks", lambda: velocity.forget_old(services.database), OLD_KEYS_POLL_SECONDS),
    )


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Run every loop and the scheduler until `stop` is set; what is under way is finished first."""
    with _metrics(settings):
        async with open_services(settings) as services:
            scheduler = Scheduler(services.database, tick_seconds=settings.scheduler_tick_seconds)
            scheduler.start()
            set_aside_what_stays()
            try:
                async with asyncio.TaskGroup() as group:
                    for loop in loops(services):
                        group.create_task(repeat(loop, stop), name=loop.name)
            finally:
                scheduler.stop()


@contextlib.contextmanager
def _metrics(settings: Settings) -> Iterator[None]:
    """What only a worker measures – unknown attempts, the age of deliveries, failing loops – on a port of its own."""
    if not settings.worker_metrics_port:
        yield
        return
    ensure_port_free(settings.api_host, settings.worker_metrics_port, variable="QUICKKUB_WORKER_METRICS_PORT")
    server, thread = start_http_server(settings.worker_metrics_port, settings.api_host)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
