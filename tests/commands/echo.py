"""An application that answers with the process that serves it, and with what all of them have counted."""

import os

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

ANSWERS = Counter("echo_answers_total", "Requests answered with a process.")


def create_app():
    return answer


async def answer(scope, receive, send) -> None:
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    if scope["path"] == "/metrics":
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        body = generate_latest(registry)
    else:
        ANSWERS.inc()
        body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve in children until SIGTERM, as `quickkub serve` does."""
    import asyncio
    import signal
    import sys
    from pathlib import Path

    from gateway.commands import web
    from gateway.foundation.settings import Settings

    async def whole() -> None:
        stop, settings = asyncio.Event(), Settings(home=Path(sys.argv[2]))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        with await web.listen("127.0.0.1", int(sys.argv[1]), variable="QUICKKUB_API_PORT") as listener:
            await web.serve_in_children("tests.commands.echo:create_app", listener, settings, stop)

    asyncio.run(whole())


if __name__ == "__main__":
    main()
