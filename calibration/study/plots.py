"""The study's pictures as PNG bytes: overview, efficiency sweep, the check against this machine."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from splitd.calibration.study.document import Study
from splitd.calibration.study.gains import CandidateSet, Gains, mean_gains
from splitd.calibration.study.model_plots import draw_model
from splitd.calibration.study.prose import PAPER_GAIN, SET_TITLES

PALETTE_COLOURS = 256
DPI = 80  # legible on a screen, and the whole report stays a few megabytes
LOCAL_COLOUR, SPLIT_COLOUR, FULL_COLOUR = "#9aa5b1", "#1b7f79", "#e0a030"


def draw_study(study: Study) -> dict[str, bytes]:
    """Return the PNG files of a study by name; those of models are named `model-NAME`."""
    figures = {"overview": _overview(study)}
    if any(result.sweep for result in study.results):
        figures["sweep"] = _sweep(study)
    if study.checks:
        figures["shares"] = _shares(study)
    for result in study.results:
        figures[f"model-{_file_name(result.facts.model)}"] = draw_model(result, study.settings)
    return {name: _png(figure) for name, figure in figures.items()}


def _file_name(model: str) -> str:
    return "".join(char if char.isalnum() or char in "_-" else "_" for char in model)


def _png(figure: Figure) -> bytes:
    """Return the figure with a palette, which makes flat maps a third of the size."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    Image.open(drawn).convert("RGB").quantize(PALETTE_COLOURS).save(small, format="png", optimize=True)
    return small.getvalue()


def _overview(study: Study) -> Figure:
    """Who is the fastest, as shares of the states: full offloading, a split, no offloading; one panel per set."""
    sets = study.settings.candidates
    figure = Figure(figsize=(4.6 * len(sets) + 1.5, 0.32 * len(study.results) + 1.6), layout="constrained")
    panels = figure.subplots(1, len(sets), sharey=True, squeeze=False)[0]
    names = [result.facts.model for result in study.results]
    for axes, candidates in zip(panels, sets, strict=True):
        winners = [result.sets[candidates].winners(candidates) for result in study.results]
        full = np.array([one["input"] for one in winners])
        local = np.array([one["output"] for one in winners])
        split = 1 - full - local
        left = np.zeros(len(names))
        for share, colour, label in (
            (local, LOCAL_COLOUR, "no offloading"),
            (split, SPLIT_COLOUR, "a split"),
            (full, FULL_COLOUR, "full offloading"),
        ):
            axes.barh(names, 100 * share, left=100 * left, color=colour, label=label)
            left += share
        axes.set(title=SET_TITLES[candidates], xlabel="share of the states in which it is fastest (%)", xlim=(0, 100))
    panels[0].invert_yaxis()
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


SWEEP_CURVES: dict[str, Callable[[Gains], float | None]] = {
    "over no offloading": lambda gains: gains.gain_vs_none,
    "over full offloading": lambda gains: gains.gain_vs_full,
    "over the mean fixed split": lambda gains: gains.gain_vs_mean_static,
    "over the best fixed split": lambda gains: gains.gain_vs_best_static,
}


def _sweep(study: Study) -> Figure:
    """Mean gains over the models against the share of peak that both processors reach."""
    sets = study.settings.candidates
    figure = Figure(figsize=(4.6 * len(sets) + 0.5, 4.4), layout="constrained")
    panels = figure.subplots(1, len(sets), sharey=True, squeeze=False)[0]
    for axes, candidates in zip(panels, sets, strict=True):
        _sweep_panel(axes, study, candidates)
    panels[0].set_ylabel("mean gain of the dynamic split (%)")
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _sweep_panel(axes: Axes, study: Study, candidates: CandidateSet) -> None:
    swept = [result.sweep for result in study.results if result.sweep]
    efficiencies = list(swept[0])
    mean = [mean_gains([one[efficiency][candidates] for one in swept]) for efficiency in efficiencies]
    for label, choose in SWEEP_CURVES.items():
        gains = [choose(one) for one in mean]
        axes.plot(
            [100 * efficiency for efficiency in efficiencies],
            [np.nan if gain is None else 100 * gain for gain in gains],
            marker="o",
            markersize=3,
            label=label,
        )
    axes.axhspan(100 * PAPER_GAIN[0], 100 * PAPER_GAIN[1], color="0.9", zorder=0)
    axes.text(100, 100 * PAPER_GAIN[1], "the paper's 20-30 %", ha="right", va="bottom", fontsize=7, color="0.4")
    for check in study.checks:
        axes.axvline(100 * check.efficiency, color="0.6", linewidth=0.8, linestyle=":")
    if study.checks:
        lowest = min(check.efficiency for check in study.checks)
        axes.text(97 * lowest, 99, "this CPU", rotation=90, ha="right", va="top", fontsize=7, color="0.4")
    axes.set(title=SET_TITLES[candidates], xlabel="share of peak reached (%)", xscale="log", ylim=(0, 100))
    ticks = [2, 5, 10, 20, 50, 100]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def _shares(study: Study) -> Figure:
    """Share of the work before each cut: measured here against the roofline."""
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.fill_between([0, 100], [-10, 90], [10, 110], color="0.92", label="within 10 points")
    axes.plot([0, 100], [0, 100], color="0.6", linewidth=0.8)
    for check in study.checks:
        x, y = 100 * np.array(check.measured), 100 * np.array(check.roofline)
        axes.plot(x, y, marker="o", linestyle="none", label=check.model)
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="measured share of the head (%)", ylabel="roofline share (%)")
    axes.legend(frameon=False, loc="upper left")
    return figure
