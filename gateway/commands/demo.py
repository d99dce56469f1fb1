"""`quickkub demo`: one baht all the way, on this machine."""

import asyncio
import signal
from collections.abc import Iterator

import rich_click as click

from gateway.demo.client import CallFailed
from gateway.demo.processes import ProcessesFailed
from gateway.demo.run import run
from gateway.demo.story import JobsStuck
from gateway.demo.traffic import TrafficStuck
from gateway.foundation.settings import Settings
from reports.identities import IdentityFailed


@click.command()
@click.option("--once", is_flag=True, help="End after the summary; exit code 1 if anything does not hold.")
@click.option("--fresh", is_flag=True, help="Forget what an earlier demonstration did and start over.")
def demo(*, once: bool, fresh: bool) -> None:
    """Play 200 payments through every room of the house and prove that the books agree."""
    try:
        code = asyncio.run(_demo(once=once, fresh=fresh))
    except* (ProcessesFailed, TrafficStuck, JobsStuck, CallFailed, IdentityFailed) as failed:
        raise click.ClickException("\n".join(_messages(failed))) from None
    raise SystemExit(code)


def _messages(failed: BaseExceptionGroup[BaseException]) -> Iterator[str]:
    """What went wrong, without where in the code: the logs of the processes have that."""
    for each in failed.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _messages(each)
        else:
            yield str(each)


async def _demo(*, once: bool, fresh: bool) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await run(Settings.from_environment(), once=once, fresh=fresh, stop=stop)
