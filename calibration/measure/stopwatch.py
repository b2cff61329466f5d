"""Lap times of work on a torch device: the CPU's clock, or CUDA events where kernels run behind the caller's back."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

import torch


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


class CudaStopwatch:
    """Marks as CUDA events, so that timing every segment of a pass does not make the host wait between segments."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[torch.cuda.Event] = []

    def mark(self) -> None:
        """Record an event in the device's current stream."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch has no stub for it
        event.record(torch.cuda.current_stream(self._device))
        self._marks.append(event)

    def laps(self) -> tuple[float, ...]:
        """Wait for the last event; return the seconds between successive events and forget them."""
        marks, self._marks = self._marks, []
        if marks:
            marks[-1].synchronize()
        return tuple(before.elapsed_time(after) / 1e3 for before, after in pairwise(marks))


def stopwatch_for(device: torch.device) -> Stopwatch:
    """Return the stopwatch that fits the device."""
    return CudaStopwatch(device) if device.type == "cuda" else CpuStopwatch()


def synchroniser(device: torch.device) -> Callable[[], None]:
    """Return a function that waits until everything issued to the device is done."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return lambda: None
