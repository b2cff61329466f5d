"""The lab's links do what they are asked: rate, delay, loss, outage and trace, measured from outside."""

from __future__ import annotations

import statistics
import time

import pytest

from tests.lab.links import BURST_BYTES, TunLink, VethLink
from tests.lab.netns import CONGESTION_CONTROL
from tests.lab.shaper import Conditions
from tests.lab.traffic import (
    TCP_SHARE_OF_ETHERNET,
    TCP_SHARE_OF_IP,
    delivered,
    round_trips_s,
    tcp_stream,
    tcp_transfer,
)

MB = 1e6
A_FEW_PERCENT = 0.05
PAST_BURST_BYTES = 4 * BURST_BYTES  # the bucket's burst and the start of TCP


@pytest.mark.parametrize("rate", [0.5 * MB, 5 * MB, 50 * MB])
def test_a_veth_link_carries_its_rate_in_both_directions(veth_link: VethLink, rate: float) -> None:
    veth_link.set_rates(up_bytes_per_s=rate, down_bytes_per_s=rate / 2)
    up = tcp_transfer(veth_link.device, veth_link.server, round(rate * 0.6 + PAST_BURST_BYTES))
    down = tcp_transfer(veth_link.server, veth_link.device, round(rate * 0.3 + PAST_BURST_BYTES))
    expected = rate * TCP_SHARE_OF_ETHERNET
    assert up.rate_bytes_per_s(PAST_BURST_BYTES) == pytest.approx(expected, rel=A_FEW_PERCENT)
    assert down.rate_bytes_per_s(PAST_BURST_BYTES) == pytest.approx(expected / 2, rel=A_FEW_PERCENT)


def test_a_veth_link_changes_its_rate_in_mid_transfer(veth_link: VethLink) -> None:
    veth_link.set_rates(10 * MB, 10 * MB)
    with tcp_stream(veth_link.device, veth_link.server, round(7 * MB)) as arrivals:
        time.sleep(0.5)
        veth_link.set_rates(2 * MB, 2 * MB)
        changed_s = time.monotonic()
    before = arrivals.bytes_between(changed_s - 0.3, changed_s - 0.1) / 0.2
    after = arrivals.bytes_between(changed_s + 0.3, changed_s + 0.8) / 0.5
    assert before == pytest.approx(10 * MB * TCP_SHARE_OF_ETHERNET, rel=0.2)
    assert after == pytest.approx(2 * MB * TCP_SHARE_OF_ETHERNET, rel=0.2)


@pytest.mark.parametrize("rate", [0.5 * MB, 5 * MB])
def test_a_tun_link_carries_its_rate_in_both_directions(tun_link: TunLink, rate: float) -> None:
    tun_link.set(up=Conditions(rate_bytes_per_s=rate), down=Conditions(rate_bytes_per_s=rate / 2))
    up = tcp_transfer(tun_link.device, tun_link.server, round(rate))
    down = tcp_transfer(tun_link.server, tun_link.device, round(rate / 2))
    expected = rate * TCP_SHARE_OF_IP
    assert up.rate_bytes_per_s(round(rate / 10)) == pytest.approx(expected, rel=A_FEW_PERCENT)
    assert down.rate_bytes_per_s(round(rate / 20)) == pytest.approx(expected / 2, rel=A_FEW_PERCENT)


def test_a_tun_link_delays_each_direction(tun_link: TunLink) -> None:
    tun_link.set(up=Conditions(delay_s=0.030), down=Conditions(delay_s=0.010))
    assert statistics.median(round_trips_s(tun_link.device, tun_link.server, 20)) == pytest.approx(0.040, abs=0.004)


def test_a_tun_link_without_conditions_adds_almost_nothing(tun_link: TunLink) -> None:
    assert statistics.median(round_trips_s(tun_link.device, tun_link.server, 50)) < 0.004


def test_a_tun_link_loses_the_share_it_is_told_to(tun_link: TunLink) -> None:
    tun_link.set(up=Conditions(loss=0.1), down=Conditions())
    assert delivered(tun_link.device, tun_link.server, 2000) == pytest.approx(1800, abs=55)  # four deviations
    assert delivered(tun_link.server, tun_link.device, 500) == 500


def test_a_black_hole_delivers_nothing_until_it_ends(tun_link: TunLink) -> None:
    tun_link.set(Conditions(loss=1.0))
    assert delivered(tun_link.device, tun_link.server, 50) == 0
    tun_link.set(Conditions())
    assert delivered(tun_link.device, tun_link.server, 50) == 50


def test_a_transfer_survives_an_outage(tun_link: TunLink) -> None:
    tun_link.set(Conditions(rate_bytes_per_s=2 * MB))
    with tcp_stream(tun_link.device, tun_link.server, round(2 * MB)) as arrivals:
        time.sleep(0.3)
        tun_link.set(Conditions(rate_bytes_per_s=0))
        outage_s = time.monotonic()
        time.sleep(0.4)
        tun_link.set(Conditions(rate_bytes_per_s=2 * MB))
    assert arrivals.bytes_between(outage_s + 0.02, outage_s + 0.4) == 0


def test_a_tun_link_follows_a_trace(tun_link: TunLink) -> None:
    steps = ((0.0, 1 * MB), (1.0, 4 * MB), (2.0, 0.0), (2.5, 2 * MB))
    start_s = time.monotonic()
    tun_link.set(Conditions(trace=steps))
    with tcp_stream(tun_link.device, tun_link.server, round(7 * MB)) as arrivals:
        pass
    share = TCP_SHARE_OF_IP
    assert arrivals.bytes_between(start_s + 0.4, start_s + 1.0) == pytest.approx(0.6 * MB * share, rel=0.1)
    assert arrivals.bytes_between(start_s + 1.2, start_s + 2.0) == pytest.approx(3.2 * MB * share, rel=0.1)
    assert arrivals.bytes_between(start_s + 2.1, start_s + 2.5) == 0
    assert arrivals.bytes_between(start_s + 2.7, start_s + 3.2) == pytest.approx(1 * MB * share, rel=0.1)


def test_the_lab_does_not_inherit_the_hosts_congestion_control(veth_link: VethLink) -> None:
    assert veth_link.device.run("sysctl", "-n", "net.ipv4.tcp_congestion_control").strip() == CONGESTION_CONTROL
