"""The grid of states (batch size, data rate) and the end-to-end time of every position in every state.

Positions 0..K are input (full offloading), the cuts, output (no offloading). Times are arrays [position, batch, rate].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FLOAT32_BYTES = 4
MEGABYTE = 1e6


@dataclass(frozen=True)
class Grid:
    """The states: every batch size (images) with every data rate (bytes/s)."""

    batches: NDArray[np.int64]
    rates_bytes_per_s: Floats

    @classmethod
    def of(cls, batches: range, rates_megabytes_per_s: range) -> Grid:
        """Return the grid over two ranges, the second in MB/s as the paper counts."""
        return cls(np.array(batches, dtype=np.int64), np.array(rates_megabytes_per_s, dtype=np.float64) * MEGABYTE)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of batch sizes and of rates."""
        return len(self.batches), len(self.rates_bytes_per_s)


@dataclass(frozen=True)
class LatencyTable:
    """Head and tail times in seconds, [position, batch], of positions input, cuts..., output."""

    names: tuple[str, ...]
    head_s: Floats
    tail_s: Floats

    def select(self, positions: NDArray[np.int64]) -> LatencyTable:
        """Return the table of these positions only."""
        names = tuple(self.names[int(position)] for position in positions)
        return LatencyTable(names, self.head_s[positions], self.tail_s[positions])


def paper_transfer(elements: NDArray[np.int64], grid: Grid, input_value_bytes: int) -> Floats:
    """Return D_l(B) / r in seconds, [position, batch, rate]: float32 cuts, nothing but the payload, no round trip.

    `elements` is |h_l| per sample of each position, 0 where nothing crosses.
    """
    value_bytes = np.full(len(elements), FLOAT32_BYTES)
    value_bytes[0] = input_value_bytes
    payload = (elements * value_bytes)[:, None] * grid.batches[None, :]
    transfer_s: Floats = payload[:, :, None] / grid.rates_bytes_per_s[None, None, :]
    return transfer_s


def end_to_end(latency: LatencyTable, transfer_s: Floats) -> Floats:
    """Return T_l(B, r) = head_l(B) + transfer + tail_l(B) in seconds, [position, batch, rate]."""
    times: Floats = (latency.head_s + latency.tail_s)[:, :, None] + transfer_s
    return times
