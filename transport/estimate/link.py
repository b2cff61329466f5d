"""The link estimate: what pings and arrivals say about round trip, rates and their bounds.

Sans-IO: numbers and the time come in as arguments, estimates go out. The session feeds it, the planner reads it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

from splitd.transport.estimate.observations import Direction, Quantiles, Transfer
from splitd.transport.estimate.path import PathModel
from splitd.transport.estimate.robust import lower_quantile
from splitd.transport.estimate.tracker import PathTracker

LinkState = Literal["unknown", "up", "suspect", "down"]

# Half a minute of pings at one a second: long enough to see the least round trip, short enough to forget another route.
# 16 and 64 do as well.
_RTT_SAMPLES = 32
# Round trips this much above the least (or twice as long) waited in a queue, mostly behind our own bytes; they count
# for the upper bound alone. 1 and 100 ms do as well, as pings leave while the link is quiet; it is for links
# that others fill.
_QUEUED_S = 0.01
# A 224 x 224 image, uint8: the size for which `idle_factor` is shown. Nothing is decided by it.
_TYPICAL_BYTES = 150_000


@dataclass(frozen=True)
class EstimatorConfig:
    """Settings of the estimator.

    `suspect_after_s`: silence (no ping, no transfer) after which the link is suspect; several pings of one a second,
    because one lost ping on Wi-Fi says nothing. `rto_s`: silence after which TCP may start slowly.
    """

    suspect_after_s: float = 4.0
    rto_s: float = 0.2


@dataclass(frozen=True)
class LinkEstimate:
    """The link as it is now. Rates in bytes/s, times in seconds; None where nothing is known.

    `samples` counts the rate readings behind the uplink; `age_s` is the age of its last one. `method`: what predicts
    the uplink, arrival `dispersion` or the robust `fit`, whichever was better lately. `idle_s`: since when nothing has
    been on the uplink, pings aside.
    """

    state: LinkState
    rtt_s: Quantiles | None = None
    up: Quantiles | None = None
    down: Quantiles | None = None
    samples: int = 0
    age_s: float | None = None
    method: str = "dispersion"
    idle_s: float = inf
    up_path: PathModel | None = None
    down_path: PathModel | None = None

    @property
    def idle_factor(self) -> float:
        """How many times longer a 150 KB transfer takes after silence than in a stream; 1.0: no difference."""
        path = self.up_path
        warm_s = 0.0 if path is None else path.quantiles(_TYPICAL_BYTES).p50
        if path is None or warm_s <= 0.0:
            return 1.0
        return path.quantiles(_TYPICAL_BYTES, 2.0 * path.rto_s).p50 / warm_s

    def transfer_s(self, n_bytes: int, direction: Direction, idle_s: float = 0.0) -> Quantiles | None:
        """Return the seconds that `n_bytes` need beyond the round trip after `idle_s` of silence; None: unknown."""
        path = self.up_path if direction == "up" else self.down_path
        return None if path is None else path.quantiles(n_bytes, idle_s)


class LinkEstimator:
    """Learns the link from pings and transfers; all times are the device's monotonic clock, in seconds."""

    def __init__(self, config: EstimatorConfig | None = None) -> None:
        self._config = config or EstimatorConfig()
        self._rtts: deque[float] = deque(maxlen=_RTT_SAMPLES)
        self._transfers_s: deque[float] = deque(maxlen=_RTT_SAMPLES)
        self._up = PathTracker(self._config.rto_s)
        self._down = PathTracker(self._config.rto_s)
        self._heard_s: float | None = None
        self._down_since_s: float | None = None
        self._rates_unknown = True
        self._up_ended_s: float | None = None

    def on_ping(self, now_s: float, rtt_s: float | None) -> None:
        """Take in the round trip of one small ping; None if other bytes were on the link: it waited behind them."""
        self._heard_s = now_s
        if rtt_s is not None:
            self._rtts.append(rtt_s)

    def on_transfer(self, now_s: float, transfer: Transfer) -> None:
        """Take in one finished train of chunks."""
        self._heard_s = now_s
        tracker = self._up if transfer.direction == "up" else self._down
        before = tracker.samples
        if transfer.direction == "up" and transfer.elapsed_s > 0.0:
            self._transfers_s.append(transfer.elapsed_s)
        tracker.on_transfer(now_s, self._with_true_idle(transfer), self._typical_rtt_s())
        if transfer.direction == "up" and tracker.samples > before:
            self._rates_unknown = False

    def on_probe_failed(self, now_s: float) -> None:
        """Note that a probe did not come back: the rates are unknown from here on, not zero."""
        self._rates_unknown = True
        # What was learned stays as the best guess, but one reading that contradicts it is now enough.
        self._up.doubt()
        self._down.doubt()

    def on_down(self, now_s: float) -> None:
        """Note that the session lost the server; what was known of the rates no longer counts."""
        self._down_since_s = now_s
        self._rates_unknown = True

    def on_up(self, now_s: float) -> None:
        """Note that the session is ready (again)."""
        self._down_since_s = None
        self._heard_s = now_s
        # Another connection may take another route. The rates are unknown since `on_down`, until a reading comes.
        self._rtts.clear()
        self._transfers_s.clear()
        self._up.restart()
        self._down.restart()

    def estimate(self, now_s: float) -> LinkEstimate:
        """Return what is known at `now_s`."""
        state, rtt = self._state(now_s), self._rtt()
        if state in {"unknown", "down"}:  # no rates, rather than old ones: the planner then stays local
            return LinkEstimate(state, rtt_s=rtt)
        rtt_s = 0.0 if rtt is None else rtt.p50
        up, down = self._up.model(now_s, rtt_s), self._down.model(now_s, rtt_s)
        return LinkEstimate(
            state=state,
            rtt_s=rtt,
            up=up.rate if up else None,
            down=down.rate if down else None,
            samples=self._up.samples,
            age_s=None if self._up.seen_s is None else now_s - self._up.seen_s,
            idle_s=inf if self._up_ended_s is None else max(0.0, now_s - self._up_ended_s),
            method=self._up.method,
            up_path=up,
            down_path=down,
        )

    def uplink_rate(self, now_s: float) -> float | None:
        """Return the median uplink rate in bytes/s, read from arrivals; None while it is unknown or the link is down.

        Takes a microsecond where `estimate` takes 40 (measured on one x86 core). The two differ only while the robust
        fit predicts better than the arrivals do.
        """
        if self._state(now_s) in {"unknown", "down"}:
            return None
        rate = self._up.rate(now_s)
        return None if rate is None else rate.p50

    def _with_true_idle(self, transfer: Transfer) -> Transfer:
        """Count silence from the end of the last transfer: bytes are in the socket long before they have left."""
        if transfer.direction == "down":
            return transfer
        ended_s, self._up_ended_s = self._up_ended_s, transfer.ended_s
        if ended_s is None:
            return transfer
        idle_s = max(0.0, transfer.started_s - ended_s)
        return replace(transfer, idle_before_s=min(transfer.idle_before_s, idle_s))

    def _state(self, now_s: float) -> LinkState:
        if self._down_since_s is not None:
            return "down"
        if self._rates_unknown or self._heard_s is None:
            return "unknown"
        return "suspect" if now_s - self._heard_s > self._config.suspect_after_s else "up"

    def _typical_rtt_s(self) -> float:
        rtt = self._rtt()
        return 0.0 if rtt is None else rtt.p50

    def _rtt(self) -> Quantiles | None:
        """Return the quantiles of the round trip, which no transfer of the same time undercuts."""
        # A transfer takes a round trip and more, so it corrects pings that all waited.
        bound_s = min(self._transfers_s, default=inf)
        samples = sorted(min(rtt_s, bound_s) for rtt_s in self._rtts) or [bound_s]
        if samples[0] == inf:
            return None
        near = [rtt_s for rtt_s in samples if rtt_s <= samples[0] + max(samples[0], _QUEUED_S)]
        middle = lower_quantile(near, 0.5)
        return Quantiles(lower_quantile(near, 0.1), middle, max(middle, lower_quantile(samples, 0.9)))
