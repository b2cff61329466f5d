"""The planner: which (server, cut, codec) finishes soonest, on the links and the servers as they are now?

Pure: a table of costs and a state in, a decision with its reasons out. No clock, no memory but a cache of columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np

from splitd.agent.decide.cost_table import CostTable, dominator
from splitd.agent.decide.decision import CandidateCost, CandidateKey, Decision, Scored, Share, State
from splitd.agent.decide.explanation import explain_all, explain_one
from splitd.agent.decide.objective import DEFAULT_OBJECTIVE, OBJECTIVES, Outlook, sigmas_to_deadline
from splitd.calibration.profile import Floats

# An exploring batch may be expected to take this much longer than the best choice, no more: with the default share of
# two batches in a hundred, exploring then costs at most one per cent of the time.
_EXPLORE_COST = 1.5
# Share of the difference's own deviation (median to p90) that a gain must exceed to be worth a switch. Chosen on the
# replays of docs/method.md: without it the choice flutters between level candidates, with 1.0 real gains are missed.
_DOUBT = 0.25
# One table per batch size in use, and per size of the application's files; beyond it the columns are computed again,
# which takes as long as ten decisions.
_MAX_TABLES = 64


@dataclass(frozen=True)
class PlannerConfig:
    """How to choose.

    `privacy`: the input never leaves the device. `hysteresis`: the most that staying with the previous choice may give
    up, as a share of the time; it stays while the gain of the best one is lost in the prediction's doubt.
    `objective`: a name in OBJECTIVES. `pinned`: name of a cut (with `pinned_codec`: one candidate) to stay at while the
    link is up; a pin that names no allowed candidate is void.
    """

    privacy: bool = False
    hysteresis: float = 0.03
    objective: str = DEFAULT_OBJECTIVE
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
    """Decides by the cost model of docs/method.md. Whoever shares one between threads brings a lock."""

    def __init__(self, config: PlannerConfig | None = None) -> None:
        self.config = config or PlannerConfig()
        self._tables: dict[int, _Running] = {}

    def decide(self, costs: Sequence[CandidateCost], state: State) -> Decision:
        """Return the choice among `costs` in this state; hand in the same sequence object again to reuse its columns.

        Local is chosen whenever no link is up. Raises UsageError unless exactly one candidate is local.
        """
        running = self._running(costs)
        table = running.open
        outlook, usable = Outlook(table, state), table.usable(state)
        # Local is always usable, so one usable candidate means that no link is up (or nothing else is allowed).
        if usable.sum() == 1:
            index, why, explored = table.local, self._nothing_usable(table, state), False
        else:
            values = np.where(usable, OBJECTIVES[self.config.objective](outlook), np.inf)
            index, why, explored = self._choose(running, outlook, values)
        chosen = explain_one(outlook, index, why)

        def explain() -> tuple[Scored, ...]:
            return explain_all(Outlook(running.everything, state), running.refusals, chosen.cost.key, why)

        return Decision((Share(chosen, state.batch),), explored, explain)

    def soonest_s(self, costs: Sequence[CandidateCost], state: State, *, but: CandidateKey) -> float:
        """Return the median seconds of the soonest candidate other than one; infinity if there is none."""
        table = self._running(costs).open
        medians = table.predict(state).total_s
        allowed = table.usable(state)
        if but in table.index:
            allowed[table.index[but]] = False
        return float(medians[allowed].min(initial=np.inf))

    def _choose(self, running: _Running, outlook: Outlook, values: Floats) -> tuple[int, str, bool]:
        table, state = running.open, outlook.state
        if running.pinned:
            # Whoever pins a cut wants to see what it does, also where local would be faster.
            values = np.where(table.offloads > 0.0, values, np.inf)
            return int(values.argmin()), "pinned", False
        best, why = int(values.argmin()), "soonest"
        if state.deadline_s is not None:
            # First the chance to be in time, then the time: a fast candidate that is often late is of no use here.
            sigmas = np.where(np.isfinite(values), sigmas_to_deadline(outlook, state.deadline_s), -np.inf)
            best = int(np.where(sigmas >= sigmas.max(), values, np.inf).argmin())
            why = "most likely to meet the deadline"
        elif (kept := self._kept(outlook, values, best)) is not None:
            return kept, "the previous choice; no other one is surely faster", False
        if state.explore and best == table.local and (tried := _uncertain(outlook, values)) is not None:
            return tried, "explores: it may be faster, and costs little if not", True
        return best, why, False

    def _kept(self, outlook: Outlook, values: Floats, best: int) -> int | None:
        """Return the previous choice when the best one's gain does not stand out from the prediction's doubt."""
        key = outlook.state.previous
        previous = None if key is None else outlook.table.index.get(key)
        if previous is None or previous == best:
            return None
        # An unusable previous choice has infinite seconds, hence an infinite gain: it is never kept.
        gain = float(values[previous] - values[best])
        doubt = _DOUBT * _doubt_of_difference(outlook, previous, best)
        return previous if gain <= min(doubt, self.config.hysteresis * float(values[previous])) else None

    def _nothing_usable(self, table: CostTable, state: State) -> str:
        """Say why only local is left."""
        offloading = next((cost for cost in table.costs if cost.kind != "local"), None)
        name = next(iter(state.servers), "") if offloading is None else offloading.server
        server = state.server(name)
        return "nothing else is allowed" if server.is_usable else f"the link is {server.link.state}"

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
            # Local stays beside a pin: it is the way out while the link is down.
            kept = {c.key for c in pinned}
            others = (c for c in costs if c.key not in kept and c.kind != "local")
            refusals |= {c.key: f"{self.config.pinned} is pinned" for c in others}
        allowed = CostTable([c for c in costs if c.key not in refusals])
        for cost, other in zip(allowed.costs, dominator(allowed), strict=True):
            # A pinned cut that local dominates stays in the running: dropping it would void the pin without a word.
            if other is not None and not (pinned and allowed.costs[other].kind == "local"):
                refusals[cost.key] = f"never faster than {allowed.costs[other].label}"
        running = CostTable([c for c in costs if c.key not in refusals])
        return _Running(costs, CostTable(costs), running, refusals, pinned=any(c.kind != "local" for c in pinned))

    def _is_private(self, cost: CandidateCost) -> bool:
        return self.config.privacy and cost.kind == "full"

    def _is_pinned(self, cost: CandidateCost) -> bool:
        config = self.config
        return config.pinned == cost.name and config.pinned_codec in {None, cost.codec}


def _doubt_of_difference(outlook: Outlook, one: int, other: int) -> float:
    """Return the deviation of the difference of two predictions: what both share (device, rate, load) cancels out."""
    terms, spread, table = outlook.terms, outlook.upper, outlook.table
    device = abs(float(terms.device_s[one] - terms.device_s[other])) * float(spread.device)
    transfer = _difference(table, terms.transfer_s * spread.transfer, one, other)
    server = _difference(table, terms.server_s * spread.server, one, other)
    return sqrt(device * device + transfer * transfer + server * server)


def _difference(table: CostTable, doubts: Floats, one: int, other: int) -> float:
    """Return the doubt of a difference: of one server (or none) it is shared, of two servers it adds in square."""
    first, second = float(doubts[one]), float(doubts[other])
    servers = {table.costs[i].server for i in (one, other) if table.costs[i].kind != "local"}
    return abs(first - second) if len(servers) < 2 else hypot(first, second)


def _uncertain(outlook: Outlook, values: Floats) -> int | None:
    """Return the offloading candidate that may turn out fastest, if one may and its expected price is bounded."""
    table, lucky = outlook.table, outlook.median - outlook.below
    eligible = (table.offloads > 0.0) & (lucky < values[table.local]) & (values < _EXPLORE_COST * values[table.local])
    return int(np.where(eligible, lucky, np.inf).argmin()) if eligible.any() else None
