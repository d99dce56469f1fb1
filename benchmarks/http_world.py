"""A whole QuickKub for the bench over HTTP: each part a process of its own, all on this machine, with one merchant."""

import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from benchmarks.http_client import Connections, request
from benchmarks.http_receiver import SUCCEEDED
from benchmarks.meter import memory_bytes, tree_memory_bytes, tree_seconds
from benchmarks.options import Options
from benchmarks.server import Database, Server
from gateway.bootstrap import open_services
from gateway.demo.processes import Processes
from gateway.foundation import embedded
from gateway.foundation.settings import Settings
from gateway.merchants.accounts import create_account

NO_LIMIT: Final = 1_000_000
"""Requests a second that the bench's merchant may make; addresses keep the product's limit."""
GENERATOR: Final = "load generator"
SANDBOX_CONNECTIONS: Final = 50


class World(msgspec.Struct, frozen=True, kw_only=True):
    """The running parts and how they are reached.

    Attributes:
        process_ids: by the part's name; the load generator is this process, and all but the servers its children.
        api, payers: connections to the API and to the sandbox's control interface; receiver: to the endpoint.
        book_id: of the merchant's test money, and the name of its world in the sandbox.
    """

    settings: Settings
    process_ids: Mapping[str, int]
    api: Connections
    payers: Connections
    receiver: Connections
    secret: str
    book_id: int
    endpoint_id: str

    async def listen_no_more(self) -> None:
        """Switch the endpoint off: nothing is delivered from now on."""
        off = request("POST", f"/v1/webhook_endpoints/{self.endpoint_id}", {"enabled": False}, bearer=self.secret)
        answer = await self.api.call(off)
        assert answer.status < 300, answer.body

    def seconds(self) -> dict[str, float]:
        """Processor time that each part has used."""
        parts = {name: tree_seconds(number) for name, number in self.process_ids.items()}
        return parts | {GENERATOR: time.process_time()}

    def memory_bytes(self) -> dict[str, int]:
        """Memory of each part; what processes share counts once."""
        parts = {name: tree_memory_bytes(number) for name, number in self.process_ids.items()}
        return parts | {GENERATOR: memory_bytes(os.getpid())}


@asynccontextmanager
async def running(server: Server, options: Options) -> AsyncIterator[World]:
    """Start every part on a database of its own and open a merchant; stop them at the end."""
    database = await server.clone("http")
    with tempfile.TemporaryDirectory(prefix="quickkub-bench-http-") as folder:
        settings = _settings(server, database, Path(folder), options)
        endpoint_port = _free_port()
        processes = Processes(Path(folder) / "logs", settings.as_environment())
        try:
            await processes.start("sandbox", ["sandbox"], ready_url=f"{settings.sandbox_url}/health")
            await processes.start(
                "API", [], ready_url=f"{settings.public_url}/health/ready", module="benchmarks.http_app"
            )
            await processes.start("worker", ["work"])
            await processes.start("receiver", [str(endpoint_port)], module="benchmarks.http_receiver")
            account_id, book_id, secret = await _merchant(settings)
            await _lift_limit(database, account_id)
            api = Connections(settings.api_port, options.http_connections, many_addresses=True)
            await api.open()
            world = World(
                settings=settings,
                process_ids=processes.process_ids | _servers(server),
                api=api,
                payers=Connections(settings.sandbox_port, SANDBOX_CONNECTIONS),
                receiver=Connections(endpoint_port, 1),
                secret=secret,
                book_id=book_id,
                endpoint_id=await _listen(api, secret, endpoint_port),
            )
            yield world
            for connections in (world.api, world.payers, world.receiver):
                connections.close()
            assert processes.restarts == 0, "a part has died and was started again: its figures are worth nothing"
        finally:
            await processes.stop()


def _settings(server: Server, database: Database, folder: Path, options: Options) -> Settings:
    api_port, sandbox_port = _free_port(), _free_port()
    return Settings(
        home=folder,
        database_url=database.app_dsn,
        sandbox_database_url=database.sandbox_dsn,
        redis_url=server.endpoints.redis_url,
        master_key=server.endpoints.master_key,
        sandbox_control_key=server.endpoints.sandbox_control_key,
        api_port=api_port,
        sandbox_port=sandbox_port,
        public_url=f"http://127.0.0.1:{api_port}",
        sandbox_url=f"http://127.0.0.1:{sandbox_port}",
        web_workers=options.http_workers,
    )


def _servers(server: Server) -> dict[str, int]:
    valkey = embedded.status(server.home).valkey
    return {"PostgreSQL": server.process_id} | ({"Valkey": valkey} if valkey is not None else {})


async def _merchant(settings: Settings) -> tuple[str, int, str]:
    async with open_services(settings) as services:
        created = await create_account(
            services.database,
            services.vault,
            name="Bench Shop",
            email="bench@shop.invalid",
            actor="bench",
            reason="a benchmark",
            sandbox_url=settings.sandbox_url,
            public_url=settings.public_url,
            sandbox=services.sandbox,
        )
    return created.account_id, created.test_book_id, created.test_key.secret


async def _lift_limit(database: Database, account_id: str) -> None:
    connection = await asyncpg.connect(database.superuser_dsn)
    try:
        await connection.execute(
            "UPDATE gateway.accounts SET rate_per_second = $2, rate_burst = $2 WHERE account_id = $1",
            *(account_id, NO_LIMIT),
        )
    finally:
        await connection.close()


async def _listen(api: Connections, secret: str, port: int) -> str:
    body = {"url": f"http://127.0.0.1:{port}/webhooks", "description": "bench", "event_types": [SUCCEEDED]}
    answer = await api.call(request("POST", "/v1/webhook_endpoints", body, bearer=secret, key="endpoint"))
    assert answer.status < 300, answer.body
    endpoint_id: str = answer.json()["endpoint"]["id"]
    return endpoint_id


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
