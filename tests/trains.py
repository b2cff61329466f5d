"""Trains of chunks over a modelled link, as the two ends would report them: fluid, token bucket, late time stamps."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from splitd.transport.estimate.observations import Arrival, Transfer, TransferKind

# The receiver's clock has nothing to do with the device's.
RECEIVER_OFFSET_S = 7_000.0
LINE_RATE = 1e9


@dataclass
class FluidLink:
    """A shaped link: `rate` bytes/s behind a bucket of `burst` bytes; time stamps late by about `jitter_s`."""

    rate: float
    rtt_s: float = 0.01
    burst: float = 0.0
    jitter_s: float = 2e-4
    seed: int = 0

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)  # noqa: S311 - the same train every time

    def late(self) -> float:
        return abs(self._draw.gauss(0.0, self.jitter_s))

    def train(
        self, sizes: Sequence[int], start_s: float, *, idle_s: float = 1.0, kind: TransferKind = "data"
    ) -> Transfer:
        tokens, sent, stamps = min(self.burst, self.rate * idle_s), 0.0, []
        for size in sizes:
            sent += size
            crossed_s = max(0.0, sent - tokens) / self.rate + sent / LINE_RATE
            stamps.append(start_s + self.rtt_s / 2 + crossed_s + self.late())
        stamps.sort()
        arrivals = tuple(Arrival(t + RECEIVER_OFFSET_S, n) for t, n in zip(stamps, sizes, strict=True))
        ended_s = stamps[-1] + self.rtt_s / 2 + self.late()
        return Transfer("up", kind, start_s, ended_s, idle_s, sum(sizes), arrivals)


def chunks(n_bytes: int) -> list[int]:
    """Cut as the daemon cuts a tensor: about 64 KB each, at least six."""
    count = max(6, -(-n_bytes // 65_536))
    return [n_bytes // count + (i < n_bytes % count) for i in range(count)]
