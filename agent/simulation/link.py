"""The simulated link: a rate trace, delay, a queue, slow start after idle, loss as a drop of goodput, outages.

Time is an argument; nothing waits. Bytes are a fluid that the trace lets through, first come first served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from splitd.agent.traces import Trace
from splitd.transport.path import INITIAL_WINDOW_BYTES

SEGMENT_BYTES = 1460


@dataclass(frozen=True)
class LinkShape:
    """What a link has besides its rate.

    `delay_s`: one way. `loss`: share of packets lost; goodput falls to what TCP makes of it (Mathis et al., 1997).
    `slow_start`: the sender restarts from its initial window after `rto_s` of silence.
    """

    delay_s: float = 0.01
    loss: float = 0.0
    slow_start: bool = True
    rto_s: float = 0.2

    @property
    def rtt_s(self) -> float:
        """Return the round trip of an empty link."""
        return 2.0 * self.delay_s

    def goodput(self, rate: float) -> float:
        """Return what TCP delivers of a rate in bytes/s."""
        if self.loss <= 0.0:
            return rate
        ceiling = SEGMENT_BYTES / max(self.rtt_s, 1e-3) * sqrt(1.5 / self.loss)
        return min(rate * (1.0 - self.loss), ceiling)


class RateClock:
    """A trace as an integral: when are n bytes through that began at t? The trace repeats."""

    def __init__(self, trace: Trace, shape: LinkShape) -> None:
        rates = [shape.goodput(rate) for rate in trace.rates_bytes_per_s]
        edges = (*trace.times_s, trace.duration_s)
        moved = np.cumsum([rate * (edges[i + 1] - edges[i]) for i, rate in enumerate(rates)])
        self._edges = np.array(edges)
        self._moved = np.concatenate(([0.0], moved))
        self._rates = rates
        self._duration_s = trace.duration_s
        self._total = float(moved[-1])

    def rate(self, t_s: float) -> float:
        """Return the rate at a time, bytes/s."""
        return self._rates[self._bin(t_s % self._duration_s)]

    def finish(self, start_s: float, n_bytes: float) -> float:
        """Return when the last of `n_bytes` is through; infinity if the whole trace is one outage."""
        if n_bytes <= 0.0:
            return start_s
        if self._total <= 0.0:
            return inf
        laps, offset = divmod(start_s, self._duration_s)
        at = self._bin(offset)
        target = float(self._moved[at]) + (offset - float(self._edges[at])) * self._rates[at] + n_bytes
        more_laps, target = divmod(target, self._total)
        end = int(self._moved.searchsorted(target, side="left")) - 1 if target > 0.0 else -1
        if end < 0:
            # Exactly at a seam: the last byte leaves with the last bin that moves anything.
            return (laps + more_laps) * self._duration_s
        inside = float(self._edges[end]) + (target - float(self._moved[end])) / self._rates[end]
        return (laps + more_laps) * self._duration_s + inside

    def _bin(self, offset: float) -> int:
        return min(int(self._edges.searchsorted(offset, side="right")) - 1, len(self._rates) - 1)


class SimulatedLink:
    """One direction. `free_s`: when the queue is empty; `last_s`: when the last byte was sent."""

    def __init__(self, trace: Trace, shape: LinkShape) -> None:
        self.shape = shape
        self.clock = RateClock(trace, shape)
        self.free_s = 0.0
        self.last_s = -inf

    def send(self, start_s: float, sizes: Sequence[int]) -> list[float]:
        """Send messages back to back from `start_s` on; return when each has completely arrived."""
        arrivals = self.arrivals(start_s, sizes)
        self.free_s = self.last_s = arrivals[-1] - self.shape.delay_s
        return arrivals

    def arrivals(self, start_s: float, sizes: Sequence[int]) -> list[float]:
        """Return when each message would have arrived, without sending it."""
        begin_s = max(start_s, self.free_s)
        cold = self.shape.slow_start and begin_s - self.last_s > self.shape.rto_s
        ends, sent = [], 0.0
        legs = self._legs(begin_s, float(sum(sizes)), cold=cold)
        leg = 0
        for size in sizes:
            sent += size
            while leg + 1 < len(legs) and sent > legs[leg + 1][1]:
                leg += 1
            leg_start_s, before = legs[leg]
            ends.append(self.clock.finish(leg_start_s, sent - before) + self.shape.delay_s)
        return ends

    def _legs(self, begin_s: float, n_bytes: float, *, cold: bool) -> list[tuple[float, float]]:
        """Return (start, bytes before it) of the stretches that the sender sends without a pause.

        A cold sender sends one window a round trip, twice as much each time, until a window fills the pipe.
        """
        legs = [(begin_s, 0.0)]
        window = INITIAL_WINDOW_BYTES
        while cold and legs[-1][1] + window < n_bytes:
            start_s, before = legs[-1]
            sent_s = self.clock.finish(start_s, window)
            if sent_s >= start_s + self.shape.rtt_s:
                break
            legs.append((start_s + self.shape.rtt_s, before + window))
            window *= 2.0
        return legs
