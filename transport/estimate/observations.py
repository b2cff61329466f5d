"""What the two ends see of the link: quantiles, arrivals and transfers, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["up", "down"]
TransferKind = Literal["data", "probe"]

# Standard deviations from the median to the ninetieth percentile of a normal distribution.
SIGMAS_TO_P90 = 1.2816


@dataclass(frozen=True)
class Quantiles:
    """A number with bounds: the tenth, fiftieth and ninetieth percentile, in the unit of what it describes."""

    p10: float
    p50: float
    p90: float

    @classmethod
    def exactly(cls, value: float) -> Quantiles:
        """Return a number without doubt."""
        return cls(value, value, value)

    def scaled(self, factor: float) -> Quantiles:
        """Return these quantiles times a factor ≥ 0."""
        return Quantiles(self.p10 * factor, self.p50 * factor, self.p90 * factor)


@dataclass(frozen=True)
class Arrival:
    """One chunk was completely received at `t_s`, on the receiver's own clock; `n_bytes` includes its headers."""

    t_s: float
    n_bytes: int


@dataclass(frozen=True)
class Transfer:
    """One train of chunks that crossed the link.

    The clocks of the two ends are not synchronised, so two of them appear here and are never mixed:

    * `arrivals` stand on the receiver's clock (the server's for "up", the device's for "down").
    * `started_s` and `ended_s` stand on the device's clock. For "up", `started_s` is when the first chunk was handed to
      the socket and `ended_s` is when the first byte of the answer (result or probe report) came back, less the time
      the server says it held the request after the last chunk had arrived; so `ended_s - started_s` is one round trip
      plus the transfer, a + D/r. For "down" they are the first and the last arrival.

    `n_bytes` counts everything sent, headers included. `idle_before_s` is how long nothing had been sent this way.
    """

    direction: Direction
    kind: TransferKind
    started_s: float
    ended_s: float
    idle_before_s: float
    n_bytes: int
    arrivals: tuple[Arrival, ...]

    @property
    def elapsed_s(self) -> float:
        """Seconds from start to end on the device's clock."""
        return self.ended_s - self.started_s
