"""Estimator and Decider that tell a recorder what they are given. Without a recorder the plain classes run."""

from __future__ import annotations

from typing import Any

from splitd.agent.decide import Decider, DeciderConfig, Decision, Done, Lesson, Pin, ReportedQueue, Surroundings, Wanted
from splitd.agent.recorder.events import (
    Calibrated,
    Configured,
    Crossed,
    Decided,
    Doubted,
    Followed,
    Looked,
    Pinned,
    Ponged,
    Taught,
    WentDown,
    WentUp,
)
from splitd.agent.recorder.recorder import Recorder
from splitd.calibration.profile import LatencyProfile
from splitd.transport.estimate import EstimatorConfig, LinkEstimator, Transfer


class RecordedEstimator(LinkEstimator):
    """A link estimator; the session calls it under its lock, so the events have the order of the inputs."""

    def __init__(self, recorder: Recorder, config: EstimatorConfig | None = None) -> None:
        super().__init__(config)
        self.recorder = recorder

    def on_ping(self, now_s: float, rtt_s: float | None) -> None:
        """Take in a round trip."""
        self.recorder.put(Ponged(now_s, rtt_s))
        super().on_ping(now_s, rtt_s)

    def on_transfer(self, now_s: float, transfer: Transfer) -> None:
        """Take in a transfer."""
        self.recorder.put(Crossed(now_s, transfer))
        super().on_transfer(now_s, transfer)

    def on_probe_failed(self, now_s: float) -> None:
        """Doubt the rates."""
        self.recorder.put(Doubted(now_s))
        super().on_probe_failed(now_s)

    def on_down(self, now_s: float) -> None:
        """Note that the server is lost."""
        self.recorder.put(WentDown(now_s))
        super().on_down(now_s)

    def on_up(self, now_s: float) -> None:
        """Note that the session is ready."""
        self.recorder.put(WentUp(now_s))
        super().on_up(now_s)


class RecordedDecider(Decider):
    """A Decider; `look` runs under the session's lock, so it stands in the right place among the estimator's events."""

    def __init__(self, recorder: Recorder, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._recorder = recorder

    def look(self, estimator: LinkEstimator, now_s: float, queue: ReportedQueue | None) -> Surroundings:
        """Look at the link."""
        self._recorder.put(Looked(now_s, queue))
        return super().look(estimator, now_s, queue)

    def decide(self, wanted: Wanted, around: Surroundings) -> Decision:
        """Choose for one batch."""
        decision = super().decide(wanted, around)
        self._recorder.put(as_event(wanted, decision))
        return decision

    def learn(self, decision: Decision, done: Done) -> Lesson:
        """Take in what came of a batch."""
        self._recorder.put(Taught(decision.chosen.cost, done))
        return super().learn(decision, done)

    def follow(self, server: LatencyProfile) -> None:
        """Take over a server's profile."""
        super().follow(server)
        self._recorder.put(Followed(server.to_json()))

    def replace_profile(self, device: LatencyProfile) -> None:
        """Take over a new calibration."""
        super().replace_profile(device)
        self._recorder.put(Calibrated(device.to_json()))

    def reconfigure(self, config: DeciderConfig) -> None:
        """Take over another configuration."""
        self._recorder.put(Configured(config))
        super().reconfigure(config)

    def set_pin(self, pin: Pin | None) -> None:
        """Pin, or unpin."""
        self._recorder.put(Pinned(pin))
        super().set_pin(pin)


def as_event(wanted: Wanted, decision: Decision) -> Decided:
    """Return a decision as it is recorded, and compared in a replay."""
    chosen = decision.chosen
    predicted_s = chosen.predicted.p50 if chosen.predicted else None
    return Decided(wanted, chosen.cost.key, chosen.cost.label, decision.explored, predicted_s, decision.give_up_s)
