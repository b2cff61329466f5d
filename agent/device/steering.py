"""The Decider between its threads: the pipeline decides and learns, the control socket asks and changes.

Steering knows the session, so that the Decider need not: it looks at the link once per batch, follows the server that
the session has connected to, and hands on new pairs of profiles.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from splitd.agent.configuration import PlannerSection
from splitd.agent.decide import (
    CandidateCost,
    Decider,
    DeciderConfig,
    Decision,
    Done,
    Lesson,
    PlannerConfig,
    ReportedQueue,
    Surroundings,
    Wanted,
    see,
)
from splitd.calibration.profile import LatencyProfile, ProfilePair
from splitd.errors import ProfileError
from splitd.ownership import guarded
from splitd.transport.device import Peer, Session
from splitd.transport.estimate import LinkEstimator, Quantiles

log = logging.getLogger(__name__)


class Steering:
    """Thread-safe: one lock around the Decider. All calls are short; none waits for the link.

    `on_profiles` is called with every new pair of profiles, by the pipeline's thread and after the answer of the first
    batch that they served: it may write a file, which no batch shall wait for.
    """

    def __init__(
        self, decider: Decider, session: Session, on_profiles: Callable[[ProfilePair], None] = lambda _: None
    ) -> None:
        self._lock = threading.RLock()
        self._decider = guarded(decider, self._lock, "decider")
        self._session = session
        self._on_profiles = on_profiles
        self._told: ProfilePair | None = None
        self._server_epoch: int | None = None

    # The pipeline, once each per batch

    def decide(self, wanted: Wanted) -> Decision:
        """Choose for one batch."""
        with self._lock:
            peer, around = self._session.look(self._seen)
            self._follow(peer)
            return self._decider.decide(wanted, around)

    def learn(self, decision: Decision, done: Done) -> Lesson:
        """Take in what came of a batch."""
        with self._lock:
            lesson = self._decider.learn(decision, done)
            news = self._news()
        if news is not None:
            self._on_profiles(news)
        return lesson

    def uplink_rate(self) -> float | None:
        """Return the uplink by its last readings, bytes/s; None while unknown."""
        return self._session.uplink_rate()

    # The control socket

    @property
    def profile(self) -> LatencyProfile:
        """The device's own profile."""
        with self._lock:
            return self._decider.profile

    @property
    def pinned(self) -> str | None:
        """The pinned cut, with its codec if that is pinned too."""
        with self._lock:
            return self._decider.pinned

    def costs(self, batch: int) -> Sequence[CandidateCost]:
        """Return the candidates for a batch of uint8 images."""
        with self._lock:
            self._follow_server()
            return self._decider.costs(batch)

    def refusals(self) -> list[tuple[str, str, str]]:
        """Return (cut, codec, reason) of everything that the accuracy guard keeps out."""
        with self._lock:
            return self._decider.candidates.refused()

    def explain(self, batch: int | None, rate_bytes_per_s: float | None) -> tuple[Decision, int]:
        """Return the last decision, or what would be decided for a batch size and an uplink rate."""
        with self._lock:
            self._follow_server()
            return self._decider.explain(batch, rate_bytes_per_s, self._around())

    def factors(self) -> tuple[Quantiles, Quantiles]:
        """Return k_dev and k_srv with their bounds."""
        with self._lock:
            return self._decider.factors(time.monotonic())

    def pin(self, cut: str, codec: str | None) -> None:
        """Stay at one cut; raises UsageError for a cut or codec that is not there."""
        with self._lock:
            self._follow_server()
            self._decider.pin(cut, codec)

    def unpin(self) -> None:
        """Choose for each batch again."""
        with self._lock:
            self._decider.unpin()

    def reconfigure(self, section: PlannerSection) -> None:
        """Take over another planner configuration."""
        with self._lock:
            self._decider.reconfigure(decider_config(section))

    def replace_profile(self, profile: LatencyProfile) -> None:
        """Take over a new calibration."""
        with self._lock:
            self._decider.replace_profile(profile)

    # The recorder

    def inspect(self, look: Callable[[Decider, LinkEstimator, float], None]) -> None:
        """Call `look` with the Decider, the session's estimator and the time, under the locks of both."""
        with self._lock:
            self._session.inspect(lambda estimator, now_s: look(self._decider, estimator, now_s))

    # Inside

    def _seen(self, estimator: LinkEstimator, peer: Peer) -> tuple[Peer, Surroundings]:
        return peer, self._decider.look(estimator, peer.now_s, _queue(peer))

    def _around(self) -> Surroundings:
        return self._session.look(lambda estimator, peer: see(estimator, peer.now_s, _queue(peer)))

    def _follow_server(self) -> None:
        self._follow(self._session.look(lambda _estimator, peer: peer))

    def _follow(self, peer: Peer) -> None:
        """Take over the profile of the server that the session has (re)connected to; the epoch counts once it is in."""
        if peer.server is None or peer.epoch == self._server_epoch:
            return
        try:
            self._decider.follow(LatencyProfile.from_json(peer.server.document.get("profile")))
        except ProfileError as error:
            log.warning("the server's profile cannot be used, so all work stays here: %s", error)
        self._server_epoch = peer.epoch

    def _news(self) -> ProfilePair | None:
        """Return the pair of profiles if either is another one than last time; a mere reconnect changes nothing."""
        told, candidates = self._told, self._decider.candidates
        if told is not None and told.device is candidates.device and told.server is candidates.server:
            return None
        pair = self._decider.pair()
        changed, self._told = pair != told, pair
        return pair if changed else None


def _queue(peer: Peer) -> ReportedQueue | None:
    return None if peer.load is None else ReportedQueue(peer.load.queue_s, peer.load.age_s)


def decider_config(section: PlannerSection) -> DeciderConfig:
    """Return the Decider's part of the configuration."""
    return DeciderConfig(
        planner=PlannerConfig(privacy=section.privacy, hysteresis=section.hysteresis, objective=section.objective),
        deadline_s=None if section.deadline_ms is None else section.deadline_ms / 1000,
        explore=section.explore,
    )
