"""Runs every policy over the same trace and collects what happened to each batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt

from splitd.agent.client import Client, Explanation, LinkDocument
from splitd.agent.demo.levels import best_fixed, built_in_trace, look_ahead
from splitd.agent.demo.processes import Processes
from splitd.agent.demo.summary import BatchRow
from splitd.agent.simulation import Trace, steps
from splitd.errors import SplitdError

WARM_UP_S = 1.5  # at the trace's first rate, so that no policy starts with an estimate from the one before
WARM_UP_BATCHES = 3
FRAMES = 8

Frame = npt.NDArray[Any]
OnBatch = Callable[[BatchRow], None]


class DemoRunner:
    """Feeds frames to the agent, one batch after the other, while the link follows a trace."""

    def __init__(self, processes: Processes, on_batch: OnBatch) -> None:
        self._processes = processes
        self._frames: Iterator[Frame] = cycle(processes.frames(FRAMES))
        self._on_batch = on_batch

    def choose_trace(self, given: Trace | None, seconds: float) -> tuple[Trace, tuple[str, str]]:
        """Return the trace to follow and the best fixed split on it, as predicted from the calibrated costs."""
        self._feed("warm-up", steps("open", (3600.0, 1e9)), 0.0)
        forecasts = look_ahead(self._explain)
        trace = given or built_in_trace(forecasts, seconds)
        grid = np.arange(0.0, min(trace.duration_s, seconds), 0.25)
        rates = tuple(max(rate, 1.0) for rate in (trace.rate_at(float(time_s)) for time_s in grid))
        distinct = tuple(sorted(set(rates)))
        known = dict(zip(distinct, look_ahead(self._explain, distinct), strict=True))
        return trace, best_fixed([known[rate] for rate in rates])

    def run(self, policy: str, pin: tuple[str, str | None] | None, trace: Trace, seconds: float) -> list[BatchRow]:
        """Run one policy over `seconds` of the trace, after a warm-up at its first rate."""
        if pin is None:
            self._processes.agent.post("unpin")
        else:
            self._processes.agent.post("pin", cut=pin[0], codec=pin[1])
        self._feed("warm-up", steps("warm-up", (3600.0, max(trace.rates_bytes_per_s[0], 1e5))), WARM_UP_S)
        return self._feed(policy, trace, seconds)

    def _feed(self, policy: str, trace: Trace, seconds: float) -> list[BatchRow]:
        self._processes.follow(trace)
        started_s = time.monotonic()
        rows: list[BatchRow] = []
        with Client(self._processes.infer_socket, timeout_s=30.0) as client:
            while time.monotonic() - started_s < seconds or len(rows) < WARM_UP_BATCHES:
                row = self._one(client, policy, trace, started_s)
                rows.append(row)
                self._on_batch(row)
        return rows

    def _one(self, client: Client, policy: str, trace: Trace, started_s: float) -> BatchRow:
        begun_s = time.monotonic()
        time_s = begun_s - started_s
        rate = self._processes.agent.get(LinkDocument).up_bytes_per_s
        begun_s = time.monotonic()
        try:
            result = client.infer([next(self._frames)])
        except SplitdError as error:
            outcome = ("-", "-", f"error: {error}", False)
        else:
            outcome = (result.split, result.codec, result.source, True)
        measured_s = time.monotonic() - begun_s
        split, codec, source, ok = outcome
        estimated = rate.p50 if rate else None
        return BatchRow(policy, time_s, trace.rate_at(time_s), estimated, split, codec, source, measured_s, ok)

    def _explain(self, rate_bytes_per_s: float) -> Explanation:
        return self._processes.agent.get(Explanation, batch=1, rate=rate_bytes_per_s)
