"""What "soonest" means: the median, the ninetieth percentile or the mean, and the chance to meet a deadline."""

from __future__ import annotations

from math import erf, sqrt
from typing import Literal

import numpy as np

from splitd.agent.decide.cost_table import CostTable, Floats, Prediction
from splitd.agent.decide.decision import State

Objective = Literal["p50", "p90", "mean"]

# Standard deviations from the median to the ninetieth percentile of a normal distribution.
_SIGMAS_TO_P90 = 1.2816
# Chances beyond 99 % (and below 1 %) count as equal, so that among safe candidates the fastest wins.
_SURE_SIGMAS = 2.3263
_NO_DEVIATION_S = 1e-9


def score(table: CostTable, prediction: Prediction, state: State, objective: Objective) -> Floats:
    """Return the seconds to minimise for every candidate of the table."""
    if objective == "p50":
        return prediction.median
    above = table.deviation(prediction, state, upper=True)
    if objective == "p90":
        return prediction.median + above
    below = table.deviation(prediction, state, upper=False)
    # Swanson's rule: mean ≈ 0.3 p10 + 0.4 p50 + 0.3 p90.
    return prediction.median + 0.3 * (above - below)


def sigmas_to_deadline(table: CostTable, prediction: Prediction, state: State, deadline_s: float) -> Floats:
    """Return how many standard deviations the deadline lies behind the median, cut off where it is a sure thing."""
    above = np.maximum(table.deviation(prediction, state, upper=True), _NO_DEVIATION_S)
    sigmas: Floats = (deadline_s - prediction.median) * _SIGMAS_TO_P90 / above
    return np.clip(sigmas, -_SURE_SIGMAS, _SURE_SIGMAS)


def chance_to_meet(deadline_s: float, median_s: float, above_s: float) -> float:
    """Return the probability to be done by the deadline, `above_s` being the distance from the median to p90."""
    sigmas = (deadline_s - median_s) * _SIGMAS_TO_P90 / max(above_s, _NO_DEVIATION_S)
    return 0.5 * (1.0 + erf(sigmas / sqrt(2.0)))
