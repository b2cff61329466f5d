"""How good the link estimate is on real links between real processes: the figures that docs/method.md promises.

They are times of a machine that may be busy with other things, so the suite only holds the estimate to be sound. With
`--benchmark-enable`, on a quiet machine, the promised figures themselves are required.
"""

from __future__ import annotations

import sys
import time
from statistics import mean, median

import numpy as np
import pytest

from splitd.agent.simulation.link import LinkShape
from splitd.agent.simulation.traces import LoadTrace, steps
from splitd.agent.simulation.world import World
from tests.lab import figures
from tests.lab.figures import ADDRESS, IMAGE, MB, MEDIAN_ERROR, P90_ERROR, WARM_UP, Stable
from tests.lab.link_ends import both_ends
from tests.lab.links import TunLink, VethLink
from tests.lab.netns import INTERFACE, Namespace
from tests.lab.shaper import Conditions
from tests.lab.traffic import TCP_SHARE_OF_ETHERNET, TCP_SHARE_OF_IP

SOUND_ERROR = 0.25  # of the median: what is off by more does not follow the link


@pytest.fixture
def strict(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--benchmark-enable"))


@pytest.mark.parametrize("link", figures.STABLE, ids=lambda link: link.name)
def test_predictions_on_a_stable_link(link: Stable, *, strict: bool) -> None:
    with link.driver() as driver:
        sent = link.send(driver)[WARM_UP:]
    errors = [abs(s.predicted_s - s.measured_s) / s.measured_s for s in sent if s.predicted_s is not None]
    averaged = figures.average_errors([(s.n_bytes, s.measured_s) for s in sent])
    assert len(errors) == len(sent)
    sys.stderr.write(f"{link.name}: {figures.described(errors, averaged)}\n")
    assert median(errors) <= (MEDIAN_ERROR if strict else SOUND_ERROR)
    if strict:
        assert float(np.quantile(errors, 0.9)) <= P90_ERROR
        assert median(averaged) >= link.times_better * median(errors)


@pytest.mark.parametrize(("before", "after"), figures.STEPS)
def test_a_step_of_the_rate_is_followed_within_three_transfers(before: float, after: float, *, strict: bool) -> None:
    with figures.stepped(before, after) as driver:
        rate = driver.ask()["rate"]
    assert rate == pytest.approx(after * TCP_SHARE_OF_ETHERNET, rel=0.1 if strict else SOUND_ERROR)


def test_probes_of_an_idle_link_take_at_most_one_percent(veth_link: VethLink) -> None:
    rate, watched_s = 10 * MB, 20.0
    veth_link.set_rates(rate, rate)
    with both_ends(veth_link.server.command(), veth_link.device.command(), ADDRESS) as driver:
        time.sleep(5.0)  # the first probes have a budget of their own
        before, started_s = sent_bytes(veth_link.device), time.monotonic()
        time.sleep(watched_s)
        sent, elapsed_s = sent_bytes(veth_link.device) - before, time.monotonic() - started_s
        assert driver.ask()["state"] == "up"
    assert sent <= 0.01 * rate * elapsed_s


def test_the_simulated_link_takes_the_time_of_the_real_one(tun_link: TunLink, *, strict: bool) -> None:
    levels = [(2.0, rate) for rate in (2 * MB, 0.5 * MB, 4 * MB, 1 * MB)]
    sizes, pause_s = [2 * IMAGE] * 30, 0.05
    tun_link.set(Conditions(rate_bytes_per_s=levels[0][1], delay_s=0.01))
    with both_ends(tun_link.server.command(), tun_link.device.command(), ADDRESS) as driver:
        driver.send(2 * IMAGE, pause_s=0.0)
        laps = [rate for _ in range(3) for _, rate in levels]
        starts = [(2.0 * i, rate) for i, rate in enumerate(laps)]
        tun_link.set(Conditions(trace=tuple(starts), delay_s=0.01))
        real_s = mean(one.measured_s for one in driver.send(*sizes, pause_s=pause_s))
    goodput = [(seconds, rate * TCP_SHARE_OF_IP) for seconds, rate in levels]
    world, now_s, simulated = World(steps("steps", *goodput), LinkShape(delay_s=0.01), LoadTrace()), 0.0, []
    for n_bytes in sizes:
        transfer = world.seen(world.cross(now_s + pause_s, n_bytes), "data")
        simulated.append(transfer.elapsed_s)
        now_s = transfer.ended_s
    assert mean(simulated) == pytest.approx(real_s, rel=0.1 if strict else SOUND_ERROR)


def sent_bytes(end: Namespace) -> int:
    return int(end.run("cat", f"/sys/class/net/{INTERFACE}/statistics/tx_bytes"))
