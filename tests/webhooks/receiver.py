"""A merchant's endpoint: keeps what came and answers as told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.providers.stub import Reply, Request, Stub, serving


@asynccontextmanager
async def receiving(*answers: Reply, delay_seconds: float = 0) -> AsyncIterator[Stub]:
    """Gives the answers one after the other, the last one for ever; none = 200."""
    waiting = list(answers) or [(200, b"ok")]

    async def handler(request: Request) -> Reply:
        if delay_seconds:
            await asyncio.sleep(delay_seconds)
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    async with serving(handler) as stub:
        yield stub


def ids_of(stub: Stub) -> list[str]:
    return [request.headers["webhook-id"] for request in stub.requests]


def types_of(stub: Stub) -> list[str]:
    return [request.json()["type"] for request in stub.requests]
