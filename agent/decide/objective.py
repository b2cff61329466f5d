"""What "soonest" means: the registry of objectives, and the chance to meet a deadline.

A new objective is one function here with `@_objective("its name")`, and its line in docs/configuration.md; the
configuration and `splitd replay` take their choices from OBJECTIVES.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from math import erf, sqrt

import numpy as np

from splitd.agent.decide.cost_table import CostTable, Spread, deviation
from splitd.agent.decide.decision import State
from splitd.calibration.profile import Floats, Terms

# Standard deviations from the median to the ninetieth percentile of a normal distribution.
SIGMAS_TO_P90 = 1.2816
# Chances beyond 99 % (and below 1 %) count as equal, so that among safe candidates the fastest wins.
_SURE_SIGMAS = 2.3263
# Stands for "no doubt at all" where a chance divides by the doubt; far below any time that is measured here.
_NO_DEVIATION_S = 1e-9


class Outlook:
    """A table in one state: every candidate's terms and median seconds, and how far p10 and p90 lie from them.

    What is not asked for is not computed.
    """

    def __init__(self, table: CostTable, state: State) -> None:
        self.table = table
        self.state = state
        self.terms: Terms[Floats] = table.predict(state)
        self.median: Floats = self.terms.total_s

    @cached_property
    def upper(self) -> Spread:
        """How far p90 of every term lies from its median."""
        return self.table.spread(self.state, upper=True)

    @cached_property
    def lower(self) -> Spread:
        """How far p10 of every term lies from its median."""
        return self.table.spread(self.state, upper=False)

    @cached_property
    def above(self) -> Floats:
        """Seconds from the median to p90."""
        return np.asarray(deviation(self.terms, self.upper))

    @cached_property
    def below(self) -> Floats:
        """Seconds from p10 to the median."""
        return np.asarray(deviation(self.terms, self.lower))


Objective = Callable[[Outlook], Floats]
# Filled by the functions below; `planner.objective` takes these names.
OBJECTIVES: dict[str, Objective] = {}
# The middle: what the paper minimises, and what can be learned from the fewest transfers.
DEFAULT_OBJECTIVE = "p50"


def _objective(name: str) -> Callable[[Objective], Objective]:
    def enter(score: Objective) -> Objective:
        OBJECTIVES[name] = score
        return score

    return enter


@_objective("p50")
def _median(outlook: Outlook) -> Floats:
    """The median: as many batches are faster as are slower."""
    return outlook.median


@_objective("p90")
def _ninetieth_percentile(outlook: Outlook) -> Floats:
    """The ninetieth percentile: what one batch in ten exceeds."""
    return outlook.median + outlook.above


@_objective("mean")
def _mean(outlook: Outlook) -> Floats:
    """The mean by Swanson's rule, 0.3·p10 + 0.4·p50 + 0.3·p90."""
    return outlook.median + 0.3 * (outlook.above - outlook.below)


def sigmas_to_deadline(outlook: Outlook, deadline_s: float) -> Floats:
    """Return how many standard deviations the deadline lies behind the median, cut off where it is a sure thing."""
    above = np.maximum(outlook.above, _NO_DEVIATION_S)
    sigmas: Floats = (deadline_s - outlook.median) * SIGMAS_TO_P90 / above
    return np.clip(sigmas, -_SURE_SIGMAS, _SURE_SIGMAS)


def chance_to_meet(deadline_s: float, median_s: float, above_s: float) -> float:
    """Return the probability to be done by the deadline, `above_s` being the distance from the median to p90."""
    sigmas = (deadline_s - median_s) * SIGMAS_TO_P90 / max(above_s, _NO_DEVIATION_S)
    return 0.5 * (1.0 + erf(sigmas / sqrt(2.0)))
