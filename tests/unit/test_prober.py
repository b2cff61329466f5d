"""When an idle link is probed, and that all probes together stay within their share."""

from __future__ import annotations

import pytest

from splitd.transport.estimate.link import LinkEstimator
from splitd.transport.estimate.prober import ProbeConfig, Prober
from tests.trains import FluidLink


class Idle:
    """An idle link under a prober: time passes in ticks, probes come back as the link has it."""

    def __init__(self, link: FluidLink, config: ProbeConfig | None = None) -> None:
        self.link, self.prober, self.estimator = link, Prober(config), LinkEstimator()
        self.estimator.on_up(0.0)
        self.now_s, self.quiet_from_s, self.sent = 0.0, 0.0, 0
        self.first_bytes = 0
        self.probes: list[float] = []

    def run(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += 0.05
            self.estimator.on_ping(self.now_s, self.link.rtt_s)
            estimate = self.estimator.estimate(self.now_s)
            plan = self.prober.due(self.now_s, estimate, self.now_s - self.quiet_from_s)
            if plan is None:
                continue
            train = self.link.train([plan.message_bytes] * plan.messages, self.now_s, kind="probe")
            self.sent += plan.n_bytes
            self.probes.append(self.now_s)
            self.now_s = self.quiet_from_s = train.ended_s
            self.estimator.on_transfer(self.now_s, train)
            self.prober.on_done(self.now_s, train, self.estimator.estimate(self.now_s))


@pytest.mark.parametrize("rate", [5e4, 1e6, 1e7, 1e8])
@pytest.mark.parametrize("burst", [0, 70_000])
def test_the_rate_of_an_idle_link_is_found_within_seconds(rate: float, burst: int) -> None:
    idle = Idle(FluidLink(rate, burst=burst))
    idle.run(5.0)
    up = idle.estimator.estimate(idle.now_s).up
    assert up is not None
    assert up.p50 == pytest.approx(rate, rel=0.25)


@pytest.mark.parametrize("rate", [5e4, 1e6, 1e8])
def test_probes_stay_below_one_percent_of_the_capacity(rate: float) -> None:
    idle = Idle(FluidLink(rate, burst=70_000))
    idle.run(10.0)
    at_start, idle.sent = idle.sent, 0
    assert at_start <= 800_000 + 0.01 * rate * 10.0 * 1.3
    idle.run(600.0)
    # What was saved up before may be spent now, on top of the share.
    assert idle.sent <= 0.01 * rate * 600.0 * 1.1 + 800_000
    assert len(idle.probes) > 10


def test_a_busy_link_is_never_probed() -> None:
    idle = Idle(FluidLink(1e6))
    for tick in range(1000):
        assert idle.prober.due(tick * 0.1, idle.estimator.estimate(tick * 0.1), quiet_s=0.0) is None


def test_calm_makes_probes_rarer_and_a_surprise_frequent() -> None:
    idle = Idle(FluidLink(1e7))
    idle.run(60.0)
    calm_s = idle.probes[-1] - idle.probes[-2]
    idle.link.rate = 3e6
    before = len(idle.probes)
    idle.run(20.0)
    gaps = [b - a for a, b in zip(idle.probes[before:], idle.probes[before + 1 :], strict=False)]
    assert min(gaps) < calm_s / 2
    up = idle.estimator.estimate(idle.now_s).up
    assert up is not None
    assert up.p50 == pytest.approx(3e6, rel=0.25)


def test_one_probe_at_a_time_and_a_lost_one_is_followed_by_a_small_one() -> None:
    idle = Idle(FluidLink(1e7))
    idle.run(5.0)
    now_s = idle.now_s + 20.0
    estimate = idle.estimator.estimate(now_s - 1.0)
    plan = idle.prober.due(now_s, estimate, 5.0)
    assert plan is not None
    assert idle.prober.due(now_s + 60.0, estimate, 60.0) is None
    idle.prober.on_failed(now_s + 60.0)
    idle.estimator.on_probe_failed(now_s + 60.0)
    again = idle.prober.due(now_s + 90.0, idle.estimator.estimate(now_s + 90.0), 30.0)
    assert again is not None
    assert again.n_bytes < 10_000 < plan.n_bytes


def test_no_share_no_probes() -> None:
    idle = Idle(FluidLink(1e6), ProbeConfig(share=0.0))
    idle.run(30.0)
    assert idle.sent == 0


def test_data_takes_the_place_of_probes_unless_it_leaves_the_rate_unknown() -> None:
    idle = Idle(FluidLink(1e6))
    idle.run(20.0)
    pauses = []
    for loses_the_rate in (False, True):
        idle.prober.on_data(idle.now_s)
        if loses_the_rate:
            idle.estimator.on_probe_failed(idle.now_s)
        data_s, count = idle.now_s, len(idle.probes)
        idle.run(4.0)
        pauses.append(idle.probes[count] - data_s)
    assert pauses[0] > 3.0
    assert pauses[1] < 1.5
