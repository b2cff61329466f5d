"""The planner: which (cut, codec) finishes soonest, on the link and the server as they are now?

Pure: a table of costs and a state in, a decision with its reasons out. No clock, no memory but a cache of columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from splitd.agent.decide.cost_table import CostTable, Floats, Prediction, dominator, relative_deviation
from splitd.agent.decide.decision import (
    CandidateCost,
    CandidateKey,
    CandidateKind,
    Decision,
    Scored,
    ServerView,
    State,
    Terms,
)
from splitd.agent.decide.explanation import explain_all, explain_one
from splitd.agent.decide.objective import Objective, score, sigmas_to_deadline

__all__ = [
    "CandidateCost",
    "CandidateKey",
    "CandidateKind",
    "Decision",
    "Planner",
    "PlannerConfig",
    "Scored",
    "ServerView",
    "State",
    "Terms",
]

# An exploring batch may be expected to take this much longer than the best choice, no more.
_EXPLORE_COST = 1.5
# Share of the difference's own deviation (median to p90) that a gain must exceed to be worth a switch.
_DOUBT = 0.25
# One table per batch size in use; the columns of more are computed again.
_MAX_TABLES = 64


@dataclass(frozen=True)
class PlannerConfig:
    """How to choose.

    `privacy`: the input never leaves the device. `hysteresis`: the previous choice stays while the gain of the best one
    is lost in the prediction's uncertainty, but gives up at most this share of the time. `pinned`: name of a cut
    (with `pinned_codec`: one candidate) to stay at while the link is up; a pin that names no allowed candidate is void.
    """

    privacy: bool = False
    hysteresis: float = 0.03
    objective: Objective = "p50"
    pinned: str | None = None
    pinned_codec: str | None = None


@dataclass(frozen=True)
class _Running:
    """A candidate table split into those in the running and the refused ones; `pinned`: local is only the way out."""

    costs: Sequence[CandidateCost]
    everything: CostTable
    open: CostTable
    refusals: dict[CandidateKey, str]
    pinned: bool


class Planner:
    """Decides by the cost model of docs/method.md; safe to share between threads that bring their own tables."""

    def __init__(self, config: PlannerConfig | None = None) -> None:
        self.config = config or PlannerConfig()
        self._tables: dict[int, _Running] = {}

    def decide(self, costs: Sequence[CandidateCost], state: State) -> Decision:
        """Return the choice among `costs` in this state; hand in the same sequence object again to reuse its columns.

        Local is chosen whenever the link is not up. Raises UsageError unless exactly one candidate is local.
        """
        running = self._running(costs)
        table = running.open
        prediction = table.predict(state)
        if not _is_up(state):
            index, why, explored = table.local, f"the link is {state.link.state}", False
        else:
            index, why, explored = self._choose(running, prediction, state)
        chosen = explain_one(table, prediction, state, index, why)
        explain = partial(explain_all, running.everything, state, running.refusals, chosen.cost.key, why)
        return Decision(chosen, explored, explain)

    def soonest_s(self, costs: Sequence[CandidateCost], state: State, *, but: CandidateKey) -> float:
        """Return the median seconds of the soonest candidate other than one; infinity if there is none."""
        table = self._running(costs).open
        medians = table.predict(state).median
        allowed = np.ones(len(medians), dtype=bool) if _is_up(state) else table.offloads == 0.0
        if but in table.index:
            allowed[table.index[but]] = False
        return float(medians[allowed].min(initial=np.inf))

    def _choose(self, running: _Running, prediction: Prediction, state: State) -> tuple[int, str, bool]:
        table = running.open
        values = score(table, prediction, state, self.config.objective)
        if running.pinned:
            values = np.where(table.offloads > 0.0, values, np.inf)
            return int(values.argmin()), "pinned", False
        best, why = int(values.argmin()), "soonest"
        if state.deadline_s is not None:
            sigmas = sigmas_to_deadline(table, prediction, state, state.deadline_s)
            best = int(np.where(sigmas >= sigmas.max(), values, np.inf).argmin())
            why = "most likely to meet the deadline"
        elif (kept := self._kept(table, prediction, values, best, state)) is not None:
            return kept, "the previous choice; no other one is surely faster", False
        if (
            state.explore
            and best == table.local
            and (tried := _uncertain(table, prediction, values, state)) is not None
        ):
            return tried, "explores: it may be faster, and costs little if not", True
        return best, why, False

    def _kept(self, table: CostTable, prediction: Prediction, values: Floats, best: int, state: State) -> int | None:
        """Return the previous choice when the best one's gain does not stand out from the prediction's doubt."""
        previous = None if state.previous is None else table.index.get(state.previous)
        if previous is None or previous == best:
            return None
        gain = float(values[previous] - values[best])
        doubt = _DOUBT * _doubt_of_difference(prediction, previous, best, state)
        return previous if gain <= min(doubt, self.config.hysteresis * float(values[previous])) else None

    def _running(self, costs: Sequence[CandidateCost]) -> _Running:
        known = self._tables.get(id(costs))
        # The entry keeps `costs` alive, so its id cannot have passed to another object.
        if known is not None and known.costs is costs:
            return known
        if len(self._tables) >= _MAX_TABLES:
            self._tables.clear()
        made = self._tables[id(costs)] = self._divide(costs)
        return made

    def _divide(self, costs: Sequence[CandidateCost]) -> _Running:
        refusals = {c.key: "privacy: the input never leaves the device" for c in costs if self._is_private(c)}
        pinned = [c for c in costs if self._is_pinned(c) and c.key not in refusals]
        if pinned:
            kept = {c.key for c in pinned}
            others = (c for c in costs if c.key not in kept and c.kind != "local")
            refusals |= {c.key: f"{self.config.pinned} is pinned" for c in others}
        allowed = CostTable([c for c in costs if c.key not in refusals])
        for cost, other in zip(allowed.costs, dominator(allowed), strict=True):
            if other is not None and not (pinned and allowed.costs[other].kind == "local"):
                refusals[cost.key] = f"never faster than {allowed.costs[other].label}"
        running = CostTable([c for c in costs if c.key not in refusals])
        return _Running(costs, CostTable(costs), running, refusals, pinned=any(c.kind != "local" for c in pinned))

    def _is_private(self, cost: CandidateCost) -> bool:
        return self.config.privacy and cost.kind == "full"

    def _is_pinned(self, cost: CandidateCost) -> bool:
        config = self.config
        return config.pinned == cost.name and config.pinned_codec in {None, cost.codec}


def _is_up(state: State) -> bool:
    return state.link.state == "up" and state.link.up_path is not None


def _doubt_of_difference(prediction: Prediction, one: int, other: int, state: State) -> float:
    """Return the deviation of the difference of two predictions: what both share (rate, load) cancels out."""
    link = abs(float(prediction.transfer[one] - prediction.transfer[other]))
    link *= 0.0 if state.link.up_path is None else relative_deviation(state.link.up_path.residual, upper=True)
    device = abs(float(prediction.device[one] - prediction.device[other])) * relative_deviation(state.k_dev, upper=True)
    server = abs(float(prediction.remote[one] - prediction.remote[other]))
    server *= relative_deviation(state.server.k_srv, upper=True)
    return float(np.sqrt(link * link + device * device + server * server))


def _uncertain(table: CostTable, prediction: Prediction, values: Floats, state: State) -> int | None:
    """Return the offloading candidate that may turn out fastest, if one may and its expected price is bounded."""
    lucky = prediction.median - table.deviation(prediction, state, upper=False)
    eligible = (table.offloads > 0.0) & (lucky < values[table.local]) & (values < _EXPLORE_COST * values[table.local])
    return int(np.where(eligible, lucky, np.inf).argmin()) if eligible.any() else None
