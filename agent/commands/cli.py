"""`splitd`: the command group; each command's module is imported only when that command runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from splitd import __version__
from splitd.errors import SplitdError

COMMANDS = ("agent", "server", "demo", "inspect", "calibrate", "study", "replay", "check-config", "keygen")


class LazyGroup(click.Group):
    """A group whose commands live in `splitd.agent.commands`, so that `--version` needs neither torch nor zmq."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in the order of the manual."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None if there is none of that name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"splitd.agent.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="splitd")
def cli() -> None:
    """Split a neural network between this device and an edge server."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run `splitd`; a SplitdError becomes one message on stderr and the exit code of its class."""
    try:
        cli.main(args=argv, prog_name="splitd")
    except SplitdError as error:
        click.echo(f"splitd: {error}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if error.name not in {"torch", "timm"}:
            raise
        click.echo(
            f"splitd: {error.name} is not installed here; install it with: pip install 'splitd[torch]'", err=True
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
