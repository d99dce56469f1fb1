"""An application that answers with the process that serves it."""

import os


def create_app():
    return answer


async def answer(scope, receive, send) -> None:
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


def main() -> None:
    """Serve in children until SIGTERM, as `quickkub serve` does."""
    import asyncio
    import signal
    import sys

    from gateway.commands import web
    from gateway.foundation.settings import Settings

    async def whole() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        with await web.listen("127.0.0.1", int(sys.argv[1]), variable="QUICKKUB_API_PORT") as listener:
            await web.serve_in_children("tests.commands.echo:create_app", listener, Settings(), stop)

    asyncio.run(whole())


if __name__ == "__main__":
    main()
