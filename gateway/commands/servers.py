"""`quickkub servers`: the embedded PostgreSQL and Valkey without anybody using them."""

import rich_click as click

from gateway.foundation import embedded
from gateway.foundation.settings import Settings


@click.group()
def servers() -> None:
    """The embedded PostgreSQL and Valkey."""


@servers.command()
def start() -> None:
    """Start them and leave them running until `quickkub servers stop`."""
    embedded.start(Settings.from_environment().home)
    _show()


@servers.command()
def stop() -> None:
    """Stop them, unless a running process still uses them."""
    embedded.stop(Settings.from_environment().home)
    _show()


@servers.command()
def status() -> None:
    """Say what runs; exit code 1 unless both do."""
    if not _show():
        raise SystemExit(1)


def _show() -> bool:
    home = Settings.from_environment().home
    found = embedded.status(home)
    for name, process_id in (("PostgreSQL", found.postgres), ("Valkey", found.valkey)):
        print(f"{name:10} {f'process {process_id}' if process_id else 'not running'}")
    print(f"home       {home.absolute()}")
    return found.postgres is not None and found.valkey is not None
