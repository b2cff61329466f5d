"""Repeated measurements of one quantity: the raw samples, their median and spread, and whether to trust them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

NOISY_IQR_SHARE = 0.1  # the bound that torch.utils.benchmark warns at
NOISE_FLOOR_S = 50e-6  # one timer tick or one interrupt: a spread below this says nothing about the machine
SUMMARY_DIGITS = 4
"""Significant digits of a median and a spread, which is far above the fifth.

They are rounded when they are made, not when they are written: a profile that was saved, sent or recorded has the very
numbers of the one that runs, so both ends and a replay of a recording decide alike.
"""


@dataclass(frozen=True)
class Measurement:
    """Median and interquartile range of repeated timings, in seconds, of SUMMARY_DIGITS where `of` made them.

    `samples` are the raw timings in the order they were taken; empty where only the summary was received.
    """

    median: float
    iqr: float
    samples: tuple[float, ...] = ()

    @classmethod
    def of(cls, samples: Sequence[float]) -> Measurement:
        """Summarise raw samples, at least one, all finite and not negative; raises ValueError otherwise."""
        if not samples or not all(math.isfinite(value) and value >= 0 for value in samples):
            raise ValueError(f"a measurement needs finite, non-negative samples, got {list(samples)}")
        if len(samples) == 1:
            return cls(rounded(samples[0]), 0.0, (float(samples[0]),))
        low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(rounded(median), rounded(high - low), tuple(float(value) for value in samples))

    @property
    def noisy(self) -> bool:
        """True if the spread is more than a tenth of the median (and more than a timer tick)."""
        return self.iqr > max(NOISY_IQR_SHARE * self.median, NOISE_FLOOR_S)


def measure(
    fn: Callable[[], object], *, repeats: int, warmup: int = 1, sync: Callable[[], None] | None = None
) -> Measurement:
    """Time `fn` `repeats` times after `warmup` untimed calls.

    `sync` waits for the device to finish; it runs before each clock reading, so queued work is part of the time.
    """
    wait = sync if sync is not None else _nothing
    for _ in range(warmup):
        fn()
    return Measurement.of([_timed(fn, wait) for _ in range(repeats)])


def rounded(value: float) -> float:
    """Round to SUMMARY_DIGITS significant digits, which JSON brings back exactly."""
    return float(f"{value:.{SUMMARY_DIGITS}g}")


def _timed(fn: Callable[[], object], wait: Callable[[], None]) -> float:
    wait()
    started = time.perf_counter()
    fn()
    wait()
    return time.perf_counter() - started


def _nothing() -> None:
    """A CPU has finished when the call returns."""
