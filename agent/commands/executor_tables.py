"""Executors as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from splitd.agent.client import ExecutorView, ms


def executor_table(executors: Sequence[ExecutorView], running: str | None = None) -> Table:
    """Return those that are installed side by side, `running` marked; `splitd executors` has room for the others."""
    table = Table(title="what can run the network: head K, median in ms")
    for column in ("executor", "version", "verdict"):
        table.add_column(column, no_wrap=True)
    sizes = executors[0].batch_sizes if executors else ()
    for batch in sizes:
        table.add_column(f"batch {batch}", justify="right", no_wrap=True)
    table.add_column("error", justify="right")
    table.add_column("why not")
    for one in (one for one in executors if one.verdict != "missing"):
        times = [f"{seconds * 1e3:.3g}" for seconds in one.head_s] or ["-"] * len(sizes)
        error = "-" if one.relative_error is None else f"{one.relative_error:.1g}"
        name = f"{one.name} (runs)" if one.name == running else one.name
        table.add_row(name, one.version, one.verdict, *times, error, one.reason or "")
    return table


def executor_line(executors: Sequence[ExecutorView], running: str | None) -> str:
    """Return what runs, and what each that was timed takes for one sample."""
    timed = ", ".join(f"{one.name} {ms(one.head_s[0])}" for one in executors if one.head_s)
    making = ", ".join(f"{one.name} {one.reason}" for one in executors if one.verdict == "untried" and one.reason)
    parts = [f"one sample: {timed}" if timed else "", making]
    told = "; ".join(part for part in parts if part)
    return f"{running or '-'}{f' ({told})' if told else ''}"
