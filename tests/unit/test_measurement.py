"""A measurement keeps its samples and says how far to trust them; a throttle slows exactly as much as it says."""

from __future__ import annotations

import math
import threading

import pytest

from splitd.calibration.chain import CpuStopwatch, Throttle
from splitd.calibration.profile.measurement import Measurement, measure
from splitd.errors import UsageError


class SimulatedTime:
    """A clock that only sleeping and working move; each sleep takes `overshoot_s` longer than asked."""

    def __init__(self, overshoot_s: float = 0.0) -> None:
        self.now_s = 0.0
        self.overshoot_s = overshoot_s
        self.naps: list[float] = []

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now_s += seconds + self.overshoot_s

    def throttle(self, share: float | None) -> Throttle:
        return Throttle(share, clock=self.clock, sleep=self.sleep)


def test_median_and_iqr_are_those_of_the_samples() -> None:
    measurement = Measurement.of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (measurement.median, measurement.iqr) == (3.0, 2.0)
    assert measurement.samples == (5.0, 1.0, 2.0, 4.0, 3.0)


def test_one_sample_is_its_own_median_without_spread() -> None:
    assert Measurement.of([2.5]) == Measurement(2.5, 0.0, (2.5,))


@pytest.mark.parametrize("samples", [[], [1.0, -0.1], [math.nan], [math.inf]])
def test_impossible_samples_are_refused(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        Measurement.of(samples)


def test_a_spread_over_a_tenth_of_the_median_is_noisy() -> None:
    assert Measurement.of([1.0, 1.3, 1.0, 1.3]).noisy
    assert not Measurement.of([1.0, 1.05, 1.0, 1.05]).noisy


def test_a_spread_of_a_timer_tick_is_never_noisy() -> None:
    assert not Measurement.of([10e-6, 40e-6, 10e-6, 40e-6]).noisy


def test_measure_warms_up_and_waits_for_the_device_around_each_sample() -> None:
    calls: list[str] = []
    result = measure(lambda: calls.append("run"), repeats=2, warmup=1, sync=lambda: calls.append("sync"))
    assert calls == ["run", "sync", "run", "sync", "sync", "run", "sync"]
    assert len(result.samples) == 2


def test_a_stopwatch_returns_the_time_between_marks_and_forgets_them() -> None:
    watch = CpuStopwatch()
    for _ in range(3):
        watch.mark()
    laps = watch.laps()
    assert len(laps) == 2
    assert all(lap >= 0 for lap in laps)
    assert watch.laps() == ()


def test_a_throttled_block_takes_one_over_share_times_as_long() -> None:
    time = SimulatedTime()
    with time.throttle(0.25):
        time.now_s += 2.0
    assert time.now_s == pytest.approx(8.0)


def test_overslept_time_is_taken_off_the_next_idle() -> None:
    time = SimulatedTime(overshoot_s=0.5)
    throttle = time.throttle(0.5)
    for _ in range(10):
        with throttle:
            time.now_s += 1.0
    assert time.naps[0] == pytest.approx(1.0)
    assert time.naps[1:] == pytest.approx([0.5] * 9)
    assert time.now_s == pytest.approx(20.0 + time.overshoot_s)


@pytest.mark.parametrize("share", [None, 1.0])
def test_full_speed_never_sleeps(share: float | None) -> None:
    time = SimulatedTime()
    with time.throttle(share):
        time.now_s += 2.0
    assert time.naps == []
    assert not time.throttle(share).active


def test_nested_blocks_idle_once() -> None:
    time = SimulatedTime()
    throttle = time.throttle(0.5)
    with throttle:
        with throttle:
            time.now_s += 1.0
        time.now_s += 1.0
    assert time.naps == pytest.approx([2.0])


def test_a_failed_block_does_not_idle() -> None:
    time = SimulatedTime()

    def work_and_fail() -> None:
        with time.throttle(0.5):
            time.now_s += 1.0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work_and_fail()
    assert time.naps == []


def test_threads_do_not_disturb_each_other() -> None:
    time = SimulatedTime()
    throttle = time.throttle(0.5)
    with throttle:
        worker = threading.Thread(target=lambda: throttle.__enter__().__exit__(None, None, None))
        worker.start()
        worker.join(5)
        time.now_s += 1.0
    assert time.naps == pytest.approx([1.0])


def test_waiting_for_the_device_is_part_of_the_busy_time() -> None:
    time = SimulatedTime()

    def finish_kernels() -> None:
        time.now_s += 3.0

    with Throttle(0.5, sync=finish_kernels, clock=time.clock, sleep=time.sleep):
        pass
    assert time.naps == pytest.approx([3.0])


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, math.nan])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="share of full speed"):
        Throttle(share)
