"""What came of a batch, and what batches teach."""

from __future__ import annotations

from dataclasses import dataclass, field

from splitd.agent.decide.decision import CandidateCost, CandidateKey
from splitd.agent.decide.speed import SpeedFactor
from splitd.transport.estimate import Quantiles

# Weight of the newest preparation time: a dozen batches to follow other image sizes, one wild one moves it by a fifth.
_PREPARE_GAIN = 0.2

# Exploring batches that may be saved up: a day of certainty must not pay for an hour of trying. On the replays of
# docs/method.md five are as good as no bound; two cost one per cent of the time on `sine`, whose link rises slowly.
_MOST_BUDGET = 5.0


@dataclass(frozen=True)
class Remote:
    """What the server said about one batch, in seconds."""

    queue_s: float
    decode_s: float
    compute_s: float


@dataclass(frozen=True)
class Done:
    """What came of one batch.

    `measured_s`: from the decision to the end. `head_s`: what the device computed before anything crossed, preparation
    included. `prepare_s`: of that, decoding and resizing `samples` inputs of `kind`. `given_up`: the server was waited
    for in vain. `remote`: None unless the server finished it. `rate_bytes_per_s`: the uplink as it is known now.
    """

    now_s: float
    measured_s: float
    head_s: float
    prepare_s: float
    samples: int
    kind: str
    given_up: bool = False
    remote: Remote | None = None
    rate_bytes_per_s: float | None = None


@dataclass(frozen=True)
class Lesson:
    """What a batch taught: the time of the best choice in hindsight (modelled but for the one taken), speed factors."""

    hindsight_s: float
    k_dev: Quantiles
    k_srv: Quantiles


@dataclass
class Learned:
    """What batches have taught and decisions depend on; profiles and configuration aside.

    `prepare_s`: seconds to decode and resize one input, by the application's kind of input. `previous`: the last
    choice. `budget`: how many batches may be chosen to learn now.
    """

    k_dev: SpeedFactor = field(default_factory=SpeedFactor)
    k_srv: SpeedFactor = field(default_factory=SpeedFactor)
    prepare_s: dict[str, float] = field(default_factory=dict)
    previous: CandidateKey | None = None
    budget: float = 0.0

    def earn(self, share: float) -> None:
        """Count one more batch, of which a share may explore."""
        self.budget = min(_MOST_BUDGET, self.budget + share)

    def take_in(self, cost: CandidateCost, done: Done) -> None:
        """Learn the device's and the server's speed, and what the application's inputs take to prepare."""
        # Where the image itself crosses the device computes nothing, and what is finished here was no head.
        if cost.kind != "full" and not done.given_up:
            self.k_dev.observe(done.now_s, done.head_s, cost.head_s)
        if done.prepare_s > 0.0:
            self._observe_prepare(done.kind, done.prepare_s / done.samples)
        if done.remote is not None:
            measured_s = done.remote.decode_s + done.remote.compute_s
            self.k_srv.observe(done.now_s, measured_s, cost.work.server_s)

    def _observe_prepare(self, kind: str, each_s: float) -> None:
        known = self.prepare_s.get(kind)
        self.prepare_s[kind] = each_s if known is None else known + _PREPARE_GAIN * (each_s - known)
