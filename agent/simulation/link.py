"""The simulated link: a rate trace, delay, a queue, slow start after idle, loss as a drop of goodput, outages.

Time is an argument; nothing waits. Bytes are a fluid that the trace lets through, first come first served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from splitd.agent.simulation.traces import Trace
from splitd.transport.estimate import INITIAL_WINDOW_BYTES

SEGMENT_BYTES = 1460


@dataclass(frozen=True)
class LinkShape:
    """What a link has besides its rate.

    `delay_s`: one way. `loss`: share of packets lost; goodput falls to what TCP makes of it (Mathis et al., 1997).
    `slow_start`: the sender's window starts at ten segments, doubles while it is what limits, and halves with every
    retransmission timeout of silence (a round trip and `least_rto_s`), as on Linux.
    """

    delay_s: float = 0.01
    loss: float = 0.0
    slow_start: bool = True
    least_rto_s: float = 0.2

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
        self._window_bytes = INITIAL_WINDOW_BYTES

    def send(self, start_s: float, sizes: Sequence[int]) -> list[float]:
        """Send messages back to back from `start_s` on; return when each has completely arrived."""
        arrivals, self._window_bytes = self._cross(start_s, sizes)
        self.free_s = self.last_s = arrivals[-1] - self.shape.delay_s
        return arrivals

    def arrivals(self, start_s: float, sizes: Sequence[int]) -> list[float]:
        """Return when each message would have arrived, without sending it."""
        return self._cross(start_s, sizes)[0]

    def _cross(self, start_s: float, sizes: Sequence[int]) -> tuple[list[float], float]:
        """Return when each message arrives, and the window after them."""
        begin_s = max(start_s, self.free_s)
        legs, window = self._legs(begin_s, float(sum(sizes)))
        ends, sent, leg = [], 0.0, 0
        for size in sizes:
            sent += size
            while leg + 1 < len(legs) and sent > legs[leg + 1][1]:
                leg += 1
            leg_start_s, before = legs[leg]
            ends.append(self.clock.finish(leg_start_s, sent - before) + self.shape.delay_s)
        return ends, window

    def _legs(self, begin_s: float, n_bytes: float) -> tuple[list[tuple[float, float]], float]:
        """Return (start, bytes before it) of the stretches that the sender sends without a pause, and its last window.

        It sends one window a round trip, twice as much each time, until a window fills the pipe.
        """
        legs = [(begin_s, 0.0)]
        if not self.shape.slow_start:
            return legs, inf
        window = self._window_after(begin_s - self.last_s)
        while legs[-1][1] + window < n_bytes:
            start_s, before = legs[-1]
            sent_s = self.clock.finish(start_s, window)
            if sent_s >= start_s + self.shape.rtt_s:
                break
            legs.append((start_s + self.shape.rtt_s, before + window))
            window *= 2.0
        return legs, window

    def _window_after(self, idle_s: float) -> float:
        """Return what silence leaves of the window."""
        timeouts = min(idle_s / (self.shape.rtt_s + self.shape.least_rto_s), 64.0)
        return max(INITIAL_WINDOW_BYTES, self._window_bytes * 0.5 ** int(timeouts))
