"""Why a candidate was chosen, and why each of the others was not."""

from __future__ import annotations

from collections.abc import Mapping
from math import hypot

from splitd.agent.decide.cost_table import CostTable, Prediction, paths, relative_deviation
from splitd.agent.decide.decision import CandidateKey, Scored, State, Terms
from splitd.agent.decide.objective import chance_to_meet
from splitd.transport.estimate import Quantiles

_EXACT = Quantiles.exactly(0.0)


def explain_all(
    table: CostTable, state: State, refusals: Mapping[CandidateKey, str], chosen: CandidateKey, why: str
) -> tuple[Scored, ...]:
    """Return every candidate with its terms, bounds and reason; `refusals` names those that were not in the running."""
    prediction = table.predict(state)
    best_s = float(prediction.median[table.index[chosen]])
    scored = []
    for i, cost in enumerate(table.costs):
        slower_s = float(prediction.median[i]) - best_s
        reason = why if cost.key == chosen else refusals.get(cost.key) or _compared(slower_s, state)
        scored.append(explain_one(table, prediction, state, i, reason))
    return tuple(scored)


def explain_one(table: CostTable, prediction: Prediction, state: State, index: int, reason: str) -> Scored:
    """Return one candidate of the table with its terms and bounds, as far as they can be predicted."""
    cost = table.costs[index]
    if cost.kind != "local" and state.link.up_path is None:
        return Scored(cost, None, None, reason)
    terms = _terms(prediction, table, state, index)
    median = terms.total_s
    above = _deviation(terms, state, upper=True) if cost.kind != "local" else _local(terms, state, upper=True)
    below = _deviation(terms, state, upper=False) if cost.kind != "local" else _local(terms, state, upper=False)
    predicted = Quantiles(max(0.0, median - below), median, median + above)
    meets = None if state.deadline_s is None else chance_to_meet(state.deadline_s, median, above)
    return Scored(cost, terms, predicted, reason, meets)


def _compared(slower_s: float, state: State) -> str:
    if state.link.state != "up" or state.link.up_path is None:
        return f"the link is {state.link.state}"
    if slower_s < 0.0:
        return f"{-slower_s * 1e3:.1f} ms faster, but not by enough to be sure"
    return f"{slower_s * 1e3:.1f} ms slower"


def _terms(prediction: Prediction, table: CostTable, state: State, index: int) -> Terms:
    cost = table.costs[index]
    k_dev, k_srv = state.k_dev.p50, state.server.k_srv.p50
    offloads = cost.kind != "local"
    rtt = state.link.rtt_s
    return Terms(
        head_s=cost.head_s * k_dev,
        encode_s=cost.encode_s * k_dev,
        rtt_s=rtt.p50 if offloads and rtt is not None else 0.0,
        transfer_s=float(prediction.transfer[index]),
        queue_s=state.server.queue_s if offloads else 0.0,
        decode_s=cost.decode_s * k_srv,
        tail_s=cost.tail_s * k_srv,
        return_s=float(prediction.back[index]),
    )


def _local(terms: Terms, state: State, *, upper: bool) -> float:
    return terms.head_s * relative_deviation(state.k_dev, upper=upper)


def _deviation(terms: Terms, state: State, *, upper: bool) -> float:
    """Return the distance from the median to p90 or p10; the same as CostTable.deviation, for one candidate."""
    up, down = paths(state)
    rtt = state.link.rtt_s or _EXACT
    return hypot(
        (terms.head_s + terms.encode_s) * relative_deviation(state.k_dev, upper=upper),
        terms.transfer_s * relative_deviation(up.residual, upper=upper),
        (terms.decode_s + terms.tail_s) * relative_deviation(state.server.k_srv, upper=upper),
        terms.return_s * relative_deviation(down.residual, upper=upper),
        rtt.p90 - rtt.p50 if upper else rtt.p50 - rtt.p10,
    )
