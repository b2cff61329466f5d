"""One direction of the link, learned from its transfers: rate, burst credit, slow start, and how wrong it all was.

The rate comes from arrival dispersion. What a transfer took beyond round trip and D/r (or less than that) is explained
by the first that applies: a credit of bytes at line speed, a slow start after silence, a constant overhead.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from math import exp, log, sqrt
from statistics import median

import numpy as np

from splitd.transport.dispersion import JITTER_S, read_rate
from splitd.transport.observations import Quantiles, Transfer
from splitd.transport.path import PathModel, slow_start_seconds
from splitd.transport.rate_filter import RateFilter
from splitd.transport.theilsen import TheilSen

_SIGMAS_TO_P90 = 1.2816
_WINDOW = 9
_RESIDUALS = 12
# Before enough has been measured, predictions are taken to be off by a fifth.
_PRIOR_RESIDUALS = (-0.2, 0.0, 0.2)
# Weight of the newest error when the two ways of predicting are compared.
_ERROR_GAIN = 0.3
# The fit must be clearly better to be used, and the dispersion wrong by more than this: near a tie the dispersion
# reacts faster, and it alone tells a rate from a credit.
_FIT_ADVANTAGE = 0.8
_GOOD_ENOUGH = 0.03
_RATE_ERROR = 0.25
# Shorter transfers than this are mostly jitter: what they take against the prediction tells nothing of longer ones.
_TELLING_S = 2e-3
# A credit below this share of what the transfer could have used was used up, so its size is known.
_SPENT = 0.8


class PathTracker:
    """Learns a PathModel; `now_s` is the device's clock."""

    def __init__(self, rto_s: float) -> None:
        self._rto_s = rto_s
        self._filter = RateFilter()
        self._credits: deque[float] = deque(maxlen=_WINDOW)
        self._least_credits: deque[float] = deque(maxlen=_WINDOW)
        self._overheads: deque[float] = deque(maxlen=_WINDOW)
        self._slow_starts: deque[float] = deque(maxlen=_WINDOW)
        self._residuals: deque[float] = deque(maxlen=_RESIDUALS)
        self._line = TheilSen()
        self._errors = {"dispersion": _RATE_ERROR, "fit": _RATE_ERROR}

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
        reading = read_rate(transfer.arrivals, may_start_slowly=transfer.idle_before_s > self._rto_s)
        shifted = reading is not None and self._filter.observe(now_s, reading)
        if shifted:
            self._line.clear(keep=1)
            self._residuals.clear()
        if timed:
            self._line.add(transfer.n_bytes, transfer.elapsed_s)
            if not shifted:
                self._learn_offset(now_s, transfer, rtt_s)

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
            fitted, offset_s = 1.0 / line.seconds_per_byte, line.offset_s - rtt_s
            return PathModel(
                rate=rate.scaled(fitted / rate.p50),
                rtt_s=rtt_s,
                rto_s=self._rto_s,
                credit_bytes=max(0.0, -offset_s * fitted),
                overhead_s=max(0.0, offset_s),
            )
        return PathModel(
            rate=rate,
            rtt_s=rtt_s,
            rto_s=self._rto_s,
            credit_bytes=_middle(self._credits) if self._credits else max(self._least_credits, default=0.0),
            overhead_s=_middle(self._overheads),
            slow_start=min(1.0, _middle(self._slow_starts)),
        )

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
                self._residuals.append(log((measured_s + JITTER_S) / (predicted_s + JITTER_S)))

    def _learn_offset(self, now_s: float, transfer: Transfer, rtt_s: float) -> None:
        """Explain what the transfer took beyond round trip and D/r, or less than that."""
        rate = self._filter.rate(now_s)
        if rate is None:
            return
        offset_s = transfer.elapsed_s - rtt_s - transfer.n_bytes / rate.p50
        self._learn_credit(max(0.0, -offset_s * rate.p50), rate.p50, transfer)
        lost_s = float(slow_start_seconds(np.array([float(transfer.n_bytes)]), rate.p50, rtt_s)[0])
        if transfer.idle_before_s <= self._rto_s or lost_s <= 0.0:
            self._overheads.append(max(0.0, offset_s))
        else:
            self._slow_starts.append(max(0.0, offset_s - _middle(self._overheads)) / lost_s)

    def _learn_credit(self, credit_bytes: float, rate: float, transfer: Transfer) -> None:
        """Take in the bytes that seem to have passed at line speed; a credit that was not spent is known at least."""
        limit = min(float(transfer.n_bytes), rate * transfer.idle_before_s)
        spent = credit_bytes < _SPENT * limit
        (self._credits if spent else self._least_credits).append(credit_bytes)

    def _residual(self, now_s: float) -> Quantiles:
        """Return the quantiles of measured over predicted time, wider the older the rate is."""
        logs = np.sort(np.array([*_PRIOR_RESIDUALS, *self._residuals]))
        low, middle, high = np.quantile(logs, (0.1, 0.5, 0.9))
        aged = max(0.0, self._filter.variance(now_s) - self._filter.variance(self.seen_s or now_s))
        doubt = _SIGMAS_TO_P90 * sqrt(aged)
        below, above = sqrt((middle - low) ** 2 + doubt**2), sqrt((high - middle) ** 2 + doubt**2)
        return Quantiles(exp(middle - below), exp(middle), exp(middle + above))


def _middle(values: deque[float]) -> float:
    return median(values) if values else 0.0
