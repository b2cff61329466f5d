"""`splitd replay`: what each policy would have made of a link trace, on a simulated clock and link."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from splitd.agent.decide import PlannerConfig
from splitd.agent.simulation import (
    BUILT_IN,
    Figures,
    LinkShape,
    LoadTrace,
    Setting,
    costs_of,
    document,
    load_load_trace,
    open_pair,
    open_trace,
    play,
    policy_names,
    summarise,
)

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
@click.option("--objective", default="p50", show_default=True, type=click.Choice(["p50", "p90", "mean"]))
@click.option("--privacy", is_flag=True, help="The input never leaves the device.")
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
    as_json: bool,
) -> None:
    """Replay link traces through the daemon's own estimator and planner, and compare with other policies.

    Regret is T/T_oracle - 1 of each batch; the oracle knows rate and load of each batch in advance.
    """
    setting = Setting(
        costs=costs_of(open_pair(profile), batch, privacy=privacy),
        batch=batch,
        shape=LinkShape(delay_s=rtt_ms / 2e3, loss=loss),
        load=LoadTrace() if load is None else load_load_trace(load),
        planner=PlannerConfig(privacy=privacy, objective=objective),  # type: ignore[arg-type]  # click checked it
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
