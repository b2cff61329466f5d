"""Quantiles and medians of a dozen values; numpy's take longer for so few than a whole decision does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


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
