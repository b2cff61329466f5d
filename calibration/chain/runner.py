"""What runs the segments of a chain: torch, or one of the executors."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from splitd.calibration.chain.stopwatch import Stopwatch

Array: TypeAlias = npt.NDArray[Any]
Live: TypeAlias = tuple[Any, ...]
"""What is live at a cut, all that must cross there, in the runner's own buffers."""


class Runner(Protocol):
    """Runs one chain's segments on one device, for any batch size. Used by one thread at a time."""

    @property
    def name(self) -> str:
        """The executor's name, as in `device.executor`."""

    @property
    def version(self) -> str:
        """The version of what computes; results and times belong to it."""

    @property
    def device(self) -> str:
        """`cpu`, `cuda` or `cuda:N`."""

    @property
    def threads(self) -> int:
        """CPU threads that a segment may use."""

    def segment(self, i: int, live: Live) -> Live:
        """Run segment i, from split i to split i + 1; what it is given stays as it is.

        Raises:
            MemoryError: The device's memory does not hold a batch of that size.
        """

    def to_live(self, arrays: Sequence[Array]) -> Live:
        """Return arrays in the host's memory as the runner's buffers; those that fit already are not copied."""

    def to_arrays(self, live: Live) -> tuple[Array, ...]:
        """Return buffers as contiguous arrays in the host's memory, once they are computed."""

    def synchronise(self) -> None:
        """Wait until all that was issued to the device is done."""

    def stopwatch(self) -> Stopwatch:
        """Return what takes the time between pieces of this runner's work."""

    def trim(self) -> None:
        """Give the memory back to the system that only larger batches needed; the next batch takes a little longer."""


def contiguous(array: Array) -> Array:
    """Return the array itself where runtimes can use its memory, else a copy (it is read-only, or has gaps)."""
    return array if array.flags.writeable and array.flags.c_contiguous else np.array(array, order="C")


def release_heap() -> None:
    """Give free pages of the C heap back to the system; with a C library that cannot, do nothing."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc's own
