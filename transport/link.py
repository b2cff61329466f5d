"""The link estimate: what pings and arrivals say about round trip, rates and their bounds.

Sans-IO: numbers and the time come in as arguments, estimates go out. The session feeds it, the planner reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from splitd.transport.observations import Arrival, Direction, Quantiles, Transfer
from splitd.transport.path import PathModel

__all__ = ["Arrival", "Direction", "LinkConfig", "LinkEstimate", "LinkEstimator", "LinkState", "Quantiles", "Transfer"]

LinkState = Literal["unknown", "up", "suspect", "down"]


@dataclass(frozen=True)
class LinkConfig:
    """Settings of the estimator.

    `suspect_after_s`: silence (no ping, no transfer) after which the link is suspect; several pings of one a second,
    because one lost ping on Wi-Fi says nothing. `rto_s`: silence after which TCP may start slowly.
    """

    suspect_after_s: float = 4.0
    rto_s: float = 0.2


@dataclass(frozen=True)
class LinkEstimate:
    """The link as it is now. Rates in bytes/s, times in seconds; None where nothing is known.

    `samples` counts the rate readings behind the uplink; `age_s` is the age of its last one. `idle_factor` is how many
    times longer a 150 KB transfer takes after `rto_s` of silence (1.0: no difference).
    """

    state: LinkState
    rtt_s: Quantiles | None = None
    up: Quantiles | None = None
    down: Quantiles | None = None
    samples: int = 0
    age_s: float | None = None
    idle_factor: float = 1.0
    up_path: PathModel | None = None
    down_path: PathModel | None = None

    def transfer_s(self, n_bytes: int, direction: Direction, idle_s: float = 0.0) -> Quantiles | None:
        """Return the seconds that `n_bytes` need beyond the round trip after `idle_s` of silence; None: unknown."""
        path = self.up_path if direction == "up" else self.down_path
        return None if path is None else path.quantiles(n_bytes, idle_s)


class LinkEstimator:
    """Learns the link from pings and transfers; all times are the device's monotonic clock, in seconds."""

    def __init__(self, config: LinkConfig | None = None) -> None:
        self._config = config or LinkConfig()

    def on_ping(self, now_s: float, rtt_s: float) -> None:
        """Take in the round trip of one small ping."""

    def on_transfer(self, now_s: float, transfer: Transfer) -> None:
        """Take in one finished train of chunks."""

    def on_probe_failed(self, now_s: float) -> None:
        """Note that a probe did not come back: the rates are unknown from here on, not zero."""

    def on_down(self, now_s: float) -> None:
        """Note that the session lost the server."""

    def on_up(self, now_s: float) -> None:
        """Note that the session is ready (again)."""

    def estimate(self, now_s: float) -> LinkEstimate:
        """Return what is known at `now_s`."""
        return LinkEstimate("unknown")
