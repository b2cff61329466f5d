"""Lap times of work: the CPU's clock; runners whose kernels run behind the caller's back have one of their own."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Protocol


class Stopwatch(Protocol):
    """Takes the time between marks set in the stream of work."""

    def mark(self) -> None:
        """Set a mark after the work issued so far."""

    def laps(self) -> tuple[float, ...]:
        """Return the seconds between successive marks, once all that work is done, and forget the marks."""


class CpuStopwatch:
    """Marks on the monotonic clock; right where a call returns when its work is done."""

    def __init__(self) -> None:
        self._marks: list[float] = []

    def mark(self) -> None:
        """Read the clock."""
        self._marks.append(time.perf_counter())

    def laps(self) -> tuple[float, ...]:
        """Return the seconds between successive marks and forget them."""
        marks, self._marks = self._marks, []
        return tuple(after - before for before, after in pairwise(marks))
