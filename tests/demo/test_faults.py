"""Kill −9 in the middle of the demonstration's payments: nothing acknowledged is lost, nothing is doubled.

Goal: the identities that hold after a quiet run hold after a run in which the API, the worker, PostgreSQL and
Valkey were each killed while payments were under way. Method: the demonstration itself, with fewer orders; each
victim is killed when so many orders have ended; then statements, settlement and payout go their way, and the
journal is held against the sandbox's own books.
"""

import os
import signal
import socket
from itertools import count
from pathlib import Path

import pytest

from gateway.demo.client import MerchantClient
from gateway.demo.orders import Befalls, plan
from gateway.demo.processes import Processes
from gateway.demo.run import running, with_short_waits
from gateway.demo.story import Story
from gateway.foundation import embedded
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.settings import Settings

ORDERS = 60
KILLED_AFTER = {10: "api", 22: "postgres", 34: "worker", 46: "valkey"}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def kill(victim: str, processes: Processes, home: Path) -> None:
    if victim in {"api", "worker"}:
        processes.kill(victim)
        return
    process_id = getattr(embedded.status(home), victim)
    assert process_id is not None
    os.kill(process_id, signal.SIGKILL)


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    environment = {
        "QUICKKUB_HOME": str(tmp_path_factory.mktemp("kill")),
        "QUICKKUB_API_PORT": str(free_port()),
        "QUICKKUB_SANDBOX_PORT": str(free_port()),
    }
    return with_short_waits(Settings.from_environment(environment))


@pytest.mark.timeout(400)
async def test_nothing_acknowledged_is_lost_or_doubled_when_everything_is_killed_once(settings: Settings) -> None:
    async with resolved(settings) as whole, running(whole) as (services, processes):
        story = Story(services, orders=ORDERS, say=lambda _: None)
        assert not await story.begin()
        async with MerchantClient(whole.public_url, story.state.api_key) as api:
            shop = await story.shop(api)
            ended = count(1)
            killed = []

            def one_ended(_: object) -> None:
                victim = KILLED_AFTER.get(next(ended))
                if victim is not None:
                    kill(victim, processes, whole.home)
                    killed.append(victim)

            await story.play(shop, one_ended)
            proofs = await story.prove(shop)
            payments = await api.all("/v1/payment_intents")
    assert [proof for proof in proofs if not proof.holds] == []
    assert killed == list(KILLED_AFTER.values())
    assert processes.restarts >= 2
    assert len(payments) == ORDERS
    declined = sum(1 for payment in payments if payment["status"] == "requires_payment_method")
    assert declined == sum(1 for order in plan(ORDERS) if order.befalls is Befalls.DECLINED)
