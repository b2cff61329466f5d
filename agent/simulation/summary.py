"""Figures of a replay: times, regret against hindsight, switches, missed deadlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from splitd.agent.simulation.replay import Played

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Figures:
    """One policy over one trace; regret is T / T_oracle - 1 of each batch, for the same link and load."""

    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    regret_mean: float
    regret_median: float
    switches: int
    missed: int


def summarise(played: Sequence[Played], deadline_s: float | None) -> Figures:
    """Return the figures of one policy; without a deadline none is missed."""
    times = np.array([batch.time_s for batch in played])
    regret = times / np.array([batch.oracle_s for batch in played]) - 1.0
    p50, p90, p99 = (float(value) * 1e3 for value in np.quantile(times, (0.5, 0.9, 0.99)))
    labels = [batch.label for batch in played]
    return Figures(
        mean_ms=float(times.mean()) * 1e3,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        regret_mean=float(regret.mean()),
        regret_median=float(np.median(regret)),
        switches=sum(one != other for one, other in pairwise(labels)),
        missed=0 if deadline_s is None else int((times > deadline_s).sum()),
    )


def document(traces: Sequence[tuple[str, int, dict[str, Figures]]]) -> dict[str, Any]:
    """Return the JSON document of `splitd replay --json`: (trace, batches, figures by policy)."""
    return {
        "schema_version": SCHEMA_VERSION,
        "traces": [
            {"trace": name, "batches": batches, "policies": {p: asdict(f) for p, f in figures.items()}}
            for name, batches, figures in traces
        ],
    }
