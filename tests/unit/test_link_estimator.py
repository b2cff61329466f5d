"""The link estimate against links whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import numpy as np
import pytest

from splitd.agent.simulation.link import LinkShape, SimulatedLink
from splitd.agent.simulation.traces import LoadTrace, steps
from splitd.agent.simulation.world import World
from splitd.transport.estimate.dispersion import read_rate
from splitd.transport.estimate.link import LinkEstimator
from splitd.transport.estimate.observations import Arrival
from splitd.transport.estimate.robust import TheilSen
from tests.trains import FluidLink, chunks

IMAGE = 150_000


class Watched:
    """An estimator fed by a link; keeps the relative errors of its predictions of the whole network time."""

    def __init__(self, link: FluidLink, idle_s: float = 0.15) -> None:
        self.link, self.idle_s, self.now_s = link, idle_s, 100.0
        self.estimator = LinkEstimator()
        self.estimator.on_up(self.now_s)
        self.errors: list[float] = []
        self.naive: list[float] = []
        self._averaged: float | None = None

    def send(self, n_bytes: int) -> None:
        self.estimator.on_ping(self.now_s, self.link.rtt_s + self.link.late())
        estimate = self.estimator.estimate(self.now_s)
        transfer = self.link.train(chunks(n_bytes), self.now_s, idle_s=self.idle_s)
        predicted = estimate.transfer_s(n_bytes, "up", self.idle_s)
        if predicted is not None and estimate.rtt_s is not None and self._averaged is not None:
            total_s = estimate.rtt_s.p50 + predicted.p50
            self.errors.append(abs(total_s - transfer.elapsed_s) / transfer.elapsed_s)
            self.naive.append(abs(n_bytes / self._averaged - transfer.elapsed_s) / transfer.elapsed_s)
        rate = n_bytes / transfer.elapsed_s
        self._averaged = rate if self._averaged is None else self._averaged + 0.3 * (rate - self._averaged)
        self.now_s = transfer.ended_s
        self.estimator.on_transfer(self.now_s, transfer)
        self.now_s += self.idle_s

    def rate(self) -> float:
        up = self.estimator.estimate(self.now_s).up
        assert up is not None
        return up.p50


@pytest.mark.parametrize("rtt_s", [0.001, 0.02])
@pytest.mark.parametrize("burst", [0, 70_000])
@pytest.mark.parametrize("rate", [1e6, 1e7, 5e7])
def test_predictions_on_a_stable_link_are_within_a_few_percent(rate: float, burst: int, rtt_s: float) -> None:
    watched = Watched(FluidLink(rate, rtt_s, burst))
    for i in range(60):
        watched.send((8 * IMAGE, 3 * IMAGE)[i % 2])
    errors = watched.errors[10:]
    assert median(errors) < 0.03
    assert float(np.quantile(errors, 0.9)) < 0.10


@pytest.mark.parametrize("burst", [0, 70_000])
def test_an_average_of_size_over_time_is_several_times_worse(burst: int) -> None:
    watched = Watched(FluidLink(1e7, 0.02, burst))
    for i in range(80):
        watched.send((IMAGE, 8 * IMAGE, 28_000)[i % 3])
    assert median(watched.errors[10:]) * 5 < median(watched.naive[10:])


@pytest.mark.parametrize(("before", "after"), [(10e6, 3e6), (3e6, 20e6)])
@pytest.mark.parametrize("n_bytes", [IMAGE, 8 * IMAGE])
def test_a_step_of_the_rate_is_followed_within_three_transfers(before: float, after: float, n_bytes: int) -> None:
    watched = Watched(FluidLink(before, 0.005))
    for _ in range(30):
        watched.send(n_bytes)
    watched.link.rate = after
    for _ in range(3):
        watched.send(n_bytes)
    assert watched.rate() == pytest.approx(after, rel=0.1)


def test_one_wild_reading_does_not_move_the_rate_far() -> None:
    watched = Watched(FluidLink(10e6))
    for _ in range(30):
        watched.send(8 * IMAGE)
    watched.link.rate = 2e6
    watched.send(8 * IMAGE)
    watched.link.rate = 10e6
    watched.send(8 * IMAGE)
    assert watched.rate() == pytest.approx(10e6, rel=0.25)


def test_a_train_inside_a_burst_is_no_reading() -> None:
    inside = FluidLink(1e6, burst=70_000).train(chunks(60_000), 0.0)
    assert read_rate(inside.arrivals) is None
    estimator = LinkEstimator()
    estimator.on_up(0.0)
    estimator.on_transfer(1.0, inside)
    assert estimator.estimate(1.0).state == "unknown"


def test_a_burst_at_the_head_is_not_the_rate() -> None:
    reading = read_rate(FluidLink(1e6, burst=70_000, jitter_s=0.0).train(chunks(IMAGE), 0.0).arrivals)
    assert reading is not None
    assert reading.rate_bytes_per_s == pytest.approx(1e6, rel=0.02)


def test_more_than_any_bucket_at_line_speed_is_a_fast_link() -> None:
    reading = read_rate(FluidLink(1e9).train(chunks(1_000_000), 0.0).arrivals)
    assert reading is not None
    assert reading.rate_bytes_per_s > 2e8


def test_too_few_or_simultaneous_arrivals_say_nothing() -> None:
    assert read_rate([Arrival(1.0, 65_536), Arrival(1.01, 65_536)]) is None
    assert read_rate([Arrival(1.0, 1000)] * 8) is None


def test_a_burst_is_credited_to_transfers_after_a_pause() -> None:
    watched = Watched(FluidLink(1e6, 0.005, 70_000), idle_s=0.5)
    for i in range(20):
        watched.send((IMAGE, 28_000)[i % 2])
    estimate = watched.estimator.estimate(watched.now_s)
    rested, streaming = (estimate.transfer_s(IMAGE, "up", idle_s) for idle_s in (1.0, 0.0))
    assert rested is not None
    assert streaming is not None
    assert rested.p50 == pytest.approx(0.080, rel=0.1)
    assert streaming.p50 == pytest.approx(0.150, rel=0.1)


def test_slow_start_after_idle_is_learned_and_kept_apart() -> None:
    trace = steps("flat", (60.0, 20e6))
    world = World(trace, LinkShape(delay_s=0.01, slow_start=True), LoadTrace())
    estimator = LinkEstimator()
    estimator.on_up(0.0)
    now_s = 1.0
    for i in range(30):
        estimator.on_ping(now_s, 0.02)
        transfer = world.seen(world.cross(now_s, 3 * IMAGE), "data")
        now_s = transfer.ended_s
        estimator.on_transfer(now_s, transfer)
        now_s += 1.0 if i % 2 else 0.05
    estimate = estimator.estimate(now_s)
    assert estimate.idle_factor > 1.5
    truth = SimulatedLink(trace, LinkShape(delay_s=0.01))
    cold_s = truth.arrivals(5.0, (3 * IMAGE,))[0] - 5.0 - 0.01
    cold, warm = (estimate.transfer_s(3 * IMAGE, "up", idle_s) for idle_s in (1.0, 0.05))
    assert cold is not None
    assert warm is not None
    assert cold.p50 == pytest.approx(cold_s, rel=0.15)
    assert warm.p50 == pytest.approx(3 * IMAGE / 20e6, rel=0.15)


@pytest.mark.parametrize(("rate", "delay_s"), [(10e6, 0.01), (4e6, 0.025), (2e6, 0.02)])
@pytest.mark.parametrize("n_bytes", [60_000, IMAGE, 8 * IMAGE])
def test_waits_for_acknowledgements_are_not_the_links(rate: float, delay_s: float, n_bytes: int) -> None:
    world = World(steps("flat", (60.0, rate)), LinkShape(delay_s=delay_s), LoadTrace())
    arrivals = world.seen(world.cross(1.0, n_bytes), "data").arrivals
    told, untold = read_rate(arrivals, rtt_s=2.0 * delay_s), read_rate(arrivals)
    assert untold is not None
    # Of a long train they are a small part; two windows in two lumps say nothing of what is between them.
    assert untold.rate_bytes_per_s < 0.95 * rate or n_bytes > IMAGE
    assert told is None or told.rate_bytes_per_s == pytest.approx(rate, rel=0.2)


@pytest.mark.parametrize("rtt_s", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("rate", [1e6, 5e6, 20e6])
def test_a_bucket_that_runs_empty_is_no_wait(rate: float, rtt_s: float) -> None:
    link = FluidLink(rate, rtt_s, burst=70_000, jitter_s=0.0)
    reading = read_rate(link.train(chunks(2 * IMAGE), 0.0).arrivals, rtt_s=rtt_s)
    assert reading is not None
    assert reading.rate_bytes_per_s == pytest.approx(rate, rel=0.1)


def test_after_a_doubt_one_reading_moves_the_level() -> None:
    watched = Watched(FluidLink(6e6))
    for _ in range(12):
        watched.send(IMAGE)
    watched.link = FluidLink(1e5)
    watched.send(20_000)
    assert watched.rate() > 1e6  # an accident, for all that is known
    watched = Watched(FluidLink(6e6))
    for _ in range(12):
        watched.send(IMAGE)
    watched.estimator.on_probe_failed(watched.now_s)
    watched.link = FluidLink(1e5)
    watched.send(20_000)
    assert watched.rate() == pytest.approx(1e5, rel=0.1)


def test_a_wrong_round_trip_cancels_out_of_predictions() -> None:
    link = FluidLink(10e6, rtt_s=0.02, jitter_s=0.0)
    estimator, now_s = LinkEstimator(), 1.0
    estimator.on_up(now_s)
    estimator.on_ping(now_s, 0.15)  # it waited behind somebody else's bytes
    for i in range(20):
        n_bytes = 8 * IMAGE if i % 2 else IMAGE
        estimate = estimator.estimate(now_s)
        transfer = link.train(chunks(n_bytes), now_s, idle_s=0.1)
        predicted = estimate.transfer_s(n_bytes, "up", 0.1)
        if i > 8:
            assert predicted is not None
            assert estimate.rtt_s is not None
            assert estimate.rtt_s.p50 + predicted.p50 == pytest.approx(transfer.elapsed_s, rel=0.03)
        now_s = transfer.ended_s
        estimator.on_transfer(now_s, transfer)
        now_s += 0.1


def test_a_failed_probe_means_unknown_until_the_next_reading() -> None:
    watched = Watched(FluidLink(5e6))
    watched.send(IMAGE)
    assert watched.estimator.estimate(watched.now_s).state == "up"
    watched.estimator.on_probe_failed(watched.now_s)
    unknown = watched.estimator.estimate(watched.now_s)
    assert (unknown.state, unknown.up, unknown.transfer_s(1000, "up")) == ("unknown", None, None)
    watched.send(IMAGE)
    assert watched.estimator.estimate(watched.now_s).state == "up"


def test_silence_makes_suspect_and_the_session_makes_down() -> None:
    watched = Watched(FluidLink(5e6))
    watched.send(IMAGE)
    assert watched.estimator.estimate(watched.now_s + 5.0).state == "suspect"
    watched.estimator.on_down(watched.now_s)
    assert watched.estimator.estimate(watched.now_s).state == "down"
    watched.estimator.on_up(watched.now_s + 1.0)
    assert watched.estimator.estimate(watched.now_s + 1.0).state == "unknown"


def test_bounds_hold_most_of_what_happens_and_widen_with_age() -> None:
    watched = Watched(FluidLink(5e6, jitter_s=1e-3))
    inside = []
    for i in range(60):
        predicted = watched.estimator.estimate(watched.now_s).transfer_s(IMAGE, "up", watched.idle_s)
        start_s = watched.now_s
        watched.send(IMAGE)
        if i > 20 and predicted is not None:
            took_s = watched.now_s - watched.idle_s - start_s - watched.link.rtt_s
            inside.append(predicted.p10 - 1e-3 <= took_s <= predicted.p90 + 1e-3)
    assert sum(inside) / len(inside) > 0.7
    young, old = (watched.estimator.estimate(watched.now_s + age).up for age in (0.0, 60.0))
    assert young is not None
    assert old is not None
    assert old.p90 / old.p10 > young.p90 / young.p10


def test_the_downlink_is_another_link() -> None:
    watched = Watched(FluidLink(5e6))
    watched.send(IMAGE)
    fast = FluidLink(50e6).train(chunks(8 * IMAGE), watched.now_s)
    watched.estimator.on_transfer(watched.now_s, replace(fast, direction="down"))
    estimate = watched.estimator.estimate(watched.now_s)
    assert estimate.up is not None
    assert estimate.down is not None
    assert estimate.up.p50 == pytest.approx(5e6, rel=0.1)
    assert estimate.down.p50 == pytest.approx(50e6, rel=0.2)


def test_the_robust_line_ignores_a_third_of_outliers() -> None:
    line = TheilSen()
    for i in range(12):
        size = 100_000 * (1 + i % 4)
        line.add(size, 0.02 + size / 2e6 + (3.0 if i in {1, 6, 11} else 0.0))
    fit = line.fit()
    assert fit is not None
    assert 1.0 / fit.seconds_per_byte == pytest.approx(2e6, rel=0.05)
    assert fit.offset_s == pytest.approx(0.02, abs=0.01)


def test_sizes_that_are_alike_give_no_line() -> None:
    line = TheilSen()
    for i in range(12):
        line.add(100_000 + i, 0.05)
    assert line.fit() is None


def test_the_cheap_rate_is_the_estimate_s_while_arrivals_predict_best() -> None:
    watched = Watched(FluidLink(1e6))
    assert watched.estimator.uplink_rate(watched.now_s) is None
    for _ in range(20):
        watched.send(IMAGE)
    estimate = watched.estimator.estimate(watched.now_s)
    assert estimate.method == "dispersion"
    assert watched.estimator.uplink_rate(watched.now_s) == watched.rate()


def test_the_cheap_rate_is_unknown_when_the_estimate_s_is() -> None:
    watched = Watched(FluidLink(1e6))
    watched.send(IMAGE)
    watched.estimator.on_probe_failed(watched.now_s)
    assert watched.estimator.uplink_rate(watched.now_s) is None
    watched.send(IMAGE)
    assert watched.estimator.uplink_rate(watched.now_s) is not None
    watched.estimator.on_down(watched.now_s)
    assert watched.estimator.uplink_rate(watched.now_s) is None
