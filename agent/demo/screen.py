"""The demo's live table and its closing summary."""

from __future__ import annotations

from collections import deque

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from splitd.agent.client import ms, rate
from splitd.agent.demo.summary import BatchRow, Summary

ROWS_SHOWN = 14
TEXT_COLUMNS = ("split", "codec", "finished by", "policy")
POLICY_NAMES = {
    "warm-up": "warming up",
    "dynamic": "dynamic: the planner chooses for each batch",
    "local": "no offloading: everything on the device",
    "full": "full offloading: the image crosses",
    "static": "the best fixed split",
}


class Screen:
    """Shows batches as they come; on something that is not a terminal, one line per change of split."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: deque[BatchRow] = deque(maxlen=ROWS_SHOWN)
        self._live = Live(console=console, refresh_per_second=8, transient=True)
        self._status = "starting the server, the link and the agent"
        self._last: tuple[str, str] | None = None

    def __enter__(self) -> Screen:
        if self._console.is_terminal:
            self._live.start()
            self._live.update(self._view())
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def status(self, text: str) -> None:
        """Show what is going on before batches flow."""
        if text != self._status and not self._console.is_terminal:
            self._console.print(text)
        self._status = text
        self._live.update(self._view())

    def batch(self, row: BatchRow) -> None:
        """Show one batch."""
        if self._rows and self._rows[-1].policy != row.policy:
            self._rows.clear()
        self._rows.append(row)
        self._status = POLICY_NAMES[row.policy]
        if self._console.is_terminal:
            self._live.update(self._view())
        elif (row.policy, row.split) != self._last:
            self._console.print(
                f"{row.policy:8} {row.time_s:5.1f} s  link {rate(row.true_rate)}, seen {rate(row.estimated_rate)}  "
                f"{row.split}/{row.codec}  {ms(row.measured_s)}"
            )
        self._last = (row.policy, row.split)

    def _view(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("time", "true rate", "estimated", "split", "codec", "measured", "finished by"):
            table.add_column(
                column, justify="left" if column in ("split", "codec", "finished by") else "right", min_width=9
            )
        previous = None
        for row in self._rows:
            moved = previous is not None and previous != row.split
            table.add_row(
                f"{row.time_s:.1f} s",
                rate(row.true_rate),
                rate(row.estimated_rate),
                row.split,
                row.codec,
                ms(row.measured_s),
                row.source,
                style="bold yellow" if moved else "",
            )
            previous = row.split
        return Group(Text(self._status, style="bold cyan"), table)


def summary_table(summary: Summary) -> RenderableType:
    """Return the comparison of the policies."""
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for column in ("policy", "mean time", "dynamic saves", "batches", "split"):
        table.add_column(column, justify="left" if column in TEXT_COLUMNS else "right")
    for policy, label in summary.policies.items():
        gain = "" if policy == "dynamic" else f"{summary.gain(policy):+.0%}"
        text = ", ".join(summary.splits()) if policy == "dynamic" else label
        style = "bold green" if policy == "dynamic" else ""
        table.add_row(policy, ms(summary.mean_ms(policy) / 1000), gain, str(len(summary.of(policy))), text, style=style)
    device = f"device emulated at {summary.throttle:g} of this machine's speed"
    notes = (
        f"{summary.model}, {device}; {summary.trace.name}; {summary.switches()} switches, {summary.lost()} lost.",
        "Every policy was really run over the same trace; dynamic saves 1 - its mean / the mean of the policy.",
    )
    return Group(table, *(Text(note, style="dim") for note in notes))
