"""How long an offloaded batch is waited for before the device finishes it from the kept activation."""

from __future__ import annotations

from splitd.transport.estimate import Quantiles

# What a prediction without bounds, or of almost no time, is allowed to be wrong by: a busy server's scheduling.
MIN_PATIENCE_S = 0.3


def patience_s(predicted: Quantiles | None, own_s: float) -> float:
    """Return the seconds from the decision on after which the batch is finished locally, which takes `own_s`.

    Waiting for as long as finishing takes costs at most twice the better of the two in hindsight (the ski-rental rule).
    """
    return max(own_s, MIN_PATIENCE_S) + (predicted.p90 if predicted is not None else 0.0)
