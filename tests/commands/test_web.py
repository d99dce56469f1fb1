"""Web workers: they share a port, are replaced when they die, and never outlive their parent."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

PATIENCE_SECONDS = 30


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def serve(port, tmp_path):
    """Start a parent with two workers; every one that was started is ended."""
    started = []

    def start() -> subprocess.Popen:
        started.append(subprocess.Popen([sys.executable, "-m", "tests.commands.echo", str(port), str(tmp_path)]))
        return started[-1]

    yield start
    for parent in started:
        parent.kill()
        parent.wait()


def worker_at(port: int) -> int | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as reply:
            return int(reply.read())
    except (urllib.error.URLError, OSError):
        return None


def answers_at(port: int) -> float:
    """What `/metrics` says that all workers together have answered, since the parent was started."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as reply:
        lines = reply.read().decode().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("echo_answers_total "))


def workers_at(port: int, *, count: int, without: int | None = None) -> set[int]:
    """Ask until so many different workers have answered."""
    deadline, found = time.monotonic() + PATIENCE_SECONDS, set()
    while len(found) < count:
        assert time.monotonic() < deadline, found
        found |= {worker_at(port)} - {None, without}
        time.sleep(0.02)
    return found


def test_workers_share_the_port_and_end_with_their_parent(serve, port):
    parent = serve()
    assert len(workers_at(port, count=2)) == 2
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(timeout=PATIENCE_SECONDS) == 0
    assert worker_at(port) is None


def test_killed_worker_is_replaced(serve, port):
    serve()
    killed = min(workers_at(port, count=2))
    os.kill(killed, signal.SIGKILL)
    assert len(workers_at(port, count=2, without=killed)) == 2


def test_killed_parent_takes_its_workers_along_and_can_be_started_again(serve, port):
    first = serve()
    before = workers_at(port, count=2)
    first.kill()
    first.wait()
    serve()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while worker_at(port) in {None, *before}:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert workers_at(port, count=2).isdisjoint(before)


def test_whoever_is_asked_counts_for_all_workers_the_dead_ones_too(serve, port):
    parent, answered = serve(), []
    while len(set(answered)) < 2 or len(answered) < 20:
        answered += [worker for worker in [worker_at(port)] if worker is not None]
    assert {answers_at(port) for _ in range(10)} == {len(answered)}
    os.kill(answered[0], signal.SIGKILL)
    replaced = workers_at(port, count=2, without=answered[0])
    assert answered[0] not in replaced
    assert answers_at(port) > len(answered)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(timeout=PATIENCE_SECONDS) == 0
    serve()
    workers_at(port, count=1)
    assert answers_at(port) < len(answered)
