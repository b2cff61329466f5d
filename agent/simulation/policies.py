"""The policies that a replay compares: ours, the static ones, and two from the literature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from splitd.agent.decide import (
    CandidateCost,
    CandidateKey,
    Floats,
    Planner,
    PlannerConfig,
    ServerView,
    SpeedFactor,
    State,
    patience_s,
)
from splitd.agent.simulation.heartbeat import Heartbeat
from splitd.agent.simulation.world import Outcome, World
from splitd.errors import UsageError
from splitd.transport.estimate import LinkEstimator, Transfer

# What a static system allows a batch before it finishes on the device: the default deadline of the intake.
STATIC_PATIENCE_S = 10.0
_EWMA_GAIN = 0.3


class Policy(Protocol):
    """Chooses for each batch; `advance` lets time pass between the decisions."""

    def advance(self, until_s: float, *, busy: bool = False) -> None:
        """Let the time pass up to `until_s`; `busy`: a batch is on the link."""

    def choose(self, now_s: float) -> tuple[CandidateCost, float]:
        """Return the choice and for how many seconds it is waited for."""

    def learn(self, outcome: Outcome, *, given_up: bool) -> None:
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

    def learn(self, outcome: Outcome, *, given_up: bool) -> None:
        """Learn nothing."""


class Dynamic:
    """The daemon's own estimator, prober, load factors and planner."""

    def __init__(
        self, costs: tuple[CandidateCost, ...], world: World, planner: PlannerConfig, *, explore: float, batch: int
    ) -> None:
        self._costs = costs
        self._local_s = next(cost.head_s for cost in costs if cost.kind == "local")
        self._world = world
        self._planner = Planner(planner)
        self._explore = explore
        self._batch = batch
        self._estimator = LinkEstimator()
        self._estimator.on_up(0.0)
        self.heartbeat = Heartbeat(world, self._estimator, lambda _: None)
        self._k_dev, self._k_srv = SpeedFactor(), SpeedFactor()
        self._previous: CandidateKey | None = None
        self._batches = self._explored = 0

    def advance(self, until_s: float, *, busy: bool = False) -> None:
        """Ping and probe until then."""
        self.heartbeat.advance(until_s, busy=busy)

    def choose(self, now_s: float) -> tuple[CandidateCost, float]:
        """Decide as the daemon does; its pings carry the server's present queue."""
        state = State(
            link=self._estimator.estimate(now_s),
            server=ServerView(self._world.load.at(now_s)[1], self._k_srv.estimate(now_s)),
            k_dev=self._k_dev.estimate(now_s),
            batch=self._batch,
            idle_s=now_s - max(self._world.up.last_s, -3600.0),
            previous=self._previous,
            explore=self._explore * self._batches - self._explored >= 1.0,
        )
        decision = self._planner.decide(self._costs, state)
        self._batches += 1
        self._explored += decision.explored
        self._previous = decision.chosen.cost.key
        chosen = decision.chosen
        rest_s = max(0.0, self._local_s - chosen.cost.head_s) * state.k_dev.p50
        return chosen.cost, patience_s(chosen.predicted, rest_s)

    def learn(self, outcome: Outcome, *, given_up: bool) -> None:
        """Learn speeds and rate; a transfer that was given up makes the rate unknown."""
        now_s, cost = outcome.finish_s, outcome.cost
        self._k_dev.observe(now_s, outcome.head_s, cost.head_s + cost.encode_s)
        if outcome.up is None:
            return
        self.heartbeat.on_data()
        if given_up:
            self._estimator.on_probe_failed(now_s)
            return
        self._k_srv.observe(now_s, outcome.remote_s, cost.decode_s + cost.tail_s)
        self._estimator.on_transfer(now_s, outcome.up)


class Measured:
    """Decides by one measured rate, D/T of whole transfers, and calibrated times; knows neither bounds nor loads.

    `gain` = 1 trusts the last transfer alone. It shares our pings and probes, so that it can leave local processing.
    """

    def __init__(self, costs: Sequence[CandidateCost], believed: Sequence[float], world: World, *, gain: float) -> None:
        self._costs = costs
        self._believed = np.array(believed)
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
        times = self._believed + self._wire / (self._rate or 1e3)
        return self._costs[int(times.argmin())], STATIC_PATIENCE_S

    def learn(self, outcome: Outcome, *, given_up: bool) -> None:
        """Take in D/T of the batch's transfer."""
        if outcome.up is not None:
            self._heartbeat.on_data()
            if not given_up:
                self._take(outcome.up)

    def _take(self, transfer: Transfer) -> None:
        rate = transfer.n_bytes / transfer.elapsed_s
        self._rate = rate if self._rate is None else self._rate + self._gain * (rate - self._rate)


def ewma(costs: tuple[CandidateCost, ...], world: World) -> Measured:
    """Return the policy of the method's cost model with an EWMA of D/T."""
    return Measured(costs, [c.head_s + c.encode_s + c.decode_s + c.tail_s for c in costs], world, gain=_EWMA_GAIN)


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


def _regressed(costs: Sequence[CandidateCost]) -> list[float]:
    """Return device plus server seconds with each layer's time replaced by a regression on its input and output size.

    The layers of a profile are the segments between two cuts; their sizes are their float32 bytes.
    """
    device = _layers([c.head_s for c in costs], costs)
    server = _layers([-c.tail_s for c in costs], costs)
    heads = np.concatenate(([0.0], np.cumsum(device)))
    tails = np.concatenate((np.cumsum(server[::-1])[::-1], [0.0]))
    return [float(h + t) for h, t in zip(heads, tails, strict=True)]


def _layers(cumulative: Sequence[float], costs: Sequence[CandidateCost]) -> Floats:
    """Return each layer's fitted seconds, from times that add up along the chain."""
    times = np.diff(np.array(cumulative))
    sizes = np.array([float(c.wire_bytes) for c in costs])
    design = np.stack([np.ones(len(times)), sizes[:-1], sizes[1:]], axis=1)
    fitted, *_ = np.linalg.lstsq(design, times, rcond=None)
    predicted: Floats = np.maximum(design @ fitted, 0.0)
    return predicted
