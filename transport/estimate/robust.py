"""Robust statistics of a dozen values: quantiles, medians, and a line that outliers do not move.

numpy's quantiles take longer for so few values than a whole decision does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

# Enough for a median of slopes that a quarter of outliers cannot move (the breakdown point is 29 %); few enough to
# follow a link. 6 and 24 do as well.
_POINTS = 12
# Of four points one may be an outlier: three of the six slopes do without it.
_FEWEST = 4
# The largest size over the smallest: closer ones give slopes of pure noise. Anything from 1.05 to 2.6 does as well.
_LEAST_SPREAD = 1.3


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return an interpolated quantile of values in ascending order."""
    below, part = divmod(share * (len(ordered) - 1), 1.0)
    low, high = ordered[int(below)], ordered[min(int(below) + 1, len(ordered) - 1)]
    return low + part * (high - low)


def lower_quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile that is one of the values: half-way to a first ping of 300 ms lies nothing real."""
    return ordered[int(share * (len(ordered) - 1))]


def weighted_median(weighed: Iterable[tuple[float, float]]) -> float:
    """Return the value with half of the weight of all (value, weight) on either side; raises ValueError for none."""
    ordered = sorted(weighed)
    half, below = sum(weight for _, weight in ordered) / 2.0, 0.0
    for value, weight in ordered:
        below += weight
        if below >= half:
            return value
    raise ValueError("no median of nothing")


@dataclass(frozen=True)
class FittedLine:
    """T = `offset_s` + D · `seconds_per_byte`."""

    offset_s: float
    seconds_per_byte: float


class TheilSen:
    """The cross-check: a robust line T = a + D/r through the last transfers (Theil 1950, Sen 1968)."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque(maxlen=_POINTS)

    def add(self, n_bytes: int, elapsed_s: float) -> None:
        """Take in one transfer."""
        self._points.append((float(n_bytes), elapsed_s))

    def clear(self, *, keep: int = 0) -> None:
        """Forget all but the last `keep` transfers: the link is another one now."""
        self._points = deque(list(self._points)[len(self._points) - keep :], maxlen=_POINTS)

    def fit(self) -> FittedLine | None:
        """Return the line; None while the transfers are too few, too alike, or make no sense together."""
        if len(self._points) < _FEWEST:
            return None
        sizes, times = np.array(self._points).T
        if sizes.max() < _LEAST_SPREAD * sizes.min():
            return None
        i, j = np.triu_indices(len(sizes), k=1)
        # Pairs of nearly one size have any slope, and there may be more of them than of the others.
        apart = np.abs(sizes[i] - sizes[j]) > 0.1 * sizes.max()
        slope = float(np.median((times[i] - times[j])[apart] / (sizes[i] - sizes[j])[apart]))
        if slope <= 0.0:  # larger transfers were faster: the link changed in between
            return None
        return FittedLine(float(np.median(times - slope * sizes)), slope)
