"""The demo's result: the mean time of every policy over the same trace, and what dynamic saves, from those means."""

from __future__ import annotations

import bisect
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from splitd.agent.simulation import Trace

SCHEMA_VERSION = 1
GRID_S = 0.05  # states per second of trace; finer than any batch


@dataclass(frozen=True)
class BatchRow:
    """One batch of one policy; times in seconds since the trace's start, rates in bytes/s."""

    policy: str
    time_s: float
    true_rate: float
    estimated_rate: float | None
    split: str
    codec: str
    source: str
    measured_s: float
    ok: bool


@dataclass(frozen=True)
class Summary:
    """What all policies did over one trace."""

    model: str
    throttle: float
    trace: Trace
    policies: dict[str, str]
    rows: list[BatchRow]

    def of(self, policy: str) -> list[BatchRow]:
        """Return the batches of one policy."""
        return [row for row in self.rows if row.policy == policy]

    def times_s(self, policy: str) -> npt.NDArray[np.float64]:
        """Return the end-to-end time that holds at each grid point of the trace: that of the batch last begun."""
        rows = self.of(policy)
        starts = [row.time_s for row in rows]
        grid = np.arange(0.0, self.trace.duration_s, GRID_S)
        return np.array([rows[max(0, bisect.bisect_right(starts, time_s) - 1)].measured_s for time_s in grid])

    def mean_ms(self, policy: str) -> float:
        """Return the mean end-to-end time over the trace, rounded to the digits that people are shown."""
        mean_ms = float(self.times_s(policy).mean()) * 1000
        return float(f"{mean_ms:.3g}") if mean_ms < 1000 else round(mean_ms)

    def gain(self, policy: str) -> float:
        """Return the share of `policy`'s mean that dynamic saves: 1 - mean_ms("dynamic") / mean_ms(policy).

        Whoever sees the two means gets the same figure from them. It is not the G of docs/method.md, which is a mean of
        ratios over the states of a grid, and may differ from this in sign.
        """
        return 1 - self.mean_ms("dynamic") / self.mean_ms(policy)

    def switches(self) -> int:
        """Return how often dynamic changed its split or codec."""
        choices = [(row.split, row.codec) for row in self.of("dynamic")]
        return sum(a != b for a, b in pairwise(choices))

    def splits(self) -> list[str]:
        """Return the splits that dynamic used."""
        return sorted({row.split for row in self.of("dynamic")})

    def lost(self) -> int:
        """Return how many batches got no answer."""
        return sum(not row.ok for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON document."""
        means = {name: self.mean_ms(name) for name in self.policies}
        return {
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "throttle": self.throttle,
            "trace": asdict(self.trace),
            "dynamic_ms": means["dynamic"],
            "local_ms": means["local"],
            "full_offload_ms": means["full"],
            "best_static_ms": means["static"],
            "best_static": self.policies["static"],
            "gain_vs_local": self.gain("local"),
            "gain_vs_full_offload": self.gain("full"),
            "gain_vs_best_static": self.gain("static"),
            "switches": self.switches(),
            "splits": self.splits(),
            "batches": len(self.rows),
            "lost": self.lost(),
            "batch_list": [_row_json(row) for row in self.rows],
        }


def _row_json(row: BatchRow) -> dict[str, Any]:
    document = asdict(row)
    document["measured_ms"] = document.pop("measured_s") * 1000
    document["true_rate_bytes_per_s"] = document.pop("true_rate")
    document["estimated_rate_bytes_per_s"] = document.pop("estimated_rate")
    return document
