"""`quickkub`: every command, each group in its own module under `gateway/commands/`, loaded when it is used."""

import sys
from importlib import import_module
from typing import Final, NoReturn

import rich_click as click

from gateway.foundation.embedded.errors import EmbeddedUnavailable
from gateway.foundation.settings import SettingsInvalid

COMMANDS: Final = {
    "demo": "gateway.commands.demo:demo",
    "up": "gateway.commands.processes:up",
    "serve": "gateway.commands.processes:serve",
    "work": "gateway.commands.processes:work",
    "sandbox": "gateway.commands.processes:sandbox",
    "servers": "gateway.commands.servers:servers",
    "database": "gateway.commands.database:database",
    "ledger": "gateway.commands.ledger_proofs:ledger",
    "merchants": "gateway.commands.merchants:merchants",
    "terms": "gateway.commands.terms:terms",
    "limits": "gateway.commands.limits:limits",
    "operators": "gateway.commands.operators:operators",
    "providers": "gateway.commands.providers:providers",
    "webhooks": "gateway.commands.webhooks:webhooks",
    "reconciliation": "gateway.commands.reconciliation:reconciliation",
    "claims": "gateway.commands.claims:claims",
    "unmatched": "gateway.commands.unmatched:unmatched",
    "overrides": "gateway.commands.overrides:overrides",
    "disputes": "gateway.commands.disputes:disputes",
    "settlement": "gateway.commands.settlement:settlement",
    "reports": "gateway.commands.reports:reports",
    "export": "gateway.commands.reports:export",
}
"""Command → `module:attribute`."""


class LazyGroup(click.RichGroup):
    """A group whose commands are imported when they are asked for, so that each starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """QuickKub: payment gateway for Thailand on an append-only double-entry ledger."""


def main() -> None:
    """Run the command line; what is in the way is said in one sentence, without a traceback."""
    try:
        group()
    except (EmbeddedUnavailable, SettingsInvalid) as error:
        _end(str(error))
    except Exception as error:
        from gateway.commands.obstacles import sentence  # noqa: PLC0415 -- loaded when it is needed

        text = sentence(error)
        if text is None:
            raise
        _end(text)


def _end(text: str) -> NoReturn:
    print(f"quickkub: {text}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
