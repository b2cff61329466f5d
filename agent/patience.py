"""How long an offloaded batch is waited for before the device finishes it from the kept activation."""

from __future__ import annotations

from splitd.transport.observations import Quantiles

# A server that takes this many times the predicted p90 is not waited for any longer: the rate has collapsed in
# mid-transfer or the link is a black hole.
PATIENCE = 4.0
MIN_PATIENCE_S = 1.0


def patience_s(predicted: Quantiles | None) -> float:
    """Return the seconds from the decision on after which the batch is finished locally."""
    return MIN_PATIENCE_S if predicted is None else max(MIN_PATIENCE_S, PATIENCE * predicted.p90)
