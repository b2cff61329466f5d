"""Candidates as columns, so that one decision is a handful of vector operations.

What the terms are and how they add up is the cost model's (`splitd.calibration.profile.end_to_end`); here they get
their numbers from the state of links and servers, and their doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from math import inf

import numpy as np
import numpy.typing as npt

from splitd.agent.decide.decision import CandidateCost, ServerState, State
from splitd.calibration.profile import Floats, Terms, Work, end_to_end
from splitd.errors import UsageError
from splitd.transport.estimate import PathModel, Quantiles

Bools = npt.NDArray[np.bool_]
Number = float | Floats

# An unknown path moves everything at once: only the local candidate, which sends nothing, is ever looked up with it.
_NO_PATH = PathModel(rate=Quantiles.exactly(inf))
# No round trip is known: as if there were none, without doubt.
_EXACT = Quantiles.exactly(0.0)


@dataclass(frozen=True)
class Spread:
    """How far p90 (or p10) lies from the median: as a share of each term, `rtt_s` in seconds; numbers or columns."""

    device: Number
    transfer: Number
    server: Number
    back: Number
    rtt_s: Number

    def row(self, index: int) -> Spread:
        """Return one row of the columns."""
        return Spread(*(_at(getattr(self, field.name), index) for field in fields(self)))


class CostTable:
    """The columns of a candidate table; exactly one candidate must be local.

    Raises UsageError when there is not exactly one local candidate.
    """

    def __init__(self, costs: Sequence[CandidateCost]) -> None:
        locals_ = [i for i, cost in enumerate(costs) if cost.kind == "local"]
        if len(locals_) != 1:
            msg = f"a candidate table needs exactly one local candidate, this one has {len(locals_)}"
            raise UsageError(msg)
        self.costs = tuple(costs)
        self.local = locals_[0]
        self.index = {cost.key: i for i, cost in enumerate(costs)}
        self.work: Work[Floats] = Work(
            np.array([c.head_s for c in costs]),
            np.array([c.encode_s for c in costs]),
            np.array([c.decode_s for c in costs]),
            np.array([c.tail_s for c in costs]),
        )
        self.wire = np.array([float(c.wire_bytes) for c in costs])
        self.result = np.array([float(c.result_bytes) for c in costs])
        self.offloads = np.array([c.kind != "local" for c in costs], dtype=np.float64)
        self._rows = _rows_by_server(costs)

    def predict(self, state: State) -> Terms[Floats]:
        """Return the median seconds of every candidate, term by term.

        Those of a candidate whose server's link is unknown mean nothing; see `usable`.
        """
        ahead_s = self.work.device_s * state.k_dev.p50
        transfer_s, return_s = self._crossing(state, ahead_s)
        return end_to_end(
            self.work,
            transfer_s=transfer_s,
            return_s=return_s,
            rtt_s=self.offloads * self._per_server(state, _rtt_s),
            queue_s=self.offloads * self._per_server(state, lambda server: server.queue_s),
            k_dev=state.k_dev.p50,
            k_srv=self._per_server(state, lambda server: server.k_srv.p50),
        )

    def spread(self, state: State, *, upper: bool) -> Spread:
        """Return how far p90 (or p10) of every term lies from its median."""
        return Spread(
            device=relative_deviation(state.k_dev, upper=upper),
            transfer=self._per_server(state, lambda server: relative_deviation(paths(server)[0].residual, upper=upper)),
            server=self._per_server(state, lambda server: relative_deviation(server.k_srv, upper=upper)),
            back=self._per_server(state, lambda server: relative_deviation(paths(server)[1].residual, upper=upper)),
            rtt_s=self.offloads * self._per_server(state, lambda server: _rtt_deviation_s(server, upper=upper)),
        )

    def usable(self, state: State) -> Bools:
        """Tell of every candidate whether it can be chosen: local always, another one while its link is up."""
        usable = np.empty(len(self.costs), dtype=np.bool_)
        for name, rows in self._rows:
            usable[rows] = state.server(name).is_usable
        usable[self.local] = True
        return usable

    def _crossing(self, state: State, ahead_s: Floats) -> tuple[Floats, Floats]:
        """Return the seconds of every candidate's way up and of its result's way back."""
        transfer_s, return_s = np.empty(len(self.costs)), np.empty(len(self.costs))
        for name, rows in self._rows:
            server = state.server(name)
            up, down = paths(server)
            # The uplink is silent while the head runs and the tensor is encoded: a late cut may meet TCP's slow start.
            transfer_s[rows] = up.seconds(self.wire[rows], ahead_s[rows] + server.idle_s)
            return_s[rows] = down.seconds(self.result[rows])
        return transfer_s, return_s

    def _per_server(self, state: State, of: Callable[[ServerState], float]) -> Number:
        """Return a number of each candidate's server as a column; of the only server, the number itself."""
        if len(self._rows) == 1:
            return of(state.server(self._rows[0][0]))
        column = np.empty(len(self.costs))
        for name, rows in self._rows:
            column[rows] = of(state.server(name))
        return column


def deviation(terms: Terms[Floats] | Terms[float], spread: Spread) -> Number:
    """Return how far p90 (or p10) of the total lies from its median: independent terms add in square.

    Takes columns or one row of them.
    """
    # These are the bounds of one candidate by itself: a rate that is off moves all transfers alike, so the doubt of a
    # difference is smaller (the planner's `_doubt_of_difference`).
    square: Number = (terms.device_s * spread.device) ** 2
    square = square + (terms.transfer_s * spread.transfer) ** 2
    square = square + (terms.server_s * spread.server) ** 2
    square = square + (terms.return_s * spread.back) ** 2
    square = square + spread.rtt_s**2
    root: Number = square**0.5
    return root


def row_of(terms: Terms[Floats], index: int) -> Terms[float]:
    """Return one candidate's terms."""
    return Terms(*(_at(getattr(terms, field.name), index) for field in fields(terms)))


def _rtt_s(server: ServerState) -> float:
    return 0.0 if server.link.rtt_s is None else server.link.rtt_s.p50


def _rtt_deviation_s(server: ServerState, *, upper: bool) -> float:
    rtt = server.link.rtt_s or _EXACT
    return rtt.p90 - rtt.p50 if upper else rtt.p50 - rtt.p10


def paths(server: ServerState) -> tuple[PathModel, PathModel]:
    """Return the up and down paths; a downlink never measured is taken to be like the uplink."""
    up = server.link.up_path or _NO_PATH
    return up, server.link.down_path or up


def relative_deviation(quantiles: Quantiles, *, upper: bool) -> float:
    """Return how far p90 (or p10) lies from the median, as a share of the median."""
    if quantiles.p50 <= 0.0:
        return 0.0
    return (quantiles.p90 - quantiles.p50 if upper else quantiles.p50 - quantiles.p10) / quantiles.p50


def dominator(table: CostTable) -> list[int | None]:
    """Return for each candidate one that is never slower, whatever rate and loads are; None where there is none.

    One dominates another of the same server, or is local, when none of its terms is larger: every term of the cost
    model grows with its column. Of equal candidates the first stays.
    """
    work = table.work
    columns = np.stack([work.device_s, table.wire, work.server_s, table.result, table.offloads])
    no_larger = (columns[:, :, None] <= columns[:, None, :]).all(axis=0)
    smaller_or_first = (columns[:, :, None] < columns[:, None, :]).any(axis=0) | np.tri(
        len(table.costs), k=-1, dtype=bool
    ).T
    # Two servers have two links: fewer bytes over the slower one are no less time.
    servers = np.array([cost.server for cost in table.costs])
    comparable = (servers[:, None] == servers[None, :]) | (table.offloads == 0.0)[:, None]
    beats = no_larger & smaller_or_first & comparable
    return [int(np.argmax(beats[:, i])) if beats[:, i].any() else None for i in range(len(table.costs))]


def undominated(costs: Sequence[CandidateCost]) -> tuple[CandidateCost, ...]:
    """Return the candidates that can be the best choice at some rate and load."""
    table = CostTable(costs)
    return tuple(cost for cost, other in zip(table.costs, dominator(table), strict=True) if other is None)


def _rows_by_server(costs: Sequence[CandidateCost]) -> list[tuple[str, slice | npt.NDArray[np.intp]]]:
    """Return the rows of each server; one server's are a slice of everything, which numpy need not copy."""
    names = list(dict.fromkeys(cost.server for cost in costs))
    if len(names) == 1:
        return [(names[0], slice(None))]
    return [(name, np.flatnonzero([cost.server == name for cost in costs])) for name in names]


def _at(number: Number, index: int) -> float:
    return float(number[index]) if isinstance(number, np.ndarray) else number
