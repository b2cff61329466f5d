"""`splitd replay`: what each policy would have made of a link trace, on a simulated clock and link."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from splitd.agent.client import ms, rate
from splitd.agent.decide import DEFAULT_OBJECTIVE, OBJECTIVES, DeciderConfig, PlannerConfig
from splitd.agent.simulation import (
    BUILT_IN,
    Figures,
    LinkShape,
    LoadTrace,
    PlayedDecision,
    Setting,
    document,
    load_load_trace,
    open_pair,
    open_trace,
    play,
    play_recording,
    policy_names,
    summarise,
)

SCHEMA_VERSION = 1

Shown = tuple[str, int, dict[str, Figures]]


@click.command("replay", short_help="replay link traces against a profile and compare policies")
@click.option(
    "--trace",
    "traces",
    multiple=True,
    metavar="CSV",
    help=f"Link trace (time_s,rate_bytes_per_s), or {', '.join(BUILT_IN)}; repeatable. Default: these three.",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME",
    help="dynamic, local, full, jpeg, static:CUT, oracle, ewma or neurosurgeon; repeatable. Default: all.",
)
@click.option("--batch", default=1, show_default=True, type=click.IntRange(1, 256), help="Images a batch.")
@click.option("--profile", type=click.Path(path_type=Path), help="Profile pair; default: the reference in splitd.")
@click.option("--load", type=click.Path(path_type=Path), help="Server load trace (time_s,k_srv,queue_s).")
@click.option("--rtt-ms", default=20.0, show_default=True, type=click.FloatRange(0), help="Round trip.")
@click.option("--loss", default=0.0, show_default=True, type=click.FloatRange(0, 0.5), help="Share of packets lost.")
@click.option("--interval-ms", type=click.FloatRange(0, min_open=True), help="One batch each; default: as local can.")
@click.option("--deadline-ms", type=click.FloatRange(0, min_open=True), help="Count batches that take longer.")
@click.option("--objective", default=DEFAULT_OBJECTIVE, show_default=True, type=click.Choice(list(OBJECTIVES)))
@click.option("--privacy", is_flag=True, help="The input never leaves the device.")
@click.option(
    "--recording",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Play a flight recording of the agent back instead of a trace; see `recorder` in the configuration.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    *,
    traces: tuple[str, ...],
    policies: tuple[str, ...],
    batch: int,
    profile: Path | None,
    load: Path | None,
    rtt_ms: float,
    loss: float,
    interval_ms: float | None,
    deadline_ms: float | None,
    objective: str,
    privacy: bool,
    recording: Path | None,
    as_json: bool,
) -> None:
    """Replay link traces through the daemon's own estimator and planner, and compare with other policies.

    Regret is T/T_oracle - 1 of each batch; the oracle knows rate and load of each batch in advance.
    """
    if recording is not None:
        _play_back(recording, as_json=as_json)
        return
    setting = Setting(
        pair=open_pair(profile),
        batch=batch,
        shape=LinkShape(delay_s=rtt_ms / 2e3, loss=loss),
        load=LoadTrace() if load is None else load_load_trace(load),
        config=DeciderConfig(PlannerConfig(privacy=privacy, objective=objective)),
        interval_s=None if interval_ms is None else interval_ms / 1e3,
        deadline_s=None if deadline_ms is None else deadline_ms / 1e3,
    )
    shown = _replay(traces or tuple(BUILT_IN), policies or policy_names(setting.costs), setting)
    if as_json:
        click.echo(json.dumps(document(shown), indent=1))
        return
    for trace, batches, figures in shown:
        Console().print(_table(trace, batches, batch, figures))


def _replay(traces: tuple[str, ...], policies: tuple[str, ...], setting: Setting) -> list[Shown]:
    opened = [open_trace(name) for name in traces]
    shown: list[Shown] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=float(len(opened) * len(policies)))
        for trace in opened:
            figures: dict[str, Figures] = {}
            batches = 0
            for name in policies:
                done = len(shown) * len(policies) + len(figures)
                progress.update(bar, completed=done, description=f"{trace.name}: {name}")
                played = play(name, trace, setting)
                batches = len(played)
                figures[name] = summarise(played, setting.deadline_s)
            shown.append((trace.name, batches, figures))
    return shown


def _table(trace: str, batches: int, batch: int, figures: dict[str, Figures]) -> Table:
    table = Table(title=f"{trace}: {batches} batches of {batch}", title_justify="left")
    table.add_column("policy", no_wrap=True)
    for column in ("mean ms", "p50", "p90", "p99", "regret mean", "median", "switches", "missed"):
        table.add_column(column, justify="right")
    best = min((f.regret_mean for name, f in figures.items() if name != "oracle"), default=0.0)
    for name, f in figures.items():
        table.add_row(
            name,
            *(f"{value:.0f}" for value in (f.mean_ms, f.p50_ms, f.p90_ms, f.p99_ms)),
            f"{f.regret_mean:.1%}",
            f"{f.regret_median:.1%}",
            str(f.switches),
            str(f.missed),
            style="bold green" if name != "oracle" and f.regret_mean <= best else "dim" if name == "oracle" else None,
        )
    return table


def _play_back(directory: Path, *, as_json: bool) -> None:
    """Print the decisions of a recording; exit 1 if one is not the daemon's."""
    played = list(play_recording(directory))
    different = [one for one in played if not one.is_identical]
    if as_json:
        click.echo(json.dumps(_recording_document(played), indent=1))
    else:
        console = Console()
        console.print(_decisions(played))
        console.print(_verdict(len(played), len(different)))
    if different:
        sys.exit(1)


def _verdict(decisions: int, different: int) -> str:
    if not different:
        return f"{decisions} decisions, all identical to those that the daemon made"
    return f"{different} of {decisions} decisions differ from those that the daemon made"


def _recording_document(played: Sequence[PlayedDecision]) -> dict[str, Any]:
    decisions = [
        {
            "time": one.time,
            "batch": one.ours.wanted.batch,
            "rate_bytes_per_s": one.rate_bytes_per_s,
            "chosen": one.ours.label,
            "explored": one.ours.explored,
            "predicted_s": one.ours.predicted_s,
            "identical": one.is_identical,
            "daemon_chose": one.daemons.label,
        }
        for one in played
    ]
    identical = sum(one.is_identical for one in played)
    return {"schema_version": SCHEMA_VERSION, "identical": identical, "decisions": decisions}


def _decisions(played: Sequence[PlayedDecision]) -> Table:
    table = Table(title="decisions, played back", title_justify="left")
    for column in ("time", "chosen", "daemon"):
        table.add_column(column, no_wrap=True)
    for column in ("batch", "uplink", "predicted"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in played:
        moment = datetime.fromtimestamp(one.time).astimezone()
        table.add_row(
            f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}",
            one.ours.label + (" (explores)" if one.ours.explored else ""),
            "same" if one.is_identical else one.daemons.label,
            str(one.ours.wanted.batch),
            rate(one.rate_bytes_per_s),
            ms(one.ours.predicted_s),
            style=None if one.is_identical else "red",
        )
    return table
