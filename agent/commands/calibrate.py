"""`splitd calibrate`: measure this machine now, show what was measured, and save it for the daemon."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
from rich.console import Console

from splitd.agent.commands.executor_tables import executor_table
from splitd.agent.commands.profile_tables import chain_table, codec_table, notes
from splitd.agent.commands.progress import progress_bar
from splitd.agent.configuration import AGENT_CONFIG, AgentConfig, ServerConfig, config_kind, load_config
from splitd.agent.device import client_keys, with_network
from splitd.agent.runtime import accuracy_settings, calibration_settings, executor_views, open_selection
from splitd.calibration.accuracy import Guard, obtain_guard
from splitd.calibration.measure import Obtained, Selection, obtain_profile
from splitd.errors import ModelError

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
    """Try all executors, time heads, tails and codecs with the fastest that agrees, show and save what was measured.

    Where accuracy.samples is configured, also measure what every lossy codec does to the model's answers.
    """
    config = load_config(config_file, config_kind(config_file))
    with progress_bar() as progress:
        bar = progress.add_task(f"loading {config.model.shown}", total=1.0)
        selection, obtained, guard = _measure(
            config, lambda share, doing: progress.update(bar, completed=share, description=doing)
        )
    if as_json:
        click.echo(json.dumps(_document(selection, obtained, guard), indent=1))
    else:
        _show(selection, obtained, guard)


def _measure(config: AgentConfig | ServerConfig, report: Report) -> tuple[Selection, Obtained, Guard | None]:
    """Measure for the daemon whose configuration it is; only an agent chooses codecs, so only it has a guard."""
    if isinstance(config, AgentConfig):
        config = with_network(config, client_keys(config), lambda doing: report(0.0, doing))
    selection = open_selection(config, fresh=True)
    _try_executors(selection, report)
    engine = selection.engine
    settings = calibration_settings(config)
    state_dir = config.calibration.state_dir
    obtained = obtain_profile(engine, settings, state_dir=state_dir, fresh=True, progress=report)
    if not isinstance(config, AgentConfig):
        return selection, obtained, None
    accuracy = accuracy_settings(config)
    guard = obtain_guard(engine, accuracy, state_dir=state_dir, fresh=True, progress=report)
    return selection, obtained, guard


def _try_executors(selection: Selection, report: Report) -> None:
    for executor, _ in selection.unmade():
        try:
            selection.make(executor, partial(_making, report, executor.name))
        except ModelError as error:
            selection.give_up(executor, str(error))
    selection.settle(report)


def _making(report: Report, name: str, done: int, count: int) -> None:
    report(done / count, f"making segments for {name}")


def _document(selection: Selection, obtained: Obtained, guard: Guard | None) -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "path": str(obtained.path),
        "problems": _problems(obtained, guard),
        "executors": [view.model_dump() for view in executor_views(selection)],
        "profile": obtained.profile.to_json(),
        "accuracy": None if guard is None else guard.to_json(obtained.profile.codecs),
    }


def _problems(obtained: Obtained, guard: Guard | None) -> list[str]:
    return [*obtained.problems, *(guard.problems if guard is not None else ())]


def _show(selection: Selection, obtained: Obtained, guard: Guard | None) -> None:
    console = Console()
    console.print(executor_table(executor_views(selection), selection.engine.runner.name))
    console.print(chain_table(obtained.profile))
    console.print(codec_table(obtained.profile, guard))
    for line in notes(obtained.profile, guard):
        console.print(line)
    for problem in _problems(obtained, guard):
        console.print(problem, style="red")
    if not any("cannot be saved" in problem for problem in obtained.problems):
        console.print(f"saved: {obtained.path}")
