"""`splitd`: the command group; each command's module is imported only when that command runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence

import click

from splitd import __version__
from splitd.errors import SplitdError

# With what `--help` says of each: asking the commands themselves would import torch to print a dozen lines.
COMMANDS: Mapping[str, str] = {
    "agent": "run the device daemon in the foreground",
    "server": "run the edge server daemon in the foreground",
    "demo": "both daemons and a shaped link on this machine",
    "inspect": "where a model or a bundle can be cut, and what would cross",
    "export": "one file for a network, to run where there is no torch",
    "calibrate": "measure this machine, show and save the profile",
    "executors": "what can run a network here, and how to get the rest",
    "study": "the paper's grid: best splits, gains, plots",
    "replay": "replay link traces against a profile and compare policies",
    "check-config": "every fault of a configuration file",
    "keygen": "make a CURVE key pair",
}
NEED_MODELS = ("torch", "timm", "safetensors")


class LazyGroup(click.Group):
    """A group whose commands live in `splitd.agent.commands`: `--version` and `--help` load neither torch nor zmq."""

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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


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
        if error.name not in NEED_MODELS:
            raise
        click.echo(
            f"splitd: {error.name} is not installed here; either run from a bundle (`model.bundle`, made by `splitd "
            "export` elsewhere), or install it with: pip install 'splitd[models]'",
            err=True,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
