"""One model's pictures: the best split over the states, the gain over static policies, time over the data rate."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from splitd.calibration.profile import Floats
from splitd.calibration.study.evaluate import ModelResult, SetResult
from splitd.calibration.study.gains import INPUT, CandidateSet
from splitd.calibration.study.grid import MEGABYTE, Grid
from splitd.calibration.study.prose import SET_TITLES
from splitd.calibration.study.settings import StudySettings

INPUT_COLOUR, OUTPUT_COLOUR = "#e0a030", "#9aa5b1"
CUT_COLOURS = ("#7b2d8b", "#3b5bb5", "#1b7f79", "#5aa845", "#c2485a", "#7a5230", "#2a2a2a", "#d07fc0")


def draw_model(result: ModelResult, settings: StudySettings) -> Figure:
    """Return a row of maps of the best split, one per candidate set, and a row of gains and times below it."""
    columns = max(3, len(settings.candidates))
    figure = Figure(figsize=(4.2 * columns, 7.6), layout="constrained")
    panels = figure.subplots(2, columns)
    for axes in panels[0, len(settings.candidates) :]:
        axes.set_axis_off()
    for axes, candidates in zip(panels[0], settings.candidates, strict=False):
        _best_map(axes, result.sets[candidates], candidates, settings.grid)
    first = settings.candidates[0]
    one = result.sets[first]
    names = one.names
    best_s = one.times[INPUT + (not first.allows_full) :].min(axis=0)
    _gain_map(panels[1, 0], one.times[-1], best_s, "no offloading", settings.grid)
    fixed = one.gains.best_static
    if fixed is None:
        panels[1, 1].set_axis_off()
    else:
        _gain_map(panels[1, 1], one.times[names.index(fixed)], best_s, f"always {fixed}", settings.grid)
    _time_curves(panels[1, 2], one, first, settings.grid)
    for axes in panels[1, 3:]:
        axes.set_axis_off()
    figure.suptitle(f"{result.facts.model}: {settings.latency} latency, {settings.cost} cost")
    handles = [Patch(color=colour, label=name) for name, colour in zip(names, _colours(names), strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(8, len(handles)), frameon=False)
    return figure


def _colours(names: tuple[str, ...]) -> list[str]:
    cuts = [CUT_COLOURS[k % len(CUT_COLOURS)] for k in range(len(names) - 2)]
    return [INPUT_COLOUR, *cuts, OUTPUT_COLOUR]


def _best_map(axes: Axes, one: SetResult, candidates: CandidateSet, grid: Grid) -> None:
    colours = _colours(one.names)
    norm = BoundaryNorm(np.arange(len(colours) + 1) - 0.5, len(colours))
    rates, batches = _edges(grid)
    axes.pcolormesh(rates, batches, one.best(candidates), cmap=ListedColormap(colours), norm=norm, rasterized=True)
    axes.set(title=f"best split: {SET_TITLES[candidates]}", xlabel="data rate (MB/s)", ylabel="batch size")
    axes.title.set_fontsize(10)


def _gain_map(axes: Axes, static_s: Floats, best_s: Floats, policy: str, grid: Grid) -> None:
    rates, batches = _edges(grid)
    gain = 100 * (static_s - best_s) / static_s
    image = axes.pcolormesh(rates, batches, gain, cmap="viridis", vmin=0, vmax=100, rasterized=True)
    axes.figure.colorbar(image, ax=axes, label="gain (%)")
    axes.set(title=f"gain over {policy} (mean {gain.mean():.1f} %)", xlabel="data rate (MB/s)", ylabel="batch size")
    axes.title.set_fontsize(10)


def _time_curves(axes: Axes, one: SetResult, candidates: CandidateSet, grid: Grid) -> None:
    """End-to-end time of every candidate over the rate, at the middle batch size."""
    row = len(grid.batches) // 2
    for k, (name, colour) in enumerate(zip(one.names, _colours(one.names), strict=True)):
        if k == INPUT and not candidates.allows_full:
            continue
        axes.plot(grid.rates_bytes_per_s / MEGABYTE, one.times[k, row] * 1e3, color=colour, label=name)
    axes.set(
        title=f"time at batch size {grid.batches[row]}",
        xlabel="data rate (MB/s)",
        ylabel="end-to-end time (ms)",
        ylim=(0, 2.5e3 * float(one.times[-1, row].max())),
    )
    axes.title.set_fontsize(10)
    axes.grid(alpha=0.3)


def _edges(grid: Grid) -> tuple[Floats, Floats]:
    """Return the borders of the states' cells."""
    rates = grid.rates_bytes_per_s / MEGABYTE
    batches = grid.batches.astype(np.float64)
    return _borders(rates), _borders(batches)


def _borders(values: Floats) -> Floats:
    middle = (values[1:] + values[:-1]) / 2
    half = (values[1] - values[0]) / 2 if len(values) > 1 else 0.5
    borders: Floats = np.concatenate([[values[0] - half], middle, [values[-1] + half]])
    return borders
