"""Live speed factors: how many times longer a processor takes now than when it was calibrated. Sans-IO."""

from __future__ import annotations

from math import exp, log, sqrt

from splitd.transport.estimate import Quantiles

# Standard deviations from the median to the ninetieth percentile of a normal distribution.
_SIGMAS_TO_P90 = 1.2816
# Two factors in a row off by more than this, to the same side, are a new level: throttling sets in within seconds.
# Repeated runs of one segment differ by a few per cent, so noise alone does not do that.
LEVEL_SHIFT = 1.25
# Times below this are mostly timer ticks and interrupts, and say little about a processor's speed.
SHORTEST_S = 1e-3
# One wild sample (a page fault, a garbage collection) counts as no more than this factor against the estimate.
_WILDEST = 3.0
# Weight of the newest sample once there are five; before that all count alike. Chosen, not measured: larger follows a
# slow drift (heat) sooner, smaller averages more noise away; what is sudden is a level shift and does not wait for it.
_GAIN = 0.2
# Before anything was measured the calibration is taken to be right within a tenth: it was made minutes or days ago.
_FIRST_SPREAD = 0.1
# The spread is learned more slowly than the level, or two equal samples in a row would make it look sure.
_SPREAD_GAIN = 0.1
# Without news the doubt grows to a whole level shift within this time: load and heat come and go in about a minute.
_FORGET_S = 60.0


class SpeedFactor:
    """Learns one factor around 1 from measured against calibrated times; without samples it is 1 with wide bounds."""

    def __init__(self) -> None:
        self._level = 0.0
        self._samples = 0
        self._variance = _FIRST_SPREAD**2
        self._pending: float | None = None
        self._seen_s: float | None = None

    def observe(self, now_s: float, measured_s: float, calibrated_s: float) -> None:
        """Take in one measurement of what was calibrated at `calibrated_s` seconds; very short ones are ignored."""
        if measured_s < SHORTEST_S or calibrated_s < SHORTEST_S:
            return
        residual = log(measured_s / calibrated_s) - self._level
        self._seen_s = now_s
        if self._shifts(residual):
            return
        bounded = max(-log(_WILDEST), min(log(_WILDEST), residual))
        self._samples += 1
        self._level += max(_GAIN, 1.0 / (self._samples + 1)) * bounded
        self._variance += _SPREAD_GAIN * (bounded * bounded - self._variance)

    def estimate(self, now_s: float) -> Quantiles:
        """Return the factor with its bounds at `now_s`."""
        age_s = 0.0 if self._seen_s is None else max(0.0, now_s - self._seen_s)
        doubt = log(LEVEL_SHIFT) * min(1.0, age_s / _FORGET_S)
        deviation = _SIGMAS_TO_P90 * sqrt(self._variance + doubt * doubt)
        return Quantiles(exp(self._level - deviation), exp(self._level), exp(self._level + deviation))

    def _shifts(self, residual: float) -> bool:
        """Move to a new level on the second large residual of one sign; hold the first one back until then."""
        if abs(residual) < log(LEVEL_SHIFT):
            self._pending = None
            return False
        if self._pending is None or self._pending * residual < 0.0:
            self._pending = residual
            return True
        self._level += (self._pending + residual) / 2.0
        self._variance = max(_FIRST_SPREAD**2, ((self._pending - residual) / 2.0) ** 2)
        self._pending = None
        return True
