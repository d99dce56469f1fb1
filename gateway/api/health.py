"""Is it alive, may it get requests, is it well: three questions for three askers."""

from datetime import timedelta
from enum import StrEnum
from typing import Final

import msgspec
from litestar import Response, Router, get
from redis.exceptions import RedisError
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from gateway import upkeep
from gateway.api.services import ApiRequest, Services, services_of
from gateway.foundation.clock import real_now
from gateway.jobs import jobs
from gateway.payments.tables import attempts, refunds
from gateway.settlement.files import FileState
from gateway.settlement.receipts import measure_unidentified
from gateway.settlement.submission import UNANSWERED_AFTER, measure_in_transit, measure_unanswered
from gateway.settlement.tables import payout_files
from gateway.webhooks.tables import webhook_deliveries, webhook_inbox
from migrations.upgrade import heads


class State(StrEnum):
    """How a part is. `degraded` serves, with less than everything."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: the worst of the parts, and each part."""

    status: State
    checks: dict[str, State]


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What is due and not done, and how long the oldest has waited."""

    status: State
    count: int
    oldest_seconds: int


class Ahead(msgspec.Struct, frozen=True, kw_only=True):
    """For how many months after this one the books have room."""

    status: State
    months: int


class DeepHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for alarms: by queue, and how far the books are made ahead."""

    status: State
    waiting: dict[str, Waiting]
    ledger_months: Ahead


_QUEUES: Final = {
    "inbox": (webhook_inbox.c.next_attempt_at, webhook_inbox.c.state == "pending", 60),
    "deliveries": (webhook_deliveries.c.next_attempt_at, webhook_deliveries.c.state == "pending", 300),
    "open_attempts": (attempts.c.due_at, attempts.c.due_at.is_not(None), 300),
    "open_refunds": (refunds.c.due_at, refunds.c.due_at.is_not(None), 300),
    "payout_files": (payout_files.c.sent_at, payout_files.c.state == FileState.SENT, UNANSWERED_AFTER.seconds),
    "jobs": (jobs.c.not_before, jobs.c.state != "done", 3600),
}
"""When a row is due, whether it still waits, and how many seconds it may."""

_MONTHS_AHEAD_MIN: Final = 1


@get("/live", summary="Is the process alive?")
async def live() -> Health:
    """For whoever restarts processes: answers while the process can."""
    return Health(status=State.OK, checks={})


@get("/ready", summary="May the process get requests?")
async def ready(request: ApiRequest) -> Response[Health]:
    """For load balancers: 503 while the database is away or its schema is not this version's."""
    services = services_of(request)
    return _reply({"database": await _database(services), "valkey": await _valkey(services)})


@get("/deep", summary="Is the work done in time?")
async def deep(request: ApiRequest) -> Response[DeepHealth]:
    """For alarms: 503 while something waits longer than it may. Test books that run ahead of time are not counted."""
    now = real_now()
    waiting: dict[str, Waiting] = {}
    async with services_of(request).database.read() as connection:
        for name, (due_at, is_waiting, seconds_max) in _QUEUES.items():
            statement = select(func.count(), func.min(due_at)).where(is_waiting, due_at <= now)
            count, oldest_at = (await connection.execute(statement)).one()
            seconds = 0 if oldest_at is None else (now - oldest_at) // timedelta(seconds=1)
            state = State.FAILED if seconds > seconds_max else State.OK
            waiting[name] = Waiting(status=state, count=count, oldest_seconds=seconds)
        await measure_unanswered(connection)
        await measure_in_transit(connection)
        await measure_unidentified(connection)
    months = await upkeep.months_ahead(services_of(request).database)
    ahead = Ahead(status=State.OK if months >= _MONTHS_AHEAD_MIN else State.FAILED, months=months)
    worst = State.FAILED if State.FAILED in {ahead.status, *(queue.status for queue in waiting.values())} else State.OK
    health = DeepHealth(status=worst, waiting=waiting, ledger_months=ahead)
    return Response(health, status_code=503 if worst is State.FAILED else 200)


def _reply(checks: dict[str, State]) -> Response[Health]:
    worst = next((state for state in (State.FAILED, State.DEGRADED) if state in checks.values()), State.OK)
    return Response(Health(status=worst, checks=checks), status_code=503 if worst is State.FAILED else 200)


async def _database(services: Services) -> State:
    try:
        async with services.database.read() as connection:
            revisions = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalars().all()
    except (DBAPIError, OSError, TimeoutError):
        return State.FAILED
    return State.OK if list(revisions) == heads() else State.FAILED


async def _valkey(services: Services) -> State:
    """Losing Valkey only loosens rate limits, so it never takes us out of rotation."""
    if services.redis is None:
        return State.DEGRADED
    try:
        await services.redis.ping()
    except (RedisError, OSError):
        return State.DEGRADED
    return State.OK


HEALTH = Router("/health", route_handlers=[live, ready, deep], tags=["health"])
