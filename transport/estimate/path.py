"""One direction of the link as a formula: how long do D bytes take beyond the round trip?

    time(D, idle) = overhead + max(0, residual · D - credit(idle)) / rate + residual · lost(D),  D > 0

`credit` is what passes at line speed before the shaping bites (token bucket, socket buffers); it refills at the link's
rate. `lost(D)` is what a TCP sender loses after silence, which has made its window smaller (RFC 5681 4.1, RFC 2861).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, log2

import numpy as np
import numpy.typing as npt

from splitd.transport.estimate.observations import Quantiles

Floats = npt.NDArray[np.float64]

# RFC 6928: ten segments of 1460 bytes; also the least that silence leaves of a window on Linux.
INITIAL_WINDOW_BYTES = 14_600.0

# Nothing is known of errors yet: predictions are taken as they are.
_EXACT = Quantiles.exactly(1.0)


@dataclass(frozen=True)
class PathModel:
    """What is known about one direction.

    `rate` in bytes/s; `credit_bytes` pass at line speed after a long pause; `rtt_s` the round trip; `overhead_s` what
    every transfer takes beyond that (both ends' event loops); `window_bytes` what TCP may send at once after `rto_s` of
    silence (infinite: no slow start); `residual` the quantiles of measured over modelled time.
    """

    rate: Quantiles
    rtt_s: float = 0.0
    credit_bytes: float = 0.0
    overhead_s: float = 0.0
    window_bytes: float = inf
    rto_s: float = 0.2
    residual: Quantiles = _EXACT

    def seconds(self, n_bytes: Floats, idle_s: float | Floats = 0.0) -> Floats:
        """Return the median transfer seconds of each size, without the round trip; never falls as the size grows.

        `idle_s` is the silence before each transfer: one number, or one per size.
        """
        fluid: Floats = n_bytes * (self.residual.p50 / self.rate.p50)
        # Each term only where it is not zero: the planner calls this for a column of candidates, within microseconds.
        if self.credit_bytes > 0.0:
            credit = np.minimum(self.credit_bytes / self.rate.p50, idle_s)
            fluid = np.maximum(fluid - credit, 0.0)
        if self.window_bytes < self.rate.p50 * self.rtt_s:
            lost = slow_start_seconds(n_bytes, self.rate.p50, self.rtt_s, self.window_bytes)
            # Only after silence; scaled by the residual, which was learned from what transfers took in all.
            fluid = fluid + lost * (np.greater(idle_s, self.rto_s) * self.residual.p50)
        if self.overhead_s > 0.0:
            # Nothing to send takes no time: the candidate that stays here is in the same column.
            fluid = fluid + (n_bytes > 0.0) * self.overhead_s
        return fluid

    def quantiles(self, n_bytes: float, idle_s: float = 0.0) -> Quantiles:
        """Return the transfer seconds of one size with bounds, without the round trip."""
        middle = float(self.seconds(np.array([float(n_bytes)]), idle_s)[0])
        return self.residual.scaled(middle / self.residual.p50)


def slow_start_seconds(
    n_bytes: Floats, rate_bytes_per_s: float, rtt_s: float, window_bytes: float | Floats = INITIAL_WINDOW_BYTES
) -> Floats:
    """Return how much longer each size takes when the sender starts from `window_bytes` instead of a full pipe.

    The window doubles every round trip until it fills the pipe (rate · rtt); until then each round trip moves one
    window instead of one pipe. The answer is continuous in the size and never falls as it grows. Sizes and windows may
    be arrays that broadcast together.
    """
    pipe = max(rate_bytes_per_s * rtt_s, 1.0)
    most: float | Floats
    # A window that fills the pipe loses nothing. One number takes the short way: numpy is slow with single numbers.
    if isinstance(window_bytes, float):
        window_bytes = min(window_bytes, pipe)
        most = ceil(log2(pipe / window_bytes))
    else:
        window_bytes = np.minimum(window_bytes, pipe)
        most = np.ceil(np.log2(pipe / window_bytes))
    # Bytes sent before the window that is about to be sent, for each size: W·(2^n - 1) with n whole rounds behind it.
    rounds = np.minimum(np.floor(np.log2(np.maximum(n_bytes - 1.0, 0.0) / window_bytes + 1.0)), most)
    lost: Floats = rounds * rtt_s - (np.exp2(rounds) - 1.0) * (window_bytes / rate_bytes_per_s)
    return lost
