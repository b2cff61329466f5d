"""The grid of states (batch size, data rate) and the end-to-end time of every position in every state.

Positions 0..K are input (full offloading), the cuts, output (no offloading). Times are arrays [position, batch, rate].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from splitd.calibration.profile import Floats, Work, end_to_end

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


@dataclass(frozen=True)
class CodecOption:
    """One way to cross at one position: seconds and bytes on the wire, [batch]."""

    encode_s: Floats
    wire_bytes: Floats
    decode_s: Floats


@dataclass(frozen=True)
class Offloads:
    """How each position but the last may cross, and what comes back: bytes on the wire, [batch]; seconds of a trip."""

    options: tuple[tuple[CodecOption, ...], ...]
    result_bytes: Floats
    rtt_s: float

    def select(self, positions: NDArray[np.int64]) -> Offloads:
        """Return those of these positions only; the last of them is no offloading."""
        return replace(self, options=tuple(self.options[int(position)] for position in positions[:-1]))


def paper_offloads(elements: NDArray[np.int64], grid: Grid, input_value_bytes: int) -> Offloads:
    """Return the paper's crossing: float32 cuts, nothing but the payload D_l(B); no codec, no round trip, no result.

    `elements` is |h_l| per sample of each position, that of no offloading included; `input_value_bytes` is the width of
    an input value.
    """
    nothing = np.zeros(len(grid.batches))
    value_bytes = [input_value_bytes, *([FLOAT32_BYTES] * (len(elements) - 2))]
    payloads = elements[:-1, None] * np.array(value_bytes, dtype=np.float64)[:, None] * grid.batches[None, :]
    return Offloads(tuple((CodecOption(nothing, payload, nothing),) for payload in payloads), nothing, 0.0)


def grid_times(latency: LatencyTable, offloads: Offloads, grid: Grid) -> Floats:
    """Return the end-to-end seconds of every position, [position, batch, rate], each with the codec that is fastest.

    The sum is the cost model's, with k_dev = k_srv = 1 and an empty queue: the study looks at the link, not at
    throttling or a loaded server.
    """
    offloaded = [
        np.min([_times(latency, k, option, offloads, grid) for option in options], axis=0)
        for k, options in enumerate(offloads.options)
    ]
    local = end_to_end(Work(latency.head_s[-1], 0.0, 0.0, 0.0), transfer_s=0.0, return_s=0.0, rtt_s=0.0, queue_s=0.0)
    times: Floats = np.array([*offloaded, np.broadcast_to(_column(local.total_s), grid.shape)])
    return times


def _times(latency: LatencyTable, k: int, option: CodecOption, offloads: Offloads, grid: Grid) -> Floats:
    """Return the seconds of one position with one codec, [batch, rate]."""
    rates = grid.rates_bytes_per_s[None, :]
    work: Work[float | Floats] = Work(
        _column(latency.head_s[k]), _column(option.encode_s), _column(option.decode_s), _column(latency.tail_s[k])
    )
    terms = end_to_end(
        work,
        transfer_s=_column(option.wire_bytes) / rates,
        return_s=_column(offloads.result_bytes) / rates,
        rtt_s=offloads.rtt_s,
        queue_s=0.0,
    )
    return np.asarray(terms.total_s)


def _column(per_batch: float | Floats) -> Floats:
    return np.asarray(per_batch, dtype=np.float64)[:, None]
