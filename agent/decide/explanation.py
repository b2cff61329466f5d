"""Why a candidate was chosen, and why each of the others was not."""

from __future__ import annotations

from collections.abc import Mapping

from splitd.agent.decide.cost_table import deviation, row_of
from splitd.agent.decide.decision import CandidateKey, Scored, State
from splitd.agent.decide.objective import Outlook, chance_to_meet
from splitd.transport.estimate import Quantiles


def explain_one(outlook: Outlook, index: int, reason: str) -> Scored:
    """Return one candidate with its terms and bounds, as far as they can be predicted."""
    state, cost = outlook.state, outlook.table.costs[index]
    if cost.kind != "local" and state.server(cost.server).link.up_path is None:
        return Scored(cost, None, None, reason)
    terms = row_of(outlook.terms, index)
    median = terms.total_s
    above, below = (float(deviation(terms, spread.row(index))) for spread in (outlook.upper, outlook.lower))
    predicted = Quantiles(max(0.0, median - below), median, median + above)
    meets = None if state.deadline_s is None else chance_to_meet(state.deadline_s, median, above)
    return Scored(cost, terms, predicted, reason, meets)


def explain_all(
    outlook: Outlook, refusals: Mapping[CandidateKey, str], chosen: CandidateKey, why: str
) -> tuple[Scored, ...]:
    """Return every candidate with its reason; `refusals` names those that were not in the running."""
    table, medians = outlook.table, outlook.median
    best_s = float(medians[table.index[chosen]])
    scored = []
    for index, cost in enumerate(table.costs):
        slower_s = float(medians[index]) - best_s
        reason = (
            why if cost.key == chosen else refusals.get(cost.key) or _compared(outlook.state, cost.server, slower_s)
        )
        scored.append(explain_one(outlook, index, reason))
    return tuple(scored)


def _compared(state: State, server: str, slower_s: float) -> str:
    there = state.server(server)
    if not there.is_usable:
        return f"the link is {there.link.state}"
    if slower_s < 0.0:
        return f"{-slower_s * 1e3:.1f} ms faster, but not by enough to be sure"
    return f"{slower_s * 1e3:.1f} ms slower"
