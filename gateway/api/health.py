"""Is it alive, may it get requests, is it well: three questions for three askers."""

from enum import StrEnum

import msgspec
from litestar import Response, Router, get
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateway.api.services import ApiRequest, Services, services_of
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


@get("/live", summary="Is the process alive?")
async def live() -> Health:
    """For whoever restarts processes: answers while the process can."""
    return Health(status=State.OK, checks={})


@get("/ready", summary="May the process get requests?")
async def ready(request: ApiRequest) -> Response[Health]:
    """For load balancers: 503 while the database is away or its schema is not this version's."""
    services = services_of(request)
    return _reply({"database": await _database(services), "valkey": await _valkey(services)})


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


HEALTH = Router("/health", route_handlers=[live, ready], tags=["health"])
