"""Head and tail times from what the graph computes and moves: a roofline per kernel, summed up to each cut.

    time(kernel, B) = max(flops * B / (peak * efficiency), (activations * B + weights) / bandwidth) + overhead

It knows no caches, no fusion and no overlap of kernels; outputs made with it are labelled `roofline`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splitd.calibration.profile import Floats
from splitd.calibration.study.grid import LatencyTable
from splitd.calibration.study.hardware import Hardware
from splitd.calibration.study.traffic import KernelTable


@dataclass(frozen=True)
class Prefixes:
    """Where each position lies: its name and how many kernels its head has."""

    names: tuple[str, ...]
    kernels: tuple[int, ...]


def kernel_times(table: KernelTable, hardware: Hardware, batches: NDArray[np.int64]) -> Floats:
    """Return seconds, [kernel, batch]."""
    share = np.where(table.depthwise, hardware.depthwise_efficiency, hardware.efficiency)
    compute_s = (table.flops / (hardware.peak_flops * share))[:, None] * batches[None, :]
    moved = table.activation_bytes[:, None] * batches[None, :] + table.weight_bytes[:, None]
    times: Floats = np.maximum(compute_s, moved / hardware.bandwidth_bytes_per_s) + hardware.kernel_overhead_s
    return times


def prefix_times(table: KernelTable, kernels: Sequence[int], hardware: Hardware, batches: NDArray[np.int64]) -> Floats:
    """Return the seconds of the first n kernels for each n of `kernels`, [n, batch]."""
    total = np.cumsum(kernel_times(table, hardware, batches), axis=0)
    before_first = np.zeros((1, len(batches)))
    return np.concatenate([before_first, total])[np.asarray(kernels, dtype=np.int64)]


def roofline_latency(
    table: KernelTable, prefixes: Prefixes, device: Hardware, server: Hardware, batches: NDArray[np.int64]
) -> LatencyTable:
    """Return head times on the device and tail times on the server at every position and batch size."""
    on_server_s = prefix_times(table, prefixes.kernels, server, batches)
    return LatencyTable(
        names=prefixes.names,
        head_s=prefix_times(table, prefixes.kernels, device, batches),
        tail_s=on_server_s[-1] - on_server_s,
    )
