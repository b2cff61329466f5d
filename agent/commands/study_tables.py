"""The study's tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from splitd.calibration.study import SET_TITLES, CandidateSet, Gains, ModelResult, means


def facts_table(results: Sequence[ModelResult]) -> Table:
    """Return what the papers print of their models, to be checked against them, and the counts of bottlenecks."""
    table = Table(title="models", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for heading in ("image", "parameters", "GFLOPs", "blocks", "natural", "compressive"):
        table.add_column(heading, justify="right")
    for result in results:
        facts = result.facts
        table.add_row(
            facts.model,
            str(facts.image_shape[1]),
            f"{facts.parameters / 1e6:.2f} M",
            f"{facts.flops / 1e9:.2f}",
            str(len(facts.cuts)),
            str(facts.natural),
            str(len(facts.compressive)),
        )
    return table


def gains_table(results: Sequence[ModelResult], candidates: CandidateSet) -> Table:
    """Return the gains of the dynamic split in one candidate set, a row per model and their mean."""
    table = Table(
        title=f"gain of the dynamic split over static policies, in %: {SET_TITLES[candidates]}",
        caption="used: how many are the best somewhere; wins: % of states in which one is; fixed: mean over them",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("model", no_wrap=True)
    for heading in ("used", "wins", "none", "full", "fixed", "best"):
        table.add_column(heading, justify="right")
    table.add_column("the best fixed", no_wrap=True)
    for result in results:
        gains = result.sets[candidates].gains
        table.add_row(result.facts.model, f"{gains.optimal_splits:g}", *_cells(gains), gains.best_static or "-")
    mean = means(results)[candidates]
    table.add_section()
    table.add_row("mean", f"{mean.optimal_splits:.1f}", *_cells(mean), "")
    return table


def _cells(gains: Gains) -> list[str]:
    shares = (
        gains.split_share,
        gains.gain_vs_none,
        gains.gain_vs_full,
        gains.gain_vs_mean_static,
        gains.gain_vs_best_static,
    )
    return ["-" if share is None else f"{100 * share:.1f}" for share in shares]
