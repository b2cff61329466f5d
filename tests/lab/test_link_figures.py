"""How good the link estimate is on real links between real processes: the figures that docs/method.md promises.

They are times of a machine that may be busy with other things, so the suite only holds the estimate to be sound. With
`--benchmark-enable`, on a quiet machine, the promised figures themselves are required.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from statistics import mean, median

import numpy as np
import pytest

from splitd.agent.simulation.link import LinkShape
from splitd.agent.simulation.traces import LoadTrace
from splitd.agent.simulation.world import World
from splitd.agent.traces import steps
from tests.lab.link_ends import Sent, both_ends
from tests.lab.links import SERVER_ADDRESS, TunLink, VethLink
from tests.lab.netns import INTERFACE, Namespace
from tests.lab.shaper import Conditions
from tests.lab.traffic import TCP_SHARE_OF_ETHERNET, TCP_SHARE_OF_IP

MB = 1e6
IMAGE = 150_000
ADDRESS = f"tcp://{SERVER_ADDRESS}:7583"
MEDIAN_ERROR, P90_ERROR = 0.03, 0.10
SOUND_ERROR = 0.25  # of the median: what is off by more does not follow the link
WARM_UP = 12  # transfers in which burst, overhead and rate are learned
STEP_TRANSFERS = 3


def errors(sent: Sequence[Sent]) -> list[float]:
    return [abs(s.predicted_s - s.measured_s) / s.measured_s for s in sent if s.predicted_s is not None]


def naive_errors(sent: Sequence[Sent]) -> list[float]:
    """Errors of an exponentially weighted average of D/T on the same transfers."""
    rate, found = sent[0].n_bytes / sent[0].measured_s, []
    for one in sent[1:]:
        found.append(abs(one.n_bytes / rate - one.measured_s) / one.measured_s)
        rate += 0.3 * (one.n_bytes / one.measured_s - rate)
    return found


def check(device: Sequence[str], server: Sequence[str], images: tuple[int, int] = (8, 1), *, strict: bool) -> None:
    with both_ends([*server], [*device], ADDRESS) as driver:
        sent = driver.send(*[images[i % 2] * IMAGE for i in range(44)], pause_s=0.1)[WARM_UP:]
    ours, naive = errors(sent), naive_errors(sent)
    assert len(ours) == len(sent)
    figures = f"median {median(ours):.2%}, p90 {np.quantile(ours, 0.9):.2%}, average of D/T {median(naive):.2%}"
    sys.stderr.write(f"predicted network time off by: {figures}\n")
    assert median(ours) <= SOUND_ERROR
    if not strict:
        return
    assert median(ours) <= MEDIAN_ERROR
    assert float(np.quantile(ours, 0.9)) <= P90_ERROR
    # Sizes that are all far above the burst flatter the average: what D/T gets wrong is the offset.
    assert median(naive) >= (5 if min(images) == 1 else 2) * median(ours)


@pytest.fixture
def strict(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--benchmark-enable"))


# At 50 MB/s one image takes 2.7 ms, of which a Python process's wake-up is a tenth: four and 32 of them say more.
@pytest.mark.parametrize(("rate", "images"), [(1 * MB, (8, 1)), (10 * MB, (8, 1)), (50 * MB, (32, 4))])
def test_predictions_on_a_stable_link_without_delay(
    veth_link: VethLink, rate: float, images: tuple[int, int], *, strict: bool
) -> None:
    veth_link.set_rates(rate, rate)
    check(veth_link.device.command(), veth_link.server.command(), images, strict=strict)


@pytest.mark.parametrize("rate", [1 * MB, 10 * MB])
def test_predictions_on_a_stable_link_with_twenty_milliseconds(tun_link: TunLink, rate: float, *, strict: bool) -> None:
    tun_link.set(Conditions(rate_bytes_per_s=rate, delay_s=0.01))
    check(tun_link.device.command(), tun_link.server.command(), strict=strict)


@pytest.mark.parametrize(("before", "after"), [(10 * MB, 3 * MB), (3 * MB, 20 * MB)])
def test_a_step_of_the_rate_is_followed_within_three_transfers(
    veth_link: VethLink, before: float, after: float, *, strict: bool
) -> None:
    veth_link.set_rates(before, before)
    with both_ends(veth_link.server.command(), veth_link.device.command(), ADDRESS) as driver:
        driver.send(*[8 * IMAGE] * 10, pause_s=0.05)
        veth_link.set_rates(after, after)
        driver.send(*[8 * IMAGE] * STEP_TRANSFERS, pause_s=0.05)
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
