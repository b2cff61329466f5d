"""The speed factors k_dev and k_srv."""

from __future__ import annotations

import random

import pytest

from splitd.agent.decide.speed import SpeedFactor


def fed(factor: SpeedFactor, *ratios: float, calibrated_s: float = 0.05, start_s: float = 0.0) -> float:
    for i, ratio in enumerate(ratios):
        factor.observe(start_s + i, ratio * calibrated_s, calibrated_s)
    return factor.estimate(start_s + len(ratios)).p50


def test_without_samples_it_is_one_with_bounds() -> None:
    estimate = SpeedFactor().estimate(5.0)
    assert estimate.p10 < estimate.p50 == 1.0 < estimate.p90


def test_it_follows_a_steady_deviation() -> None:
    assert fed(SpeedFactor(), *[1.15] * 20) == pytest.approx(1.15, rel=0.02)


def test_thermal_throttling_is_followed_within_two_batches() -> None:
    factor = SpeedFactor()
    fed(factor, *[1.0] * 20)
    assert fed(factor, 3.0, 3.0, start_s=20.0) == pytest.approx(3.0, rel=0.1)
    assert fed(factor, 1.0, 1.0, start_s=22.0) == pytest.approx(1.0, rel=0.1)


def test_one_wild_sample_is_held_back() -> None:
    factor = SpeedFactor()
    fed(factor, *[1.0] * 20)
    assert fed(factor, 20.0, 1.0, start_s=20.0) == pytest.approx(1.0, rel=0.05)


def test_bounds_hold_four_fifths_of_noisy_samples() -> None:
    factor, draw = SpeedFactor(), random.Random(1)  # noqa: S311 - the same noise every time
    held = []
    for i in range(300):
        ratio = draw.lognormvariate(0.0, 0.08)
        bounds = factor.estimate(float(i))
        if i > 30:
            held.append(bounds.p10 <= ratio <= bounds.p90)
        factor.observe(float(i), 0.05 * ratio, 0.05)
    assert 0.7 < sum(held) / len(held) < 0.95


def test_bounds_widen_without_news() -> None:
    factor = SpeedFactor()
    fed(factor, *[1.0] * 20)
    young, old = factor.estimate(20.0), factor.estimate(200.0)
    assert old.p90 / old.p10 > young.p90 / young.p10
    assert old.p50 == young.p50


def test_what_is_too_short_to_time_is_ignored() -> None:
    assert fed(SpeedFactor(), *[9.0] * 20, calibrated_s=1e-4) == 1.0
