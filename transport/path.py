"""One direction of the link as a formula: how long do D bytes take beyond the round trip?

    time(D, idle) = ( max(0, D - credit(idle)) / rate + slow_start · rounds(D) · rtt ) · residual

`credit` is what passes at line speed before the shaping bites (token bucket, socket buffers); it refills at the link's rate.
`rounds(D)` is the number of extra round trips that a TCP sender restarting from its initial window needs (RFC 6928, RFC 5681 §4.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splitd.transport.observations import Quantiles

Floats = npt.NDArray[np.float64]

# RFC 6928: ten segments of 1460 bytes; also Linux's restart window after idle.
INITIAL_WINDOW_BYTES = 14_600.0


@dataclass(frozen=True)
class PathModel:
    """What is known about one direction.

    `rate` in bytes/s; `credit_bytes` pass at line speed after a long pause; `rtt_s` the round trip; `slow_start` the share
    (0..1) of a full slow start that transfers after `rto_s` of silence really suffer; `residual` the quantiles of
    measured over predicted time.
    """

    rate: Quantiles
    rtt_s: float = 0.0
    credit_bytes: float = 0.0
    slow_start: float = 0.0
    rto_s: float = 0.2
    residual: Quantiles = Quantiles(1.0, 1.0, 1.0)

    def seconds(self, n_bytes: Floats, idle_s: float = 0.0) -> Floats:
        """Return the expected transfer seconds of each size, without the round trip."""
        credit = min(self.credit_bytes, self.rate.p50 * idle_s)
        fluid: Floats = np.maximum(n_bytes - credit, 0.0) / self.rate.p50
        if self.slow_start > 0.0 and idle_s > self.rto_s:
            fluid += self.slow_start * slow_start_seconds(n_bytes, self.rate.p50, self.rtt_s)
        return fluid

    def quantiles(self, n_bytes: float, idle_s: float = 0.0) -> Quantiles:
        """Return the transfer seconds of one size with bounds, without the round trip."""
        middle = float(self.seconds(np.array([n_bytes]), idle_s)[0])
        return self.residual.scaled(middle)


def slow_start_seconds(n_bytes: Floats, rate_bytes_per_s: float, rtt_s: float) -> Floats:
    """Return how much longer each size takes when the sender starts from the initial window instead of a full pipe.

    The window doubles every round trip; a round is lost as far as its window is short of the bandwidth-delay product.
    """
    pipe = rate_bytes_per_s * rtt_s
    if pipe <= INITIAL_WINDOW_BYTES:
        return np.zeros_like(n_bytes)
    rounds: Floats = np.floor(np.log2(np.minimum(n_bytes, pipe) / INITIAL_WINDOW_BYTES + 1.0))
    sent_in_rounds = INITIAL_WINDOW_BYTES * (np.exp2(rounds) - 1.0)
    lost: Floats = np.maximum(rounds * rtt_s - sent_in_rounds / rate_bytes_per_s, 0.0)
    return lost
