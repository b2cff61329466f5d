"""The policies that a replay compares: ours, the static ones, and two from the literature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from splitd.agent.decide import CandidateCost, Decider, Decision, Done, Remote, Wanted
from splitd.agent.simulation.heartbeat import Heartbeat
from splitd.agent.simulation.world import SimulatedBatch, World
from splitd.calibration.profile import Floats, Work, end_to_end
from splitd.errors import UsageError
from splitd.transport.estimate import LinkEstimator, Transfer

# What any batch is allowed before it must be done: the default deadline of the intake.
STATIC_PATIENCE_S = 10.0
_EWMA_GAIN = 0.3


class Policy(Protocol):
    """Chooses for each batch; `advance` lets time pass between the decisions."""

    def advance(self, until_s: float, *, busy: bool = False) -> None:
        """Let the time pass up to `until_s`; `busy`: a batch is on the link."""

    def choose(self, now_s: float) -> tuple[CandidateCost, float]:
        """Return the choice and for how many seconds it is waited for."""

    def learn(self, batch: SimulatedBatch, *, given_up: bool) -> None:
        """Take in what came of the choice."""


class Static:
    """Always the same candidate."""

    def __init__(self, cost: CandidateCost) -> None:
        self._cost = cost

    def advance(self, until_s: float, *, busy: bool = False) -> None:
        """Do nothing: a static system does not look."""

    def choose(self, now_s: float) -> tuple[CandidateCost, float]:
        """Return the one candidate."""
        del now_s
        return self._cost, STATIC_PATIENCE_S

    def learn(self, batch: SimulatedBatch, *, given_up: bool) -> None:
        """Learn nothing."""


class Dynamic:
    """The daemon's own estimator, prober and Decider, fed as the daemon feeds them."""

    def __init__(self, decider: Decider, world: World, *, batch: int) -> None:
        self._decider = decider
        self._batch = batch
        self._estimator = LinkEstimator()
        self._estimator.on_up(0.0)
        self._decision: Decision | None = None
        self.heartbeat = Heartbeat(world, self._estimator, lambda _: None)

    def advance(self, until_s: float, *, busy: bool = False) -> None:
        """Ping and probe until then."""
        self.heartbeat.advance(until_s, busy=busy)

    def choose(self, now_s: float) -> tuple[CandidateCost, float]:
        """Decide; the server's queue is what the last pong said."""
        around = self._decider.look(self._estimator, now_s, self.heartbeat.queue(now_s))
        wanted = Wanted(self._batch, deadline_s=now_s + STATIC_PATIENCE_S)
        self._decision = decision = self._decider.decide(wanted, around)
        return decision.chosen.cost, decision.give_up_s - now_s

    def learn(self, batch: SimulatedBatch, *, given_up: bool) -> None:
        """Learn rate and speeds; a request that was given up makes the rate unknown."""
        now_s, terms = batch.finish_s, batch.terms
        if batch.up is not None:
            self.heartbeat.on_data()
            if given_up:
                self._estimator.on_probe_failed(now_s)
            else:
                self._estimator.on_transfer(now_s, batch.up)
        is_remote = batch.up is not None and not given_up
        done = Done(
            now_s=now_s,
            measured_s=now_s - batch.start_s,
            head_s=terms.head_s,
            prepare_s=0.0,
            samples=self._batch,
            kind="uint8",
            given_up=given_up,
            remote=Remote(terms.queue_s, terms.decode_s, terms.tail_s) if is_remote else None,
            rate_bytes_per_s=self._estimator.uplink_rate(now_s),
        )
        if self._decision is not None:
            self._decider.learn(self._decision, done)


class Measured:
    """Decides by one measured rate, D/T of whole transfers, and calibrated times; knows neither bounds nor loads.

    `gain` = 1 trusts the last transfer alone. It shares our pings and probes, so that it can leave local processing.
    """

    def __init__(self, costs: Sequence[CandidateCost], believed: Work[Floats], world: World, *, gain: float) -> None:
        self._costs = costs
        self._believed = believed
        self._wire = np.array([float(cost.wire_bytes) for cost in costs])
        self._gain = gain
        self._rate: float | None = None
        estimator = LinkEstimator()
        estimator.on_up(0.0)
        self._heartbeat = Heartbeat(world, estimator, self._take)

    def advance(self, until_s: float, *, busy: bool = False) -> None:
        """Ping and probe until then."""
        self._heartbeat.advance(until_s, busy=busy)

    def choose(self, now_s: float) -> tuple[CandidateCost, float]:
        """Return the argmin of head + D/r + tail."""
        del now_s
        # Without any rate yet: 1 kB/s, which keeps the batch here.
        transfer_s = self._wire / (self._rate or 1e3)
        none = np.zeros(len(self._wire))
        terms = end_to_end(self._believed, transfer_s=transfer_s, return_s=none, rtt_s=none, queue_s=none)
        return self._costs[int(terms.total_s.argmin())], STATIC_PATIENCE_S

    def learn(self, batch: SimulatedBatch, *, given_up: bool) -> None:
        """Take in D/T of the batch's transfer."""
        if batch.up is not None:
            self._heartbeat.on_data()
            if not given_up:
                self._take(batch.up)

    def _take(self, transfer: Transfer) -> None:
        rate = transfer.n_bytes / transfer.elapsed_s
        self._rate = rate if self._rate is None else self._rate + self._gain * (rate - self._rate)


def ewma(costs: tuple[CandidateCost, ...], world: World) -> Measured:
    """Return the policy of the method's cost model with an EWMA of D/T."""
    return Measured(costs, _columns(costs), world, gain=_EWMA_GAIN)


def neurosurgeon(costs: tuple[CandidateCost, ...], world: World) -> Measured:
    """Return a policy after Kang et al. (ASPLOS 2017): every layer a cut, float32, a regression per layer, last rate.

    Raises:
        UsageError: The profile has no float32 cuts.
    """
    mine = [c for c in costs if c.kind == "local" or c.codec in {"f32", "raw"}]
    cuts = [c for c in mine if c.kind == "split"]
    if not cuts:
        raise UsageError("neurosurgeon needs a profile with codec f32")
    return Measured(mine, _regressed(mine), world, gain=1.0)


def _columns(costs: Sequence[CandidateCost]) -> Work[Floats]:
    """Return what both ends compute for each candidate, as calibrated."""
    columns = np.array([(c.head_s, c.encode_s, c.decode_s, c.tail_s) for c in costs]).T
    return Work(*columns)


def _regressed(costs: Sequence[CandidateCost]) -> Work[Floats]:
    """Return the work with each layer's time replaced by a regression on its input and output size, without codecs.

    The layers of a profile are the segments between two cuts; their sizes are their float32 bytes.
    """
    device = _layers([c.head_s for c in costs], costs)
    server = _layers([-c.tail_s for c in costs], costs)
    heads = np.concatenate(([0.0], np.cumsum(device)))
    tails = np.concatenate((np.cumsum(server[::-1])[::-1], [0.0]))
    none = np.zeros(len(costs))
    return Work(heads, none, none, tails)


def _layers(cumulative: Sequence[float], costs: Sequence[CandidateCost]) -> Floats:
    """Return each layer's fitted seconds, from times that add up along the chain."""
    times = np.diff(np.array(cumulative))
    sizes = np.array([float(c.wire_bytes) for c in costs])
    design = np.stack([np.ones(len(times)), sizes[:-1], sizes[1:]], axis=1)
    fitted, *_ = np.linalg.lstsq(design, times, rcond=None)
    predicted: Floats = np.maximum(design @ fitted, 0.0)
    return predicted
