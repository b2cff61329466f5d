"""`splitd executors`: what could run a network here, and how to get the rest; and making segments beforehand."""

from __future__ import annotations

import contextlib
import json
import os
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, TaskID

from splitd.agent.commands.executor_tables import executor_table
from splitd.agent.commands.progress import progress_bar
from splitd.agent.configuration import AGENT_CONFIG, AgentConfig, ServerConfig, config_kind, load_config
from splitd.agent.runtime import executor_views, open_selection
from splitd.calibration.executors import EXECUTORS, Found
from splitd.errors import ModelError

SCHEMA_VERSION = 1
LOWEST_PRIORITY = 19


@click.command("executors", short_help="what can run a network here, and how to get the rest")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    default=AGENT_CONFIG,
    show_default=True,
    help="With --make: the agent's or the server's configuration.",
)
@click.option("--make", is_flag=True, help="Make and keep the segments of the configured network.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(device: str, config_file: Path, *, make: bool, as_json: bool) -> None:
    """List the executors with their versions; for those that are missing, how to get them.

    With --make, also make what they are built from, at the lowest priority, as a daemon does it beside its requests.
    """
    if make:
        _make(load_config(config_file, config_kind(config_file)), as_json=as_json)
    elif as_json:
        click.echo(json.dumps({"schema_version": SCHEMA_VERSION, "executors": _found(device)}, indent=1))
    else:
        for one in _found(device):
            state = one["version"] or f"{one['missing']}; {one['remedy']}"
            click.echo(f"{one['name']:12} {state}\n{'':12} {one['summary']}")


def _found(device: str) -> list[dict[str, str | None]]:
    rows = []
    for executor in EXECUTORS.values():
        found = executor.find(device)
        known: dict[str, str | None] = {"name": executor.name, "summary": executor.summary}
        if isinstance(found, Found):
            rows.append({**known, "version": found.version, "missing": None, "remedy": None})
        else:
            rows.append({**known, "version": None, "missing": found.reason, "remedy": found.remedy})
    return rows


def _make(config: AgentConfig | ServerConfig, *, as_json: bool) -> None:
    with contextlib.suppress(OSError):  # a service's sandbox may forbid it
        os.nice(LOWEST_PRIORITY)
    with progress_bar() as progress:
        bar = progress.add_task(f"loading {config.model.shown}", total=1.0)
        selection = open_selection(config)
        for executor, _ in selection.unmade():
            try:
                selection.make(executor, partial(_making, progress, bar, executor.name))
            except ModelError as error:  # the others may do
                click.echo(f"{executor.name}: {error}", err=True)
    views = executor_views(selection)
    if as_json:
        rows = [view.model_dump() for view in views]
        click.echo(json.dumps({"schema_version": SCHEMA_VERSION, "executors": rows}, indent=1))
    else:
        Console().print(executor_table(views, selection.engine.runner.name))


def _making(progress: Progress, bar: TaskID, name: str, done: int, count: int) -> None:
    progress.update(bar, completed=done / count, description=f"{name}: segment {done + 1} of {count}")
