"""What the agent knows and decides with: profiles of both ends, the link, load factors, the planner.

The pipeline asks it for each batch and tells it what came of it; the control socket reads it from another thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from splitd.agent.configuration import PlannerSection
from splitd.agent.decide.candidates import Candidates, Wanted
from splitd.agent.decide.decision import CandidateCost, CandidateKey, Decision, ServerView, State
from splitd.agent.decide.patience import patience_s
from splitd.agent.decide.planner import Planner, PlannerConfig
from splitd.agent.decide.speed import SpeedFactor
from splitd.agent.runtime import AS_GIVEN
from splitd.calibration.profile import LatencyProfile, ProfilePair
from splitd.errors import ProfileError, UsageError
from splitd.transport.device import Session
from splitd.transport.estimate import LinkEstimate, PathModel, Quantiles

if TYPE_CHECKING:
    from splitd.agent.device import Inputs, Outcome

log = logging.getLogger(__name__)

DEADLINE_MARGIN = 1.5  # a local finish may take this many times its calibrated time


class Brain:
    """Decides for each batch; `decide` and `learn` belong to the pipeline's thread.

    `on_profiles` is called with every new pair of profiles, after the answer of the first batch that they served: it
    may write a file, which no batch shall wait for.
    """

    def __init__(
        self,
        candidates: Candidates,
        session: Session,
        planner: PlannerSection,
        on_profiles: Callable[[ProfilePair], None] = lambda _: None,
    ) -> None:
        self._on_profiles = on_profiles
        self._told: ProfilePair | None = None
        self._candidates = candidates
        self._session = session
        self._section = planner
        self._planner = Planner(planner_config(planner))
        self._pin: tuple[str, str | None] | None = None
        self._server_epoch: int | None = None
        self._k_dev = SpeedFactor()
        self._k_srv = SpeedFactor()
        self._previous: CandidateKey | None = None
        self._batches = 0
        self._explored = 0
        self._table: Sequence[CandidateCost] = ()
        self._decided: State | None = None
        self.last: tuple[Decision, int] | None = None

    @property
    def profile(self) -> LatencyProfile:
        """The device's own profile."""
        return self._candidates.device

    @property
    def pinned(self) -> str | None:
        """The pinned cut, with its codec if that is pinned too."""
        return None if self._pin is None else "/".join(part for part in self._pin if part)

    def decide(self, inputs: Inputs) -> Decision:
        """Choose for one batch."""
        self._follow_server()
        files = inputs.files() if inputs.kind == "encoded" else None
        wanted = Wanted(inputs.size, inputs.kind, sum(map(len, files)) if files else 0)
        self._table, self._decided = self._candidates.table(wanted), self._state(inputs.size)
        decision = self._planner.decide(self._table, self._decided)
        self._previous = decision.chosen.cost.key
        self._batches += 1
        self._explored += decision.explored
        self.last = (decision, inputs.size)
        return decision

    def learn(self, decision: Decision, outcome: Outcome, inputs: Inputs) -> None:
        """Take in what a batch really took: the device's and the server's speed."""
        cost, now_s = decision.chosen.cost, time.monotonic()
        self._tell_profiles()
        own_s = outcome.timings.get("head", 0.0) + outcome.timings.get("prepare", 0.0)
        if cost.kind != "full" and outcome.source != "finished-locally":
            self._k_dev.observe(now_s, own_s, cost.head_s)
        self._candidates.observe_prepare(inputs.kind, inputs.prepare_s, inputs.size)
        reply = outcome.reply
        if reply is not None:
            self._k_srv.observe(now_s, reply.server.decode_s + reply.server.compute_s, cost.decode_s + cost.tail_s)

    def hindsight_s(self, decision: Decision, measured_s: float) -> float:
        """Return what the best choice for the last batch would have taken, by all that is known after it.

        The chosen candidate took what was measured; what the others would have taken is modelled.
        """
        if self._decided is None:
            return measured_s
        state = replace(self._state(self._decided.batch), idle_s=self._decided.idle_s)
        return min(measured_s, self._planner.soonest_s(self._table, state, but=decision.chosen.cost.key))

    def give_up_s(self, decision: Decision, batch: int, now_s: float, deadline_s: float) -> float:
        """Return until when the server is waited for: so that a local finish still meets the deadline."""
        cost, predicted = decision.chosen.cost, decision.chosen.predicted
        own_s = self.profile.tail_s(cost.cut, batch) * self._k_dev.estimate(now_s).p50
        return max(now_s, min(deadline_s - DEADLINE_MARGIN * own_s, now_s + patience_s(predicted, own_s)))

    def costs(self, batch: int) -> Sequence[CandidateCost]:
        """Return the candidates for a batch of uint8 images."""
        self._follow_server()
        return self._candidates.table(Wanted(batch))

    def refusals(self) -> list[tuple[str, str, str]]:
        """Return (cut, codec, reason) of everything that the accuracy guard keeps out."""
        return self._candidates.refusals()

    def explain(self, batch: int | None, rate_bytes_per_s: float | None) -> tuple[Decision, int]:
        """Return the last decision, or what would be decided for a batch size and an uplink rate.

        Raises:
            UsageError: Nothing has been decided yet and nothing was asked for.
        """
        if batch is None and rate_bytes_per_s is None and self.last is not None:
            return self.last
        size = batch or (self.last[1] if self.last else 1)
        state = replace(self._state(size), previous=None, explore=False)
        if rate_bytes_per_s is not None:
            state = replace(state, link=with_rate(state.link, rate_bytes_per_s))
        return self._planner.decide(self.costs(size), state), size

    def pin(self, cut: str, codec: str | None) -> None:
        """Stay at one cut; raises UsageError for a cut or codec that is not there."""
        known = {(cost.name, cost.codec) for cost in self.costs(1)} | {(self.profile.cut_names[0], AS_GIVEN)}
        if cut not in self.profile.cut_names:
            raise UsageError(f"there is no cut {cut!r}; `splitctl splits` lists them")
        if codec not in {None, "-"} and (cut, codec) not in known:
            raise UsageError(f"codec {codec!r} is not a candidate at {cut}; `splitctl splits` lists them")
        self._set(self._section, (cut, None if codec == "-" else codec))

    def unpin(self) -> None:
        """Choose for each batch again."""
        self._set(self._section, None)

    def reconfigure(self, section: PlannerSection) -> None:
        """Take over another planner configuration."""
        self._set(section, self._pin)

    def replace_profile(self, profile: LatencyProfile) -> None:
        """Take over a new calibration."""
        self._candidates.follow(device=profile)

    def factors(self) -> tuple[Quantiles, Quantiles]:
        """Return k_dev and k_srv with their bounds."""
        now_s = time.monotonic()
        return self._k_dev.estimate(now_s), self._k_srv.estimate(now_s)

    def rate_bytes_per_s(self) -> float | None:
        """Return the estimated uplink rate."""
        up = self._session.link().up
        return up.p50 if up else None

    def _set(self, section: PlannerSection, pin: tuple[str, str | None] | None) -> None:
        self._section, self._pin = section, pin
        config = planner_config(section)
        if pin is not None:
            config = replace(config, pinned=pin[0], pinned_codec=pin[1])
        self._planner = Planner(config)

    def _state(self, batch: int) -> State:
        now_s = time.monotonic()
        load = self._session.server_view()
        link = self._session.link()
        budget = self._section.explore * self._batches - self._explored
        return State(
            link=link,
            # The queue was so long when the server said so; it has been working it off since.
            server=ServerView(max(0.0, load.queue_s - load.age_s) if load else 0.0, self._k_srv.estimate(now_s)),
            k_dev=self._k_dev.estimate(now_s),
            batch=batch,
            deadline_s=None if self._section.deadline_ms is None else self._section.deadline_ms / 1000,
            idle_s=link.idle_s,
            previous=self._previous,
            explore=budget >= 1,
        )

    def _follow_server(self) -> None:
        """Take over the profile of the server that the session has (re)connected to."""
        status = self._session.status()
        if status.server is None or status.epoch == self._server_epoch:
            return
        self._server_epoch = status.epoch
        try:
            profile = LatencyProfile.from_json(status.server.document.get("profile"))
        except ProfileError as error:
            log.warning("the server's profile cannot be used, so all work stays here: %s", error)
            return
        self._candidates.follow(server=profile)

    def _tell_profiles(self) -> None:
        """Hand on the profiles if either is another one than last time; a mere reconnect changes nothing."""
        if self._told is not None and self._candidates.uses(self._told.device, self._told.server):
            return
        pair = self._candidates.pair()
        if pair is not None and pair != self._told:
            self._on_profiles(pair)
        self._told = pair


def planner_config(section: PlannerSection) -> PlannerConfig:
    """Return the planner's part of the configuration."""
    return PlannerConfig(privacy=section.privacy, hysteresis=section.hysteresis, objective=section.objective)


def with_rate(link: LinkEstimate, rate_bytes_per_s: float) -> LinkEstimate:
    """Return the estimate as if the uplink had this rate, and were up."""
    path = replace(link.up_path or PathModel(Quantiles.exactly(1.0)), rate=Quantiles.exactly(rate_bytes_per_s))
    return replace(
        link,
        state="up",
        up=path.rate,
        up_path=path,
        rtt_s=link.rtt_s or Quantiles.exactly(0.0),
    )
