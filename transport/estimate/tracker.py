"""One direction of the link, learned from its transfers: rate, burst credit, slow start, and how wrong it all was.

The rate comes from arrival dispersion. What a transfer took beyond D/r is explained by the first that applies: a slow
start after silence, or a constant offset. The offset is kept whole, round trip included, so that a wrong round trip
cancels out of predictions; what of it is overhead, or a credit of bytes at line speed, is told apart at the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from math import exp, inf, log, sqrt
from typing import NamedTuple

import numpy as np

from splitd.transport.estimate.dispersion import JITTER_S, read_rate
from splitd.transport.estimate.observations import SIGMAS_TO_P90, Quantiles, Transfer
from splitd.transport.estimate.path import INITIAL_WINDOW_BYTES, PathModel, slow_start_seconds
from splitd.transport.estimate.rate_filter import RateFilter
from splitd.transport.estimate.robust import TheilSen, quantile, weighted_median

# Equal transfers on a steady link differ by this share at least, and by the receiver's jitter. 1 % and 4 % do as well.
_TIME_NOISE = 0.02
# How far off a prediction by the formula alone is expected to be. Weighs "no correction" against what transfers showed:
# half of it is a little better on steady links (p90 of the error 2.76 %), twice of it does as well.
_PRIOR_NOISE = 0.1
# So many transfers explain offset and window. Six do better on these steady links (error 0.76 %), but two accidents are
# then a third of them; with 24 the p90 of the error is 3.03 %.
_WINDOW = 12
# So many give the bounds: with the three prior ones p10 and p90 lie between the second and the third from either end,
# so that one accident is not the bound. With six the p90 of the error is 3.13 %.
_RESIDUALS = 12
# Before enough has been measured, predictions are taken to be off by a fifth. It decides how soon a careful objective
# uses a fresh link, not how well that is predicted: half and twice of it give the same error.
_PRIOR_RESIDUALS = (-0.2, 0.0, 0.2)
# Weight of the newest error when the two ways of predicting are compared: the last three or so decide. 0.15 and 0.6 do
# as well.
_ERROR_GAIN = 0.3
# The fit must be clearly better to be used: near a tie the dispersion reacts faster, and it alone tells a rate from a
# credit. Where the fit is used even when it is worse (1.6) the regret doubles to 1.99 %, though steady links gain 0.05.
_FIT_ADVANTAGE = 0.8
# And the dispersion wrong by more than this: below, both are good, and changing between them is noise. With 10 % it is
# also kept where the fit is better (error 0.89 %).
_GOOD_ENOUGH = 0.03
# Both begin equally bad, and worse than either is after a few transfers. Half and twice of it make no difference.
_RATE_ERROR = 0.25
# So many transfers after a connection was made its window may still be small, and its pauses waits: each doubles it at
# least once, and four times are 230 KB. With none the error is 0.92 %, with twelve its p90 3.16 %.
_FRESH = 4
# What silence may leave of TCP's window, in steps of 19 %; the largest (15 MB), which is as good as any larger, first.
_WINDOWS = INITIAL_WINDOW_BYTES * 2.0 ** np.arange(10.0, -0.1, -0.25)
# Shorter transfers than this are mostly jitter: what they take against the prediction tells nothing of longer ones. Six
# times the jitter; 1 and 4 ms do as well.
_TELLING_S = 2e-3
# A credit below this share of what the transfer could have used was used up. From 0.8 to 1 it makes no difference, 0.5
# is better here (error 0.77 %) and 0.4 worse (p90 3.16 %): chosen away from that edge.
_SPENT = 0.8


class Seen(NamedTuple):
    """What one transfer showed, and how long it took: long ones tell less of offsets and more of factors."""

    value: float
    elapsed_s: float


class PathTracker:
    """Learns a PathModel; `now_s` is the device's clock."""

    def __init__(self, rto_s: float) -> None:
        self._rto_s = rto_s
        self._filter = RateFilter()
        self._offsets: deque[Seen] = deque(maxlen=_WINDOW)
        self._most_offsets: deque[Seen] = deque(maxlen=_WINDOW)
        self._losses: deque[tuple[int, Seen]] = deque(maxlen=_WINDOW)
        self._window_bytes = inf
        self._residuals: deque[Seen] = deque(maxlen=_RESIDUALS)
        self._line = TheilSen()
        self._errors = {"dispersion": _RATE_ERROR, "fit": _RATE_ERROR}
        self._fresh = _FRESH

    def restart(self) -> None:
        """Note that there is a new connection, whose window is still small."""
        self._fresh = _FRESH

    def doubt(self) -> None:
        """Note that the rate may be another one by now."""
        self._filter.doubt()
        self._line.clear()

    @property
    def samples(self) -> int:
        """Number of rate readings so far."""
        return self._filter.samples

    @property
    def seen_s(self) -> float | None:
        """When the last rate reading came."""
        return self._filter.seen_s

    @property
    def method(self) -> str:
        """Which way of predicting was better lately: `dispersion` or `fit`."""
        better = self._errors["fit"] < _FIT_ADVANTAGE * self._errors["dispersion"] - _GOOD_ENOUGH
        return "fit" if better and self._line.fit() is not None else "dispersion"

    def on_transfer(self, now_s: float, transfer: Transfer, rtt_s: float) -> None:
        """Take in one transfer of this direction."""
        timed = transfer.direction == "up" and transfer.elapsed_s > 0.0
        if timed:
            self._judge(now_s, transfer, rtt_s)
        may_wait = self._fresh > 0 or transfer.idle_before_s > self._rto_s
        self._fresh -= self._fresh > 0
        reading = read_rate(transfer.arrivals, rtt_s=rtt_s if may_wait else None)
        shifted = reading is not None and self._filter.observe(now_s, reading)
        if shifted:
            self._line.clear(keep=1)  # of the old transfers only the last showed the new rate, the first of two
            # What was explained with the wrong rate explains nothing with the right one.
            for explained in (self._residuals, self._offsets, self._most_offsets, self._losses):
                explained.clear()
        if timed:
            self._line.add(transfer.n_bytes, transfer.elapsed_s)
            if not shifted:
                self._learn_offset(now_s, transfer, rtt_s)

    def rate(self, now_s: float) -> Quantiles | None:
        """Return the rate as read from arrivals, in bytes/s; None before the first reading."""
        return self._filter.rate(now_s)

    def model(self, now_s: float, rtt_s: float) -> PathModel | None:
        """Return the path as known at `now_s`; None before the first reading."""
        model = self._modelled(now_s, rtt_s, self.method)
        return None if model is None else replace(model, residual=self._residual(now_s))

    def _modelled(self, now_s: float, rtt_s: float, method: str) -> PathModel | None:
        rate = self._filter.rate(now_s)
        if rate is None:
            return None
        line = self._line.fit() if method == "fit" else None
        if line is not None:
            rate = rate.scaled(1.0 / line.seconds_per_byte / rate.p50)
        offset_s = (self._offset(rtt_s) if line is None else line.offset_s) - rtt_s
        return PathModel(
            rate=rate,
            rtt_s=rtt_s,
            rto_s=self._rto_s,
            credit_bytes=max(0.0, -offset_s * rate.p50),
            overhead_s=max(0.0, offset_s),
            window_bytes=self._window_bytes if line is None else inf,
        )

    def _offset(self, rtt_s: float) -> float:
        """Return what a transfer takes beyond D/r; like the round trip as long as nothing is known."""
        if self._offsets:
            noises = zip(self._offsets, self._noises_s(self._offsets), strict=True)
            return weighted_median((seen.value, noise_s**-2.0) for seen, noise_s in noises)
        return min((rtt_s, *(most.value for most in self._most_offsets)))

    def _judge(self, now_s: float, transfer: Transfer, rtt_s: float) -> None:
        """Compare what either way would have predicted with what the transfer took."""
        measured_s, used = max(0.0, transfer.elapsed_s - rtt_s), self.method
        for method in self._errors:
            model = self._modelled(now_s, rtt_s, method)
            if model is None:
                return
            predicted_s = model.quantiles(transfer.n_bytes, transfer.idle_before_s).p50
            error = min(1.0, abs(measured_s - predicted_s) / transfer.elapsed_s)
            self._errors[method] += _ERROR_GAIN * (error - self._errors[method])
            if method == used and max(measured_s, predicted_s) > _TELLING_S:
                residual = log((measured_s + JITTER_S) / (predicted_s + JITTER_S))
                self._residuals.append(Seen(residual, transfer.elapsed_s))

    def _learn_offset(self, now_s: float, transfer: Transfer, rtt_s: float) -> None:
        """Explain what the transfer took beyond D/r, or less than that."""
        rate = self._filter.rate(now_s)
        if rate is None:
            return
        offset_s = transfer.elapsed_s - transfer.n_bytes / rate.p50
        if transfer.idle_before_s > self._rto_s and rate.p50 * rtt_s > INITIAL_WINDOW_BYTES:
            self._losses.append((transfer.n_bytes, Seen(offset_s - self._offset(rtt_s), transfer.elapsed_s)))
            self._window_bytes = self._fitting_window(rate.p50, rtt_s)
            return
        # A credit below what the transfer could have used was used up, so its size is known; else it is at least that.
        usable_s = min(transfer.n_bytes / rate.p50, transfer.idle_before_s)
        spent = rtt_s - offset_s < _SPENT * usable_s
        (self._offsets if spent else self._most_offsets).append(Seen(offset_s, transfer.elapsed_s))

    def _fitting_window(self, rate: float, rtt_s: float) -> float:
        """Return the window after silence that explains best what transfers after silence lost; inf: none needed."""
        sizes = np.array([float(n_bytes) for n_bytes, _ in self._losses])
        seen = np.array([loss.value for _, loss in self._losses])
        noises_s = np.array(self._noises_s(loss for _, loss in self._losses))
        lost = slow_start_seconds(sizes, rate, rtt_s, _WINDOWS[:, None])
        best = int(np.abs((lost - seen) / noises_s).sum(axis=1).argmin())
        return float(_WINDOWS[best]) if best > 0 else inf

    def _noises_s(self, seen: Iterable[Seen]) -> list[float]:
        """Return by how many seconds transfers like each of these differ: by a share that grows with the residuals."""
        logs = sorted(residual.value for residual in self._residuals)
        spread = (quantile(logs, 0.9) - quantile(logs, 0.1)) / (2.0 * SIGMAS_TO_P90) if logs else 0.0
        share = max(_TIME_NOISE, spread)
        return [JITTER_S + share * one.elapsed_s for one in seen]

    def _residual(self, now_s: float) -> Quantiles:
        """Return the quantiles of measured over predicted time, wider the older the rate is."""
        logs = sorted((*_PRIOR_RESIDUALS, *(residual.value for residual in self._residuals)))
        low, high = quantile(logs, 0.1), quantile(logs, 0.9)
        noises = zip(self._residuals, self._noises_s(self._residuals), strict=True)
        weighed = [(seen.value, (seen.elapsed_s / noise_s) ** 2) for seen, noise_s in noises]
        middle = min(high, max(low, weighted_median([(0.0, _PRIOR_NOISE**-2.0), *weighed])))
        aged = max(0.0, self._filter.variance(now_s) - self._filter.variance(self.seen_s or now_s))
        doubt = SIGMAS_TO_P90 * sqrt(aged)
        below, above = sqrt((middle - low) ** 2 + doubt**2), sqrt((high - middle) ** 2 + doubt**2)
        return Quantiles(exp(middle - below), exp(middle), exp(middle + above))
