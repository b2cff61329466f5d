"""Heads and tails are sums of laps; idling has its price, and a throttle stretches all of it."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from splitd.calibration.chain.throttle import Throttle
from splitd.calibration.measure.bench import Bench
from splitd.calibration.measure.chain_times import time_chain
from splitd.calibration.profile.key import ProfileKey

LAPS = (0.001, 0.010, 0.020)  # preparation and two segments, for a batch of one


class SimulatedBench(Bench):
    """A chain whose laps are known: proportional to the batch, and `cold_s` longer after the processor has idled."""

    def __init__(self, cold_s: float) -> None:
        self._cold_s = cold_s
        self.asked: list[tuple[int, bool]] = []

    @property
    def engine(self) -> Any:  # type: ignore[override]
        return SimpleNamespace(runner=SimpleNamespace(synchronise=lambda: None))

    def laps(self, batch: int, throttle: Throttle | None = None) -> tuple[float, ...]:
        self.asked.append((batch, throttle is not None))
        extra_s = self._cold_s if throttle is not None else 0.0
        if throttle is not None:
            time.sleep(batch * 0.01)
        return tuple(lap * batch + extra_s for lap in LAPS)


def key(throttle: float = 1.0) -> ProfileKey:
    return ProfileKey("0" * 32, ("input", "a", "output"), "cpu", "-", "torch", "2", 1, throttle, (1, 2, 4), ())


def silent(share: float, doing: str) -> None:
    del share, doing


def test_heads_begin_with_preparation_and_tails_end_with_nothing() -> None:
    times = time_chain(SimulatedBench(0.0), key(), 3, silent)
    assert times.heads.medians(0) == [0.0, 0.0, 0.0]
    assert times.heads.medians(1) == pytest.approx([0.011, 0.022, 0.044])
    assert times.heads.medians(2) == pytest.approx([0.031, 0.062, 0.124])
    assert times.tails.medians(0) == pytest.approx([0.030, 0.060, 0.120])
    assert times.tails.medians(1) == pytest.approx([0.020, 0.040, 0.080])
    assert times.tails.medians(2) == [0.0, 0.0, 0.0]
    assert times.throttle_ratio is None


def test_the_first_pass_of_each_size_warms_up_and_sizes_take_turns() -> None:
    bench = SimulatedBench(0.0)
    times = time_chain(bench, key(), 2, silent)
    assert bench.asked == [(size, False) for size in (1, 2, 4)] * 3
    assert len(times.heads.rows[1][0].samples) == 2


def test_the_price_of_idling_is_added_per_segment_whatever_the_batch() -> None:
    times = time_chain(SimulatedBench(0.005), key(throttle=0.5), 3, silent)
    assert times.heads.medians(2) == pytest.approx([2 * (0.031 * batch + 3 * 0.005) for batch in (1, 2, 4)])
    assert times.tails.medians(1) == pytest.approx([2 * (0.020 * batch + 0.005) for batch in (1, 2, 4)])


def test_full_speed_never_idles_to_measure() -> None:
    bench = SimulatedBench(0.005)
    time_chain(bench, key(), 3, silent)
    assert not any(throttled for _, throttled in bench.asked)


def test_really_throttled_passes_of_another_size_check_the_computed_time() -> None:
    bench = SimulatedBench(0.0)
    times = time_chain(bench, key(throttle=0.5), 3, silent)
    assert bench.asked[-3:] == [(2, True)] * 3
    computed_s, real_s = 2 * 2 * sum(LAPS), 2 * 0.01
    assert times.throttle_ratio is not None
    assert real_s / computed_s <= times.throttle_ratio < 3
