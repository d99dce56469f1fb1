"""The gateway's processes as children: started, watched, restarted when they die, stopped cleanly."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx

QUICKKUB: Final = "gateway.cli"
START_TIMEOUT_SECONDS: Final = 30
STOP_TIMEOUT_SECONDS: Final = 10
RESTART_PAUSE_SECONDS: Final = 0.3


class ProcessesFailed(Exception):
    """A process of the gateway did not come up; its log says why."""


class Processes:
    """Child processes of this one, by name.

    A child that ends by itself or is killed is started again, as a supervisor in production would do.
    """

    def __init__(self, log_folder: Path, environment: Mapping[str, str]) -> None:
        """Logs go to `<log_folder>/<name>.log`; the environment is given to every child."""
        self._log_folder = log_folder
        self._environment = {**os.environ, **environment}
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self.restarts = 0

    @property
    def process_ids(self) -> dict[str, int]:
        """The children that run now."""
        return {name: child.pid for name, child in self._children.items()}

    async def start(
        self, name: str, arguments: Sequence[str], *, ready_url: str | None = None, module: str = QUICKKUB
    ) -> None:
        """Start `quickkub <arguments>`, or another module, and wait until `ready_url` answers 200.

        Raises:
            ProcessesFailed: it did not come up in time.
        """
        self._log_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = ("-m", module, *arguments)
        await self._spawn(name, command)
        self._watchers.append(asyncio.create_task(self._watch(name, command)))
        if ready_url is not None:
            await self._wait_for(name, ready_url)

    def kill(self, name: str) -> None:
        """End a child as a crash would: SIGKILL, no goodbye. Its watcher starts it again."""
        self._children[name].kill()

    async def stop(self) -> None:
        """Ask every child to end, and insist after a while."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)
        await asyncio.gather(*(self._reap(child) for child in self._children.values()))
        self._children.clear()

    async def _spawn(self, name: str, command: Sequence[str]) -> None:
        with (self._log_folder / f"{name}.log").open("ab") as log:
            self._children[name] = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal reaches the parent only; it stops the children in order.
                start_new_session=True,
            )

    async def _watch(self, name: str, command: Sequence[str]) -> None:
        while True:
            await self._children[name].wait()
            self.restarts += 1
            await asyncio.sleep(RESTART_PAUSE_SECONDS)
            await self._spawn(name, command)

    async def _wait_for(self, name: str, url: str) -> None:
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT_SECONDS
        async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
            while asyncio.get_running_loop().time() < deadline:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(url)).is_success:
                        return
                await asyncio.sleep(0.1)
        log = (self._log_folder / f"{name}.log").read_text(errors="replace")
        raise ProcessesFailed(
            f"{name} did not answer at {url} within {START_TIMEOUT_SECONDS} s; its log ends with:\n{log[-2000:]}"
        )

    async def _reap(self, child: asyncio.subprocess.Process) -> None:
        try:
            await asyncio.wait_for(child.wait(), STOP_TIMEOUT_SECONDS)
        except TimeoutError:
            child.kill()
            await child.wait()
