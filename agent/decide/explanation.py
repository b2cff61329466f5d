"""Why a candidate was chosen, and why each of the others was not."""

from __future__ import annotations

from collections.abc import Mapping

from splitd.agent.decide.cost_table import CostTable, Spread, deviation, row_of
from splitd.agent.decide.decision import CandidateKey, Scored, State
from splitd.agent.decide.objective import chance_to_meet
from splitd.calibration.profile import Floats, Terms
from splitd.transport.estimate import Quantiles


class Explainer:
    """A table in one state: every candidate's terms and bounds, computed once."""

    def __init__(self, table: CostTable, state: State, terms: Terms[Floats]) -> None:
        self._table = table
        self._state = state
        self._terms = terms
        self._below, self._above = (table.spread(state, upper=upper) for upper in (False, True))

    def one(self, index: int, reason: str) -> Scored:
        """Return one candidate with its terms and bounds, as far as they can be predicted."""
        cost = self._table.costs[index]
        if cost.kind != "local" and self._state.server(cost.server).link.up_path is None:
            return Scored(cost, None, None, reason)
        terms = row_of(self._terms, index)
        median = terms.total_s
        above, below = _far(terms, self._above, index), _far(terms, self._below, index)
        predicted = Quantiles(max(0.0, median - below), median, median + above)
        deadline_s = self._state.deadline_s
        meets = None if deadline_s is None else chance_to_meet(deadline_s, median, above)
        return Scored(cost, terms, predicted, reason, meets)

    def all(self, refusals: Mapping[CandidateKey, str], chosen: CandidateKey, why: str) -> tuple[Scored, ...]:
        """Return every candidate with its reason; `refusals` names those that were not in the running."""
        medians = self._terms.total_s
        best_s = float(medians[self._table.index[chosen]])
        return tuple(
            self.one(i, why if cost.key == chosen else refusals.get(cost.key) or self._compared(i, medians[i] - best_s))
            for i, cost in enumerate(self._table.costs)
        )

    def _compared(self, index: int, slower_s: float) -> str:
        server = self._state.server(self._table.costs[index].server)
        if not server.is_usable:
            return f"the link is {server.link.state}"
        if slower_s < 0.0:
            return f"{-slower_s * 1e3:.1f} ms faster, but not by enough to be sure"
        return f"{slower_s * 1e3:.1f} ms slower"


def _far(terms: Terms[float], spread: Spread, index: int) -> float:
    return float(deviation(terms, spread.row(index)))
