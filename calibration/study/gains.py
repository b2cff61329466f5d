"""What choosing the split per state gains over never changing it, as docs/method.md defines it: the mean of ratios.

G = mean over the states of (T_static - T_best) / T_static
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from splitd.calibration.profile import Floats
from splitd.calibration.study.grid import FLOAT32_BYTES

INPUT = 0  # position of full offloading; the last position is no offloading


class CandidateSet(str, Enum):
    """Whether the input itself may cross, and at what width; the gains hang on it."""

    NO_FULL = "no-full"
    FULL_U8 = "full-u8"
    FULL_F32 = "full-f32"

    @property
    def allows_full(self) -> bool:
        """False in privacy mode."""
        return self is not CandidateSet.NO_FULL

    @property
    def input_value_bytes(self) -> int:
        """Bytes of one input value on the wire; in privacy mode that of a camera's byte, for comparison only."""
        return FLOAT32_BYTES if self is CandidateSet.FULL_F32 else 1


@dataclass(frozen=True)
class Gains:
    """The gains of the dynamic split over each static policy, as fractions; None where there is no such policy."""

    optimal_splits: float  # a count; fractional only as a mean over models
    split_share: float
    gain_vs_none: float
    gain_vs_full: float | None
    gain_vs_best_static: float | None
    gain_vs_mean_static: float | None
    gain_vs_static: Mapping[str, float] = field(default_factory=dict)

    @property
    def best_static(self) -> str | None:
        """Name of the fixed split that loses least."""
        return min(self.gain_vs_static, key=lambda name: self.gain_vs_static[name], default=None)


def best_positions(times: Floats, candidates: CandidateSet) -> NDArray[np.int64]:
    """Return the fastest allowed position in each state, [batch, rate]; the earlier one of equals."""
    first = INPUT if candidates.allows_full else INPUT + 1
    best: NDArray[np.int64] = times[first:].argmin(axis=0) + first
    return best


def gain(static_s: Floats, best_s: Floats) -> float:
    """Return the mean over the states of (T_static - T_best) / T_static."""
    return float(np.mean((static_s - best_s) / static_s))


def evaluate(times: Floats, names: Sequence[str], candidates: CandidateSet) -> Gains:
    """Return the gains over all static policies that the candidate set allows.

    `times` is [position, batch, rate] in seconds; `names` are those of the positions.
    """
    best = best_positions(times, candidates)
    best_s = np.take_along_axis(times, best[None], axis=0)[0]
    last = len(names) - 1
    static = {names[k]: gain(times[k], best_s) for k in range(1, last)}
    return Gains(
        optimal_splits=len(np.setdiff1d(best, [INPUT, last])),
        split_share=_split_share(times, candidates),
        gain_vs_none=gain(times[last], best_s),
        gain_vs_full=gain(times[INPUT], best_s) if candidates.allows_full else None,
        gain_vs_best_static=min(static.values(), default=None),
        gain_vs_mean_static=float(np.mean(list(static.values()))) if static else None,
        gain_vs_static=static,
    )


def regret(times: Floats, subset: NDArray[np.int64], candidates: CandidateSet) -> float:
    """Return by what mean fraction the best of the positions in `subset` is slower than the best of all positions."""
    first = INPUT if candidates.allows_full else INPUT + 1
    best_of_all = times[first:].min(axis=0)
    best_of_subset = times[subset[subset >= first]].min(axis=0)
    return gain(best_of_subset, best_of_all)


def _split_share(times: Floats, candidates: CandidateSet) -> float:
    """Return the share of states in which some split is faster than every allowed extreme."""
    if len(times) <= 2:
        return 0.0
    extremes = times[-1] if not candidates.allows_full else np.minimum(times[INPUT], times[-1])
    return float(np.mean(times[1:-1].min(axis=0) < extremes))


def mean_gains(gains: Sequence[Gains]) -> Gains:
    """Return the means over models; a fixed split is averaged over the models that have one of that name."""
    names = dict.fromkeys(name for one in gains for name in one.gain_vs_static)
    return Gains(
        optimal_splits=_mean([one.optimal_splits for one in gains]) or 0.0,
        split_share=_mean([one.split_share for one in gains]) or 0.0,
        gain_vs_none=_mean([one.gain_vs_none for one in gains]) or 0.0,
        gain_vs_full=_mean([one.gain_vs_full for one in gains]),
        gain_vs_best_static=_mean([one.gain_vs_best_static for one in gains]),
        gain_vs_mean_static=_mean([one.gain_vs_mean_static for one in gains]),
        gain_vs_static={name: _mean([one.gain_vs_static.get(name) for one in gains]) or 0.0 for name in names},
    )


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None
