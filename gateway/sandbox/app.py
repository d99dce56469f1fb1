"""The sandbox's application: one database pool, one sender of callbacks, one controller for each side."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import asyncpg
from litestar import Litestar, Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide

from gateway.foundation import test_faults
from gateway.foundation.clock import real_now
from gateway.foundation.logs import get_logger
from gateway.foundation.settings import Settings, SettingsInvalid
from gateway.sandbox.control import Control
from gateway.sandbox.registry import PROVIDERS
from gateway.sandbox.service import Sandbox
from gateway.sandbox.wire import Refusal, json_answer
from gateway.sandbox.world import HAS_WORK, open_pool

TICK_SECONDS: Final = 1
BODY_BYTES_MAX: Final = 10_000_000

_WORLDS_WITH_WORK: Final = f"SELECT world FROM sandbox.worlds w WHERE {HAS_WORK}"

_logger = get_logger(__name__)


def create_app(settings: Settings | None = None) -> Litestar:
    """The application; without settings, those of the environment.

    Raises:
        SettingsInvalid: no database or no control key.
    """
    settings = settings or Settings.from_environment()
    dsn, control_key = settings.sandbox_database_url, settings.sandbox_control_key
    if dsn is None or control_key is None:
        raise SettingsInvalid("the sandbox needs SANDBOX_DATABASE_URL and SANDBOX_CONTROL_KEY")

    @asynccontextmanager
    async def running(app: Litestar) -> AsyncIterator[None]:
        pool = await open_pool(dsn)
        sandbox = Sandbox(pool, PROVIDERS, control_key=control_key, sandbox_url=settings.sandbox_url)
        app.state.sandbox = sandbox
        sandbox.callbacks.start()
        ticking = asyncio.create_task(_tick(sandbox))
        try:
            yield
        finally:
            ticking.cancel()
            with suppress(asyncio.CancelledError):
                await ticking
            await sandbox.callbacks.stop()
            await pool.close()

    def the_sandbox() -> Sandbox:
        sandbox: Sandbox = application.state.sandbox
        return sandbox

    application = Litestar(
        route_handlers=[
            *(handler for provider in PROVIDERS.values() for handler in provider.handlers),
            Control,
            health,
        ],
        dependencies={"sandbox": Provide(the_sandbox, sync_to_thread=False)},
        exception_handlers={Refusal: _refused, LookupError: _unknown_world},
        lifespan=[running],
        openapi_config=None,
        logging_config=None,
        before_request=_note_fault,
        request_max_body_size=BODY_BYTES_MAX,
    )
    return application


@get("/health", summary="Whether the sandbox can work")
async def health(sandbox: NamedDependency[Sandbox]) -> dict[str, str]:
    """200 when the database answers."""
    await sandbox.worlds.pool.fetchval("SELECT 1")
    return {"status": "ok"}


async def _note_fault(request: Request[Any, Any, State]) -> None:
    """Keep the fault that the request brought for the operation that it asks for."""
    test_faults.come(request.headers.get(test_faults.HEADER))


def _refused(_: Request[Any, Any, State], refusal: Refusal) -> Response[bytes]:
    return refusal.answer.response()


def _unknown_world(_: Request[Any, Any, State], error: LookupError) -> Response[bytes]:
    return json_answer({"code": "unknown_world", "message": f"no world {error}"}, 404).response()


async def _tick(sandbox: Sandbox) -> None:
    """Open the worlds in which something fell due, so that it happens though nobody asks."""
    while True:
        await asyncio.sleep(TICK_SECONDS)
        try:
            for row in await sandbox.worlds.pool.fetch(_WORLDS_WITH_WORK, real_now()):
                async with sandbox.worlds.open(row["world"]):
                    pass
                sandbox.callbacks.wake()
        except (asyncpg.PostgresError, OSError) as error:
            _logger.warning("due work waits for the database", extra={"error": type(error).__name__})
