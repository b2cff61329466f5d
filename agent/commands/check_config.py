"""`splitd check-config FILE`: every fault of a configuration file at once."""

from __future__ import annotations

from pathlib import Path

import click

from splitd.agent.configuration import ServerConfig, config_kind, load_config


@click.command("check-config")
@click.argument("file", type=click.Path(path_type=Path))
def command(file: Path) -> None:
    """Check an agent or server configuration FILE; exit 1 and list every problem if it is wrong."""
    kind = config_kind(file)
    load_config(file, kind)
    click.echo(f"{file}: a valid {'server' if kind is ServerConfig else 'agent'} configuration")
