"""The Decider: which choice for each batch, and what each batch teaches. Sans-IO.

Time, link estimate, the server's load and the profiles come in as arguments; decisions and lessons go out. The agent's
pipeline and `splitd replay` drive the same object, so what a replay shows is what the daemon does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from splitd.agent.decide.candidates import Candidates, Wanted
from splitd.agent.decide.decision import (
    THE_SERVER,
    CandidateCost,
    Decision,
    State,
    with_one_server,
)
from splitd.agent.decide.learning import Done, Learned, Lesson
from splitd.agent.decide.planner import Planner, PlannerConfig
from splitd.agent.decide.surroundings import ReportedQueue, Surroundings, in_hindsight, see, with_rate
from splitd.calibration.profile import CrossingKey, LatencyProfile, ProfilePair
from splitd.errors import UsageError
from splitd.native import crossing
from splitd.transport.estimate import LinkEstimate, LinkEstimator, Quantiles

# A local finish may take this many times its calibrated time: what a throttled core was seen to differ by from one
# batch to the next (docs/method.md). Waiting longer for the server would cost the deadline.
DEADLINE_MARGIN = 1.5
# What a prediction without bounds, or of almost no time, is allowed to be wrong by: a busy server's scheduling.
MIN_PATIENCE_S = 0.3


@dataclass(frozen=True)
class DeciderConfig:
    """How to choose; `deadline_s`: maximise the chance to be done within it. `explore`: share of batches that may."""

    planner: PlannerConfig = field(default_factory=PlannerConfig)
    deadline_s: float | None = None
    explore: float = 0.02


class Pin(NamedTuple):
    """A cut to stay at, with one codec or any."""

    cut: str
    codec: str | None


class Decider:
    """Chooses for each batch and learns from it. Not thread-safe: its shell holds a lock around every call."""

    def __init__(
        self,
        device: LatencyProfile,
        config: DeciderConfig | None = None,
        *,
        codecs: Sequence[str],
        refusals: Mapping[CrossingKey, str],
        result_elements: Sequence[int],
    ) -> None:
        self.candidates = Candidates(device, codecs=codecs, refusals=refusals, result_elements=result_elements)
        self.config = config or DeciderConfig()
        self.learned = Learned()
        self.pinning: Pin | None = None
        self.last: tuple[Decision, int] | None = None
        self._planner = Planner(self.config.planner)
        self._decided: tuple[Sequence[CandidateCost], State, Surroundings] | None = None

    @property
    def profile(self) -> LatencyProfile:
        """The device's own profile."""
        return self.candidates.device

    @property
    def pinned(self) -> str | None:
        """The pinned cut, with its codec if that is pinned too."""
        return None if self.pinning is None else "/".join(part for part in self.pinning if part)

    # Once per batch

    def look(self, estimator: LinkEstimator, now_s: float, queue: ReportedQueue | None) -> Surroundings:
        """Return the surroundings of the batch that is decided next."""
        return see(estimator, now_s, queue)

    def decide(self, wanted: Wanted, around: Surroundings) -> Decision:
        """Choose for one batch."""
        learned = self.learned
        learned.earn(self.config.explore)
        table = self.candidates.table(wanted, learned.prepare_s.get(wanted.kind, 0.0))
        state = self._state(wanted.batch, around)
        planned = self._planner.decide(table, state)
        decision = replace(planned, give_up_s=self._give_up_s(planned, wanted, around.now_s))
        self._decided = table, state, around
        learned.previous = decision.chosen.cost.key
        learned.budget -= decision.explored
        self.last = decision, wanted.batch
        return decision

    def learn(self, decision: Decision, done: Done) -> Lesson:
        """Take in what a batch really took, and judge its decision in hindsight."""
        self.learned.take_in(decision.chosen.cost, done)
        k_dev, k_srv = self.factors(done.now_s)
        return Lesson(self._hindsight_s(decision, done), k_dev, k_srv)

    # What changes it

    def follow(self, server: LatencyProfile) -> None:
        """Take over the profile of the server that the session has (re)connected to; raises ProfileError."""
        self.candidates.follow(server=server)

    def replace_profile(self, device: LatencyProfile) -> None:
        """Take over a new calibration of the device; raises ProfileError."""
        self.candidates.follow(device=device)

    def reconfigure(self, config: DeciderConfig) -> None:
        """Take over another configuration; a pin stays."""
        self._set(config, self.pinning)

    def pin(self, cut: str, codec: str | None) -> None:
        """Stay at one cut; raises UsageError for a cut or codec that is not there."""
        names = self.profile.cut_names
        known = {(cost.name, cost.codec) for cost in self.costs(1)} | {(names[0], crossing.AS_GIVEN)}
        if cut not in names:
            raise UsageError(f"there is no cut {cut!r}; `splitctl splits` lists them")
        if codec not in {None, crossing.LOCAL} and (cut, codec) not in known:
            raise UsageError(f"codec {codec!r} is not a candidate at {cut}; `splitctl splits` lists them")
        self.set_pin(Pin(cut, None if codec == crossing.LOCAL else codec))

    def unpin(self) -> None:
        """Choose for each batch again."""
        self.set_pin(None)

    def set_pin(self, pin: Pin | None) -> None:
        """Stay where `pin` says, without looking whether that is there; None: nowhere."""
        self._set(self.config, pin)

    # What people ask

    def costs(self, batch: int) -> Sequence[CandidateCost]:
        """Return the candidates for a batch of uint8 images."""
        return self.candidates.table(Wanted(batch))

    def explain(self, batch: int | None, rate_bytes_per_s: float | None, around: Surroundings) -> tuple[Decision, int]:
        """Return the last decision, or what would be decided for a batch size and an uplink rate."""
        if batch is None and rate_bytes_per_s is None and self.last is not None:
            return self.last
        size = batch or (self.last[1] if self.last else 1)
        if rate_bytes_per_s is not None:
            around = replace(around, link=with_rate(around.link, rate_bytes_per_s))
        state = replace(self._state(size, around), previous=None, explore=False)
        return self._planner.decide(self.costs(size), state), size

    def factors(self, now_s: float) -> tuple[Quantiles, Quantiles]:
        """Return k_dev and k_srv with their bounds."""
        return self.learned.k_dev.estimate(now_s), self.learned.k_srv.estimate(now_s)

    def pair(self) -> ProfilePair | None:
        """Return both ends' profiles and what may not be used; None before the server's profile is known."""
        device, server = self.candidates.device, self.candidates.server
        return None if server is None else ProfilePair(device, server, frozenset(self.candidates.refusals))

    # Inside

    def _set(self, config: DeciderConfig, pin: Pin | None) -> None:
        self.config, self.pinning = config, pin
        cut, codec = pin if pin is not None else (None, None)
        self._planner = Planner(replace(config.planner, pinned=cut, pinned_codec=codec))

    def _state(self, batch: int, around: Surroundings) -> State:
        queue, now_s = around.queue, around.now_s
        k_dev, k_srv = self.factors(now_s)
        # The queue was so long when the server said so; it has been working it off since.
        queue_s = 0.0 if queue is None else max(0.0, queue.queue_s - queue.age_s)
        return State(
            servers=with_one_server(around.link, queue_s=queue_s, k_srv=k_srv, idle_s=around.link.idle_s),
            k_dev=k_dev,
            batch=batch,
            deadline_s=self.config.deadline_s,
            previous=self.learned.previous,
            explore=self.learned.budget >= 1.0,
        )

    def _give_up_s(self, decision: Decision, wanted: Wanted, now_s: float) -> float:
        """Return until when the server is waited for: so that a local finish still meets the deadline.

        Waiting for as long as finishing takes costs at most twice the better of the two in hindsight (the ski-rental
        rule).
        """
        cost, predicted = decision.chosen.cost, decision.chosen.predicted
        own_s = self.profile.tail_s(cost.cut, wanted.batch) * self.learned.k_dev.estimate(now_s).p50
        patience_s = max(own_s, MIN_PATIENCE_S) + (predicted.p90 if predicted is not None else 0.0)
        return max(now_s, min(wanted.deadline_s - DEADLINE_MARGIN * own_s, now_s + patience_s))

    def _hindsight_s(self, decision: Decision, done: Done) -> float:
        """Return what the best choice for the last batch would have taken, by all that is known after it.

        The chosen candidate took what was measured; what the others would have taken is modelled, with the rate, the
        queue and the speeds that the batch met. Of a batch that was given up only this is known: local was better.
        """
        if self._decided is None:
            return done.measured_s
        table, state, around = self._decided
        k_dev, k_srv = self.factors(done.now_s)
        server = replace(
            state.server(THE_SERVER),
            link=LinkEstimate("unknown") if done.given_up else in_hindsight(around, done.rate_bytes_per_s),
            k_srv=k_srv,
        )
        if done.remote is not None:
            server = replace(server, queue_s=done.remote.queue_s)
        state = replace(state, servers={THE_SERVER: server}, k_dev=k_dev)
        return min(done.measured_s, self._planner.soonest_s(table, state, but=decision.chosen.cost.key))
