"""`quickkub demo`: one baht all the way, on this machine."""

import asyncio
import signal

import rich_click as click

from gateway.demo.run import run
from gateway.foundation.settings import Settings


@click.command()
@click.option("--once", is_flag=True, help="End after the summary; exit code 1 if anything does not hold.")
@click.option("--fresh", is_flag=True, help="Forget what an earlier demonstration did and start over.")
def demo(*, once: bool, fresh: bool) -> None:
    """Play 200 payments through every room of the house and prove that the books agree."""
    raise SystemExit(asyncio.run(_demo(once=once, fresh=fresh)))


async def _demo(*, once: bool, fresh: bool) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await run(Settings.from_environment(), once=once, fresh=fresh, stop=stop)
