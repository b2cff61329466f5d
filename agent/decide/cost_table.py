"""Candidates as columns, so that one decision is a handful of vector operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import numpy.typing as npt

from splitd.agent.decide.decision import CandidateCost, State
from splitd.errors import UsageError
from splitd.transport.estimate import PathModel, Quantiles

Floats = npt.NDArray[np.float64]

# An unknown path moves everything at once: only the local candidate, which sends nothing, is ever looked up with it.
_NO_PATH = PathModel(rate=Quantiles.exactly(inf))


@dataclass(frozen=True)
class Prediction:
    """The terms of every candidate of a table, seconds."""

    device: Floats
    transfer: Floats
    remote: Floats
    back: Floats
    fixed: Floats
    median: Floats


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
        self.device = np.array([c.head_s + c.encode_s for c in costs])
        self.wire = np.array([float(c.wire_bytes) for c in costs])
        self.remote = np.array([c.decode_s + c.tail_s for c in costs])
        self.result = np.array([float(c.result_bytes) for c in costs])
        self.offloads = np.array([c.kind != "local" for c in costs], dtype=np.float64)

    def predict(self, state: State) -> Prediction:
        """Return the median seconds of every candidate by the cost model."""
        up, down = paths(state)
        device = self.device * state.k_dev.p50
        transfer = up.seconds(self.wire, device + state.idle_s)
        back = down.seconds(self.result)
        remote = self.remote * state.server.k_srv.p50
        rtt = 0.0 if state.link.rtt_s is None else state.link.rtt_s.p50
        fixed = self.offloads * (rtt + state.server.queue_s)
        return Prediction(device, transfer, remote, back, fixed, device + transfer + remote + back + fixed)

    def deviation(self, prediction: Prediction, state: State, *, upper: bool) -> Floats:
        """Return how far p90 (or p10) lies from the median for every candidate: independent terms add in square."""
        up, down = paths(state)
        rtt = state.link.rtt_s or Quantiles.exactly(0.0)
        square = (prediction.device * relative_deviation(state.k_dev, upper=upper)) ** 2
        square += (prediction.transfer * relative_deviation(up.residual, upper=upper)) ** 2
        square += (prediction.remote * relative_deviation(state.server.k_srv, upper=upper)) ** 2
        square += (prediction.back * relative_deviation(down.residual, upper=upper)) ** 2
        square += self.offloads * ((rtt.p90 - rtt.p50) if upper else (rtt.p50 - rtt.p10)) ** 2
        return np.sqrt(square)


def paths(state: State) -> tuple[PathModel, PathModel]:
    """Return the up and down paths; a downlink never measured is taken to be like the uplink."""
    up = state.link.up_path or _NO_PATH
    return up, state.link.down_path or up


def relative_deviation(quantiles: Quantiles, *, upper: bool) -> float:
    """Return how far p90 (or p10) lies from the median, as a share of the median."""
    if quantiles.p50 <= 0.0:
        return 0.0
    return (quantiles.p90 - quantiles.p50 if upper else quantiles.p50 - quantiles.p10) / quantiles.p50


def dominator(table: CostTable) -> list[int | None]:
    """Return for each candidate one that is never slower, whatever rate and loads are; None where there is none.

    One dominates another when none of its terms is larger: every term of the cost model grows with its column. Of equal
    candidates the first stays.
    """
    columns = np.stack([table.device, table.wire, table.remote, table.result, table.offloads])
    no_larger = (columns[:, :, None] <= columns[:, None, :]).all(axis=0)
    smaller_or_first = (columns[:, :, None] < columns[:, None, :]).any(axis=0) | np.tri(
        len(table.costs), k=-1, dtype=bool
    ).T
    beats = no_larger & smaller_or_first
    return [int(np.argmax(beats[:, i])) if beats[:, i].any() else None for i in range(len(table.costs))]
