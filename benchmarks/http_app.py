"""The API with one address more: `POST /bench/echo`, the floor that a request of this server costs.

`python -m benchmarks.http_app` serves it as `quickkub serve` does the product's, by the settings in the environment.
"""

import asyncio
import signal
from typing import Any, Final

from litestar import post
from litestar.types import ASGIApp

from gateway import app as product
from gateway.api.front_door import FrontDoor
from gateway.commands import web
from gateway.foundation import logs
from gateway.foundation.settings import Settings

APP: Final = "benchmarks.http_app:create_app"


@post("/bench/echo", status_code=200, include_in_schema=False)
async def echo(data: dict[str, Any]) -> dict[str, Any]:
    """The JSON that came, read and written again; behind the same front door, with no key and no database."""
    return data


def create_app() -> ASGIApp:
    """The product's application and the echo."""
    door = product.create_app()
    assert isinstance(door, FrontDoor)
    door.app.register(echo)  # type: ignore[attr-defined]  # the Litestar application behind the door
    return door


async def _serve() -> None:
    settings, stop = Settings.from_environment(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with await web.listen(settings.api_host, settings.api_port, variable="QUICKKUB_API_PORT") as listener:
        await web.serve_in_children(APP, listener, settings, stop)


if __name__ == "__main__":
    logs.configure()
    asyncio.run(_serve())
