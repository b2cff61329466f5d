"""`splitd server`: the edge server daemon, in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from splitd.agent.configuration import SERVER_CONFIG, ServerConfig, load_config
from splitd.agent.runtime import run, set_up_logging
from splitd.agent.server import ServerDaemon


@click.command("server")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), default=SERVER_CONFIG, show_default=True, help="YAML."
)
def command(config_file: Path) -> None:
    """Run the edge server daemon in the foreground; systemd runs this."""
    config = load_config(config_file, ServerConfig)
    set_up_logging(config.log_level)
    run(ServerDaemon(config_file, config), config.control)
