"""Follows one rate: a Kalman filter on its logarithm whose drift is learned, with level shifts."""

from __future__ import annotations

from math import exp, log, sqrt

from splitd.transport.estimate.dispersion import RateReading
from splitd.transport.estimate.observations import SIGMAS_TO_P90, Quantiles

# Two residuals of one sign above this are a new level; one alone may be an accident. Readings of a steady link differ
# by up to 10 %; a change below a quarter is followed by the filter itself, more slowly. 0.125 and 0.5 do as well.
LEVEL_SHIFT = 0.25
# Variance of the logarithm per second that a link is given before it has shown how steady it is: 10 % in one second.
# Half and twice of it do as well.
_FIRST_DRIFT = 0.01
# 0.3 % in one second, so that a link which was steady for long is still followed; a factor of two in one second, beyond
# which one reading would be believed alone anyway. Either may be halved or doubled without effect.
_LEAST_DRIFT, _MOST_DRIFT = 1e-5, 0.5
# About the last five pairs of readings say how steady a link is. Half of it holds on to the first guess for longer
# (error 0.94 %, p90 3.06 %, but regret 0.77 %), twice of it believes sooner (error 0.83 %).
_DRIFT_GAIN = 0.2
# A step counts for the drift as no more than this: it is a level shift's business. Half and twice of it do as well.
_MOST_STEP = 0.5
# A level is never taken to be surer than 1 %: else an error would live on for tens of transfers.
# Anything up to twice of it does as well.
_LEAST_VARIANCE = 5e-5
# Readings of one burst of batches differ by noise alone; divided by a shorter time than this it would look like drift.
# 0.1 and 0.4 do as well, 0.8 raises the p90 of the error to 2.95 %.
_SHORTEST_GAP_S = 0.2
# Deviations beyond which one reading counts no more: an accident, or half of a level shift. 1.5 holds back what is
# neither (p90 of the error 2.88 %); 6 does as well on these links, which have few accidents.
_WILD = 3.0
# However old a reading is, the rate is not more uncertain than a factor of about five (p10 to p50). Chosen: wider
# bounds would say no more to a careful objective, narrower ones would claim to know what happened meanwhile.
_MOST_VARIANCE = 1.6


class RateFilter:
    """Turns readings into a rate with bounds."""

    def __init__(self) -> None:
        self.samples = 0
        self.seen_s: float | None = None
        self._level = 0.0
        self._variance = _MOST_VARIANCE
        self._drift = _FIRST_DRIFT
        self._residual = 0.0
        self._pending: float | None = None
        self._doubted = False

    def doubt(self) -> None:
        """Note that the rate may be another one by now: the next reading that is far off is a level shift by itself."""
        self._doubted = True

    def observe(self, now_s: float, reading: RateReading) -> bool:
        """Take in one reading; return whether it completed a level shift."""
        value = log(reading.rate_bytes_per_s)
        gap_s = 0.0 if self.seen_s is None else max(_SHORTEST_GAP_S, now_s - self.seen_s)
        first, self.seen_s = self.samples == 0, now_s
        self.samples += 1
        if first:  # there is nothing to weigh it against; the next one tells how good it was
            self._level, self._variance = value, reading.variance
            return False
        residual = value - self._level
        self._learn_drift(residual, gap_s)
        if self._shifts(value, residual):
            return True
        variance = min(_MOST_VARIANCE, max(_LEAST_VARIANCE, self._variance + self._drift * gap_s))
        gain = variance / (variance + reading.variance)
        bound = max(LEVEL_SHIFT, _WILD * sqrt(variance + reading.variance))
        self._level += gain * max(-bound, min(bound, residual))
        self._variance = (1.0 - gain) * variance
        return False

    def rate(self, now_s: float) -> Quantiles | None:
        """Return the rate at `now_s` in bytes/s; None before the first reading."""
        if self.samples == 0:
            return None
        deviation = SIGMAS_TO_P90 * sqrt(self.variance(now_s))
        return Quantiles(exp(self._level - deviation), exp(self._level), exp(self._level + deviation))

    def variance(self, now_s: float) -> float:
        """Return the variance of the rate's logarithm at `now_s`: it grows with the age of the last reading."""
        age_s = 0.0 if self.seen_s is None else max(0.0, now_s - self.seen_s)
        return min(_MOST_VARIANCE, self._variance + self._drift * age_s)

    def _learn_drift(self, residual: float, gap_s: float) -> None:
        """Learn from the covariance of neighbouring residuals: drift makes them alike, noise makes them alternate."""
        bounded = max(-_MOST_STEP, min(_MOST_STEP, residual))
        # The product, not the square: of noise the mean is 0, so that a noisy but steady link is not taken to drift.
        seen = bounded * self._residual / gap_s
        self._residual = bounded
        drift = self._drift + _DRIFT_GAIN * (seen - self._drift)
        self._drift = max(_LEAST_DRIFT, min(_MOST_DRIFT, drift))

    def _shifts(self, value: float, residual: float) -> bool:
        """Jump to the second of two readings when both were far off to the same side."""
        large = residual > log(1.0 + LEVEL_SHIFT) or residual < log(1.0 - LEVEL_SHIFT)
        previous, self._pending = self._pending, residual if large else None
        doubted, self._doubted = self._doubted, False
        confirmed = doubted or (previous is not None and previous * residual > 0.0)
        if not large or not confirmed:
            return False
        # The second reading, not their mean: the first may have been taken across the step.
        self._level = value
        # As unsure as the least step that counts as one: the next readings move it quickly.
        self._variance = max(self._variance, LEVEL_SHIFT**2 / 4.0)
        self._pending = None
        return True
