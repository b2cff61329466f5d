"""`splitd study`: the paper's evaluation, for its models or any other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click
from rich.console import Console
from rich.progress import Progress, TaskID

from splitd.agent.commands.progress import progress_bar
from splitd.agent.commands.study_tables import facts_table, gains_table
from splitd.agent.configuration import AGENT_CONFIG, AgentConfig, load_config
from splitd.calibration.study import (
    CHECKED_MODELS,
    FEASIBLE_BATCHES,
    FEASIBLE_MODELS,
    PAPER_MODELS,
    CandidateSet,
    Cost,
    Grid,
    LatencySource,
    Processors,
    Study,
    StudySettings,
    check_shares,
    find_preset,
    load_presets,
    study_document,
    study_measured,
    study_roofline,
    write_report,
)

if TYPE_CHECKING:
    from splitd.calibration.study import ModelResult, ShareCheck

PAPER_BATCHES = range(1, 63)
PAPER_DEVICE = "rtx2080ti-300mhz"
PAPER_SERVER = "rtx2080ti"
PAPER_SLOWDOWN = 0.17  # 2.37 of 13.45 TFLOPS: the paper's device against its server
ALL_SETS = "all"


class RangeType(click.ParamType[range]):
    """`FIRST:LAST`, both included, or one number."""

    name = "range"

    def convert(self, value: str | range, param: click.Parameter | None, ctx: click.Context | None) -> range:
        """Return the range of whole numbers from 1."""
        if isinstance(value, range):
            return value
        match = re.fullmatch(r"(\d{1,6})(?::(\d{1,6}))?", value)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
            self.fail(f"{value!r} is not FIRST:LAST with 1 <= FIRST <= LAST", param, ctx)
        return range(first, last + 1)


@click.command("study", short_help="the paper's grid: best splits, gains, plots")
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@click.option("--batch", type=RangeType(), help="Batch sizes.  [default: 1:62, measured 1:8]")
@click.option("--rate", type=RangeType(), default="1:127", show_default=True, help="Data rates in MB/s.")
@click.option("--latency", type=click.Choice(get_args(LatencySource)), default="roofline", show_default=True)
@click.option(
    "--efficiency",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="Share of its peak that either processor reaches.  [default: the presets' own]",
)
@click.option(
    "--candidates",
    type=click.Choice([*(one.value for one in CandidateSet), ALL_SETS]),
    default=ALL_SETS,
    show_default=True,
)
@click.option("--device", "device_name", default=PAPER_DEVICE, show_default=True, metavar="NAME", help="With roofline.")
@click.option("--server", "server_name", default=PAPER_SERVER, show_default=True, metavar="NAME", help="With roofline.")
@click.option("--cost", type=click.Choice(get_args(Cost)), default="paper", show_default=True)
@click.option("--hardware", type=click.Path(path_type=Path), help="YAML with processors of your own.")
@click.option(
    "--throttle",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help=f"Speed of the measured device.  [default: device.throttle of {AGENT_CONFIG}, else {PAPER_SLOWDOWN}]",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write report.html, PNG and CSV here.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    *,
    models: tuple[str, ...],
    batch: range | None,
    rate: range,
    latency: LatencySource,
    efficiency: float | None,
    candidates: str,
    device_name: str,
    server_name: str,
    cost: Cost,
    hardware: Path | None,
    throttle: float | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Find the best split for every batch size and data rate, and what choosing it gains over never changing it.

    MODEL is a timm name, a .pt2 file or module:function; without any, the paper's fourteen EfficientNets (or, measured,
    three of them).
    """
    sets = tuple(CandidateSet) if candidates == ALL_SETS else (CandidateSet(candidates),)
    measured = latency == "measured"
    presets = load_presets(hardware)
    processors = Processors(find_preset(presets, device_name), find_preset(presets, server_name))
    processors = processors.at_efficiency(efficiency) if efficiency else processors
    settings = StudySettings(
        grid=Grid.of(batch or (FEASIBLE_BATCHES if measured else PAPER_BATCHES), rate),
        cost=cost,
        candidates=sets,
        processors=None if measured else processors,
        throttle=(throttle or _configured_throttle()) if measured else 1.0,
    )
    names = models or (FEASIBLE_MODELS if measured else tuple(PAPER_MODELS))
    checks: list[ShareCheck] = []
    with progress_bar() as progress:
        results = _run(names, settings, progress)
        if out is not None:
            task = progress.add_task("roofline against this machine", total=len(CHECKED_MODELS))
            checks = check_shares(CHECKED_MODELS, _counter(progress, task))
    study = Study(settings, results, checks)
    if out is not None:
        write_report(study, out)
    if as_json:
        click.echo(json.dumps(study_document(results, settings, study.device, study.server), indent=1))
    else:
        _show(study, out)


def _run(models: tuple[str, ...], settings: StudySettings, progress: Progress) -> list[ModelResult]:
    if settings.latency == "roofline":
        task = progress.add_task("models", total=len(models))
        return study_roofline(models, settings, _counter(progress, task))
    task = progress.add_task("measuring", total=1.0)
    return study_measured(
        models, settings, lambda share, doing: progress.update(task, completed=share, description=doing)
    )


def _counter(progress: Progress, task: TaskID) -> Callable[[int, int, str], None]:
    return lambda done, total, name: progress.update(task, completed=done, total=total, description=name)


def _show(study: Study, out: Path | None) -> None:
    console = Console()
    console.print(f"cost: {study.settings.cost}; latency: {study.settings.latency}")
    console.print(f"device: {study.device}\nserver: {study.server}", highlight=False)
    console.print(facts_table(study.results))
    for candidates in study.settings.candidates:
        console.print(gains_table(study.results, candidates))
    if out is not None:
        console.print(f"report: {out / 'report.html'}")


def _configured_throttle() -> float:
    if not AGENT_CONFIG.exists():
        return PAPER_SLOWDOWN
    return load_config(AGENT_CONFIG, AgentConfig).device.throttle or PAPER_SLOWDOWN
