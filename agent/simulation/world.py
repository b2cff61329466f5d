"""What really happens to a batch: device, uplink, server and downlink on the simulated clock."""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import exp

from splitd.agent.decide import CHUNK_HEADER_BYTES, CandidateCost
from splitd.agent.simulation.link import LinkShape, SimulatedLink
from splitd.agent.simulation.traces import LoadTrace, Trace
from splitd.native.plan import DEFAULT_TARGET_BYTES, MIN_CHUNKS
from splitd.transport.estimate import Arrival, Transfer, TransferKind

# Time stamps of a Python receiver are late by about this much.
JITTER_S = 2e-4
# Repeated runs of one segment on one processor differ by about this share.
NOISE = 0.03
_NOISES = 4096


@dataclass(frozen=True)
class Crossing:
    """One transfer up, as the sender's clock saw it begin and every message of it arrive."""

    sent_s: float
    idle_s: float
    arrivals_s: list[float]
    sizes: list[int]


@dataclass(frozen=True)
class Outcome:
    """One batch: `finish_s` on the simulated clock; `head_s` and `remote_s` what device and server computed."""

    cost: CandidateCost
    start_s: float
    head_s: float
    finish_s: float
    remote_s: float = 0.0
    up: Transfer | None = None


class World:
    """The truth behind one replay; the same seed gives the same noise to every policy.

    `noise` is the share by which repeated runs of one segment differ.
    """

    def __init__(self, trace: Trace, shape: LinkShape, load: LoadTrace, *, seed: int = 0, noise: float = NOISE) -> None:
        self.shape = shape
        self.load = load
        self.up = SimulatedLink(trace, shape)
        self.down = SimulatedLink(trace, shape)
        draw = random.Random(seed)  # noqa: S311 - a simulation wants the same noise every time
        self._noise = [exp(draw.gauss(0.0, noise)) for _ in range(_NOISES)]
        self._jitter = random.Random(seed + 1)  # noqa: S311

    def head_s(self, cost: CandidateCost, index: int) -> float:
        """Return how long the device works on batch number `index` before it can send."""
        return (cost.head_s + cost.encode_s) * self._noise[index % _NOISES]

    def remote_s(self, cost: CandidateCost, index: int, arrived_s: float) -> tuple[float, float]:
        """Return (queue, compute) seconds on the server of something that has arrived."""
        k_srv, queue_s = self.load.at(arrived_s)
        return queue_s, (cost.decode_s + cost.tail_s) * k_srv * self._noise[(index + _NOISES // 2) % _NOISES]

    def foretell(self, cost: CandidateCost, index: int, start_s: float) -> float:
        """Return how long a batch would take from `start_s`, without letting it happen."""
        head_s = self.head_s(cost, index)
        if cost.kind == "local":
            return head_s
        arrived_s = self.up.arrivals(start_s + head_s, (cost.wire_bytes,))[0]
        queue_s, compute_s = self.remote_s(cost, index, arrived_s)
        done_s = arrived_s + queue_s + compute_s
        return self.down.arrivals(done_s, (cost.result_bytes,))[0] - start_s

    def run(self, cost: CandidateCost, index: int, start_s: float) -> Outcome:
        """Let a batch happen."""
        head_s = self.head_s(cost, index)
        if cost.kind == "local":
            return Outcome(cost, start_s, head_s, start_s + head_s)
        crossing = self.cross(start_s + head_s, cost.wire_bytes)
        queue_s, compute_s = self.remote_s(cost, index, crossing.arrivals_s[-1])
        done_s = crossing.arrivals_s[-1] + queue_s + compute_s
        finish_s = self.down.send(done_s, (cost.result_bytes,))[0]
        # The report that comes before the result is tiny: one delay back.
        return Outcome(cost, start_s, head_s, finish_s, compute_s, self.seen(crossing, "data"))

    def cross(self, start_s: float, n_bytes: int, messages: int | None = None) -> Crossing:
        """Send a train of messages up."""
        count = messages or max(MIN_CHUNKS, -(-n_bytes // (DEFAULT_TARGET_BYTES + CHUNK_HEADER_BYTES)))
        size, rest = divmod(n_bytes, count)
        sizes = [size + (i < rest) for i in range(count)]
        idle_s = start_s - self.up.last_s
        return Crossing(start_s, idle_s, self.up.send(start_s, sizes), sizes)

    def seen(self, crossing: Crossing, kind: TransferKind) -> Transfer:
        """Return a crossing as the two ends report it: late time stamps, and no common clock."""
        stamps = sorted(t + abs(self._jitter.gauss(0.0, JITTER_S)) for t in crossing.arrivals_s)
        return Transfer(
            direction="up",
            kind=kind,
            started_s=crossing.sent_s,
            ended_s=stamps[-1] + self.shape.delay_s + abs(self._jitter.gauss(0.0, JITTER_S)),
            idle_before_s=crossing.idle_s,
            n_bytes=sum(crossing.sizes),
            arrivals=tuple(Arrival(t + 1000.0, size) for t, size in zip(stamps, crossing.sizes, strict=True)),
        )

    def ping_s(self, start_s: float) -> float:
        """Return the round trip of a ping: it waits behind what is being sent, and during an outage."""
        there_s = self.up.clock.finish(max(start_s, self.up.free_s), 64.0) + self.shape.delay_s
        return there_s + self.shape.delay_s - start_s + abs(self._jitter.gauss(0.0, JITTER_S))
