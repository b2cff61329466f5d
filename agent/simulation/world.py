"""What really happens to a batch: device, uplink, server and downlink on the simulated clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp

from splitd.agent.decide import CandidateCost
from splitd.agent.simulation.link import LinkShape, SimulatedLink
from splitd.agent.simulation.traces import LoadTrace, Trace
from splitd.calibration.profile import Terms, end_to_end
from splitd.native.plan import raw_chunk_count
from splitd.transport.estimate import Arrival, Transfer, TransferKind

# Time stamps of a Python receiver are late by about this much.
JITTER_S = 2e-4
# Repeated runs of one segment on one processor differ by about this share.
NOISE = 0.03
_NOISES = 4096

# Sends (or only would send) messages of these sizes at a time; returns when each has arrived.
Sender = Callable[[float, Sequence[int]], list[float]]


@dataclass(frozen=True)
class Train:
    """One transfer up, as the sender's clock saw it begin and every message of it arrive."""

    sent_s: float
    idle_s: float
    arrivals_s: list[float]
    sizes: list[int]


@dataclass(frozen=True)
class SimulatedBatch:
    """One batch from `start_s` on, on the simulated clock; `up` is what both ends saw of its transfer.

    `terms` is what it took, or would have taken had it not been given up; it ended `late_s` after them (before them, if
    negative).
    """

    cost: CandidateCost
    start_s: float
    terms: Terms[float]
    up: Transfer | None = None

    late_s: float = 0.0

    @property
    def finish_s(self) -> float:
        """When the answer was there."""
        return self.start_s + self.terms.total_s + self.late_s

    def given_up(self, patience_s: float, rest_s: float) -> SimulatedBatch:
        """Return the batch as it ends when the server is waited for no longer, and the rest is done on the device."""
        return replace(self, late_s=patience_s + rest_s - self.terms.total_s)


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

    def device_s(self, cost: CandidateCost, index: int) -> float:
        """Return what head and encoding take for one batch."""
        return cost.work.device_s * self._noise[index % _NOISES]

    def foretell(self, cost: CandidateCost, index: int, start_s: float) -> float:
        """Return how long a batch would take from `start_s`, without letting it happen."""
        return self._through(cost, index, start_s, self.up.arrivals, self.down.arrivals).total_s

    def run(self, cost: CandidateCost, index: int, start_s: float) -> SimulatedBatch:
        """Let a batch happen."""
        if cost.kind == "local":
            return SimulatedBatch(cost, start_s, self._through(cost, index, start_s, self.up.send, self.down.send))
        train = self.cross(start_s + self.device_s(cost, index), cost.wire_bytes)
        terms = self._through(cost, index, start_s, lambda _at_s, _sizes: train.arrivals_s, self.down.send)
        # The report that comes before the result is tiny: one delay back.
        return SimulatedBatch(cost, start_s, terms, self.seen(train, "data"))

    def _through(self, cost: CandidateCost, index: int, start_s: float, up: Sender, down: Sender) -> Terms[float]:
        """Return the true terms of the cost model for one batch."""
        work, device_noise = cost.work, self._noise[index % _NOISES]
        sent_s = start_s + self.device_s(cost, index)
        if cost.kind == "local":
            return end_to_end(work, transfer_s=0.0, return_s=0.0, rtt_s=0.0, queue_s=0.0, k_dev=device_noise)
        arrived_s = up(sent_s, (cost.wire_bytes,))[-1]
        k_srv, queue_s = self.load.at(arrived_s)
        k_srv *= self._noise[(index + _NOISES // 2) % _NOISES]
        done_s = arrived_s + queue_s + work.server_s * k_srv
        finish_s = down(done_s, (cost.result_bytes,))[0]
        delay_s = self.shape.delay_s
        return end_to_end(
            work,
            transfer_s=arrived_s - sent_s - delay_s,
            return_s=finish_s - done_s - delay_s,
            rtt_s=2.0 * delay_s,
            queue_s=queue_s,
            k_dev=device_noise,
            k_srv=k_srv,
        )

    def cross(self, start_s: float, n_bytes: int, messages: int | None = None) -> Train:
        """Send a train of messages up."""
        count = messages or raw_chunk_count(n_bytes, 1)
        size, rest = divmod(n_bytes, count)
        sizes = [size + (i < rest) for i in range(count)]
        idle_s = start_s - self.up.last_s
        return Train(start_s, idle_s, self.up.send(start_s, sizes), sizes)

    def seen(self, train: Train, kind: TransferKind) -> Transfer:
        """Return a crossing as the two ends report it: late time stamps, and no common clock."""
        stamps = sorted(t + abs(self._jitter.gauss(0.0, JITTER_S)) for t in train.arrivals_s)
        return Transfer(
            direction="up",
            kind=kind,
            started_s=train.sent_s,
            ended_s=stamps[-1] + self.shape.delay_s + abs(self._jitter.gauss(0.0, JITTER_S)),
            idle_before_s=train.idle_s,
            n_bytes=sum(train.sizes),
            arrivals=tuple(Arrival(t + 1000.0, size) for t, size in zip(stamps, train.sizes, strict=True)),
        )

    def ping_s(self, start_s: float) -> float:
        """Return the round trip of a ping: it waits behind what is being sent, and during an outage."""
        there_s = self.up.clock.finish(max(start_s, self.up.free_s), 64.0) + self.shape.delay_s
        return there_s + self.shape.delay_s - start_s + abs(self._jitter.gauss(0.0, JITTER_S))
