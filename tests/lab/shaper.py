"""One direction of an emulated link: rate, delay, loss, a bounded queue (sans-IO: packets and times in, packets out).

The rate is a *work clock*: it counts the bytes the link could have sent so far. A packet leaves the queue when the
clock has passed the packet's own mark, so a change of rate in mid-packet, and a rate of zero, need no special case.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

QUEUE_BYTES = 256 * 1024


@dataclass(frozen=True)
class Conditions:
    """What one direction of the link does to packets; the defaults do nothing."""

    rate_bytes_per_s: float | None = None
    """IP bytes per second; 0 holds everything back, None is as fast as the relay."""
    trace: tuple[tuple[float, float], ...] = ()
    """(seconds from now, bytes/s), ascending: overrides the rate from its first entry on; the last one stays."""
    delay_s: float = 0.0
    loss: float = 0.0
    """Share of packets that vanish, 0..1; 1 is a black hole."""
    queue_bytes: int = QUEUE_BYTES


class Shaper:
    """Holds packets back as `Conditions` say; times are seconds of any one monotonic clock."""

    def __init__(self, seed: int = 0) -> None:
        self._conditions = Conditions()
        self._since_s = 0.0
        self._random = random.Random(seed)  # noqa: S311 - the same losses in every run
        self._now_s = 0.0
        self._work_bytes = 0.0
        self._last_mark = 0.0
        self._queued_bytes = 0
        self._queue: deque[tuple[float, bytes]] = deque()  # (mark, packet)
        self._flying: deque[tuple[float, bytes]] = deque()  # (time of arrival, packet)

    def set(self, now_s: float, conditions: Conditions) -> None:
        """Change the link; packets under way stay under way."""
        self._advance(now_s)
        self._conditions, self._since_s = conditions, now_s

    def offer(self, now_s: float, packet: bytes) -> None:
        """Take a packet in, or drop it: by chance, or because the queue is full."""
        self._advance(now_s)
        if self._random.random() < self._conditions.loss:
            return
        if self._queued_bytes + len(packet) > self._conditions.queue_bytes:
            return
        self._last_mark = max(self._last_mark, self._work_bytes) + len(packet)
        self._queued_bytes += len(packet)
        self._queue.append((self._last_mark, packet))

    def due(self, now_s: float) -> Sequence[bytes]:
        """The packets that have arrived at the other end by now."""
        self._advance(now_s)
        while self._queue and self._queue[0][0] <= self._work_bytes:
            packet = self._queue.popleft()[1]
            self._queued_bytes -= len(packet)
            self._flying.append((now_s + self._conditions.delay_s, packet))
        arrived = []
        while self._flying and self._flying[0][0] <= now_s:
            arrived.append(self._flying.popleft()[1])
        return arrived

    def wait_s(self, now_s: float) -> float:
        """Seconds until `due` may have something new; infinite when nothing is held."""
        waits = [self._flying[0][0] - now_s] if self._flying else []
        if self._queue:
            rate, until_s = self._rate(now_s)
            missing = self._queue[0][0] - self._work_bytes
            waits.append(min(missing / rate if rate else math.inf, until_s - now_s))
        return max(0.0, min(waits, default=math.inf))

    def _advance(self, now_s: float) -> None:
        while self._now_s < now_s:
            rate, until_s = self._rate(self._now_s)
            step_end_s = min(until_s, now_s)
            # An unlimited link has no work left to do: every mark so far is passed.
            self._work_bytes = (
                self._last_mark if math.isinf(rate) else self._work_bytes + rate * (step_end_s - self._now_s)
            )
            self._now_s = step_end_s

    def _rate(self, at_s: float) -> tuple[float, float]:
        """The rate at a time, and until when it holds."""
        plain = self._conditions.rate_bytes_per_s
        rate, until_s = math.inf if plain is None else plain, math.inf
        for start_s, traced in self._conditions.trace:
            if self._since_s + start_s > at_s:
                return rate, self._since_s + start_s
            rate = traced
        return rate, until_s
