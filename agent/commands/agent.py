"""`splitd agent`: the device daemon, in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from splitd.agent.configuration import AGENT_CONFIG, AgentConfig, load_config
from splitd.agent.device import AgentDaemon
from splitd.agent.runtime import run, set_up_logging


@click.command("agent")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), default=AGENT_CONFIG, show_default=True, help="YAML."
)
def command(config_file: Path) -> None:
    """Run the device daemon in the foreground; systemd runs this."""
    config = load_config(config_file, AgentConfig)
    set_up_logging(config.log_level)
    run(AgentDaemon(config_file, config), config.control)
