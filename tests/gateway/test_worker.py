"""The worker's loops: one that fails goes on, and what a worker measures can be scraped."""

import asyncio
import socket

import httpx
import pytest

from gateway import worker
from gateway.foundation.metrics import WORKER_LOOP_FAILURES
from gateway.foundation.settings import Settings
from gateway.worker import Loop, repeat


async def test_a_loop_that_fails_is_counted_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PAUSE_AFTER_FAILURE_SECONDS", 0.001)
    stop, calls = asyncio.Event(), []

    async def run_once() -> int:
        calls.append(1)
        if len(calls) == 3:
            stop.set()
        if len(calls) == 1:
            raise OSError("the database is away")
        return 0

    before = WORKER_LOOP_FAILURES.labels("test")._value.get()
    await asyncio.wait_for(repeat(Loop("test", run_once, 0.001), stop), 5)
    assert len(calls) == 3
    assert WORKER_LOOP_FAILURES.labels("test")._value.get() == before + 1


async def test_a_loop_with_work_does_not_pause() -> None:
    stop, left = asyncio.Event(), [3, 2, 1, 0]

    async def run_once() -> int:
        found = left.pop(0)
        if not left:
            stop.set()
        return found

    await asyncio.wait_for(repeat(Loop("busy", run_once, 60), stop), 5)
    assert left == []


async def test_a_workers_own_metrics_are_served_where_a_port_is_set() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with worker._metrics(Settings(worker_metrics_port=port)):
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.status_code == 200
    assert "quickkub_worker_loop_failures_total" in answer.text
    with worker._metrics(Settings()):
        pass
