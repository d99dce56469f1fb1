"""The merchant's endpoint as a process of its own: takes events and notes when a payment's success was heard.

`GET /heard` gives what was noted since it was last asked: `[[payment intent, monotonic seconds], …]`. The clock is the
machine's, the same for all processes.
"""

import sys
import time
from typing import Any, Final

import msgspec
import uvicorn

SUCCEEDED: Final = "payment_intent.succeeded"


class _Object(msgspec.Struct):
    id: str


class _Data(msgspec.Struct):
    object: _Object


class _Event(msgspec.Struct):
    type: str
    data: _Data


_heard: list[tuple[str, float]] = []


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """204 for an event; the list for `GET /heard`."""
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = b""
    if scope["method"] == "GET":
        answer = msgspec.json.encode(_heard)
        _heard.clear()
    else:
        event = msgspec.json.decode(body, type=_Event)
        if event.type == SUCCEEDED:
            _heard.append((event.data.object.id, time.monotonic()))
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200 if answer else 204, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False, lifespan="off")
