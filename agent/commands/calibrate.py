"""`splitd calibrate`: measure this machine now, show what was measured, and save it for the daemon."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from splitd.agent.commands.profile_tables import chain_table, codec_table, notes
from splitd.agent.configuration import AGENT_CONFIG, AgentConfig, ServerConfig, config_kind, load_config
from splitd.agent.device import client_keys, with_network
from splitd.agent.runtime import accuracy_settings, calibration_settings, open_engine
from splitd.calibration.accuracy import Guard, obtain_guard
from splitd.calibration.measure import Obtained, obtain_profile

SCHEMA_VERSION = 1

Report = Callable[[float, str], None]


@click.command("calibrate", short_help="measure this machine, show and save the profile")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    default=AGENT_CONFIG,
    show_default=True,
    help="The agent's or the server's configuration; it says what is measured.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(config_file: Path, *, as_json: bool) -> None:
    """Time heads, tails and codecs at the configured batch sizes, show the medians, and save the profile.

    Where accuracy.samples is configured, also measure what every lossy codec does to the model's answers.
    """
    config = load_config(config_file, config_kind(config_file))
    with _progress() as progress:
        bar = progress.add_task(f"loading {config.model.name}", total=1.0)
        obtained, guard = _measure(
            config, lambda share, doing: progress.update(bar, completed=share, description=doing)
        )
    if as_json:
        click.echo(json.dumps(_document(obtained, guard), indent=1))
    else:
        _show(obtained, guard)


def _measure(config: AgentConfig | ServerConfig, report: Report) -> tuple[Obtained, Guard | None]:
    """Measure for the daemon whose configuration it is; only an agent chooses codecs, so only it has a guard."""
    if isinstance(config, AgentConfig):
        config = with_network(config, client_keys(config), lambda doing: report(0.0, doing))
    engine = open_engine(config)
    settings = calibration_settings(config)
    state_dir = config.calibration.state_dir
    obtained = obtain_profile(engine, settings, state_dir=state_dir, fresh=True, progress=report)
    if not isinstance(config, AgentConfig):
        return obtained, None
    accuracy = accuracy_settings(config)
    guard = obtain_guard(engine, accuracy, state_dir=state_dir, fresh=True, progress=report)
    return obtained, guard


def _progress() -> Progress:
    """Return a bar on stderr, so that stdout holds the result alone."""
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _document(obtained: Obtained, guard: Guard | None) -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "path": str(obtained.path),
        "problems": _problems(obtained, guard),
        "profile": obtained.profile.to_json(),
        "accuracy": None if guard is None else guard.to_json(obtained.profile.codecs),
    }


def _problems(obtained: Obtained, guard: Guard | None) -> list[str]:
    return [*obtained.problems, *(guard.problems if guard is not None else ())]


def _show(obtained: Obtained, guard: Guard | None) -> None:
    console = Console()
    console.print(chain_table(obtained.profile))
    console.print(codec_table(obtained.profile, guard))
    for line in notes(obtained.profile, guard):
        console.print(line)
    for problem in _problems(obtained, guard):
        console.print(problem, style="red")
    if not any("cannot be saved" in problem for problem in obtained.problems):
        console.print(f"saved: {obtained.path}")
