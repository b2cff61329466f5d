"""The demo's picture: the link's rate, the chosen splits, and the end-to-end time of every policy over the trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from splitd.agent.client import ms
from splitd.agent.demo.summary import Summary
from splitd.errors import UsageError

COLOURS = {"dynamic": "#0a7d33", "local": "#b3541e", "full": "#2b5fad", "static": "#7a3b8f"}


def save_plot(summary: Summary, path: Path) -> None:
    """Write the PNG; raises UsageError without matplotlib."""
    try:
        import matplotlib as mpl  # noqa: PLC0415  (optional)

        mpl.use("Agg")
        from matplotlib import pyplot as plt  # noqa: PLC0415
    except ModuleNotFoundError:
        raise UsageError("the plot needs matplotlib: pip install 'splitd[report]'") from None
    figure, (top, middle, bottom) = plt.subplots(
        3, 1, figsize=(10, 8), sharex=True, height_ratios=(2, 2, 3), layout="constrained"
    )
    _draw_rates(top, summary)
    _draw_splits(middle, summary)
    _draw_times(bottom, summary)
    figure.suptitle(f"splitd demo: {summary.model}, device at {summary.throttle:g} of full speed")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_rates(axes: Any, summary: Summary) -> None:
    rows = summary.of("dynamic")
    times = [*summary.trace.times_s, summary.trace.duration_s]
    rates = [rate / 1e6 for rate in (*summary.trace.rates_bytes_per_s, summary.trace.rates_bytes_per_s[-1])]
    axes.step(times, rates, where="post", color="black", label="true")
    known = [(row.time_s, row.estimated_rate / 1e6) for row in rows if row.estimated_rate]
    axes.plot(*zip(*known, strict=True), ".", color=COLOURS["dynamic"], label="estimated")
    axes.set_yscale("log")
    axes.set_ylabel("uplink, MB/s")
    axes.legend(loc="upper right")


def _draw_splits(axes: Any, summary: Summary) -> None:
    rows = summary.of("dynamic")
    names = sorted({row.split for row in rows}, key=lambda name: (name != "input", name == "output", name))
    axes.step(
        [row.time_s for row in rows], [names.index(row.split) for row in rows], where="post", color=COLOURS["dynamic"]
    )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.5, len(names) - 0.5)
    axes.set_ylabel("chosen split")


def _draw_times(axes: Any, summary: Summary) -> None:
    for policy, label in summary.policies.items():
        rows = summary.of(policy)
        text = policy if policy == "dynamic" else f"{policy}: {label}"
        axes.plot(
            [row.time_s for row in rows],
            [row.measured_s * 1000 for row in rows],
            color=COLOURS[policy],
            linewidth=2.2 if policy == "dynamic" else 1.2,
            label=f"{text}, mean {ms(summary.mean_ms(policy) / 1000)}",
        )
    axes.set_yscale("log")
    axes.set_ylabel("end-to-end time, ms")
    axes.set_xlabel("time in the trace, s")
    axes.legend(loc="upper right", fontsize="small")
