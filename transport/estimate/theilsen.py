"""The cross-check: a robust line T = a + D/r through the last transfers (Theil 1950, Sen 1968)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

# Enough for a median of slopes that a third of outliers cannot move; few enough to follow a link.
_WINDOW = 12
_FEWEST = 4
# Sizes closer together than this share give slopes of pure noise.
_LEAST_SPREAD = 1.3


@dataclass(frozen=True)
class Line:
    """T = `offset_s` + D · `seconds_per_byte`."""

    offset_s: float
    seconds_per_byte: float


class TheilSen:
    """Keeps the last transfers' sizes and times, and fits a line when asked."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque(maxlen=_WINDOW)

    def add(self, n_bytes: int, elapsed_s: float) -> None:
        """Take in one transfer."""
        self._points.append((float(n_bytes), elapsed_s))

    def clear(self, *, keep: int = 0) -> None:
        """Forget all but the last `keep` transfers: the link is another one now."""
        self._points = deque(list(self._points)[len(self._points) - keep :], maxlen=_WINDOW)

    def fit(self) -> Line | None:
        """Return the line; None while the transfers are too few, too alike, or make no sense together."""
        if len(self._points) < _FEWEST:
            return None
        sizes, times = np.array(self._points).T
        if sizes.max() < _LEAST_SPREAD * sizes.min():
            return None
        i, j = np.triu_indices(len(sizes), k=1)
        apart = np.abs(sizes[i] - sizes[j]) > 0.1 * sizes.max()
        slope = float(np.median((times[i] - times[j])[apart] / (sizes[i] - sizes[j])[apart]))
        if slope <= 0.0:
            return None
        return Line(float(np.median(times - slope * sizes)), slope)
