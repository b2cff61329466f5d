"""The links whose figures docs/method.md states: what runs over them, live in the lab or recorded.

python -m tests.lab.figures DIRECTORY     records each of them anew (as root)
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from tests.lab import links
from tests.lab.link_ends import Driver, Sent, both_ends
from tests.lab.links import SERVER_ADDRESS
from tests.lab.shaper import QUEUE_BYTES, Conditions

MB = 1e6
IMAGE = 150_000
ADDRESS = f"tcp://{SERVER_ADDRESS}:7583"
WARM_UP = 12  # transfers in which burst, overhead and rate are learned
TRANSFERS = WARM_UP + 32
PAUSE_S = 0.1
STEP_AFTER, STEP_TRANSFERS, STEP_PAUSE_S = 10, 3, 0.05
MEDIAN_ERROR, P90_ERROR = 0.03, 0.10
_PACKETS_BY_THE_RELAY = 20 * MB  # above, it needs lumps of them


@dataclass(frozen=True)
class Stable:
    """A link of one rate; the sizes sent over it alternate between two numbers of images.

    With a round trip of 0 it is a veth pair with a token bucket (under 1 ms), else a relay.
    """

    rate_bytes_per_s: float
    rtt_s: float = 0.0
    images: tuple[int, int] = (8, 1)
    times_better: float = 5.0
    """How many times less the error must be than that of an average of D/T."""

    @property
    def name(self) -> str:
        """Rate and round trip."""
        return f"{self.rate_bytes_per_s / MB:g}MBps-{max(1.0, self.rtt_s * 1e3):g}ms"

    @contextlib.contextmanager
    def driver(self) -> Iterator[Driver]:
        """Open the link and run both ends on it."""
        if self.rtt_s == 0.0:
            with links.veth_link() as veth:
                veth.set_rates(self.rate_bytes_per_s, self.rate_bytes_per_s)
                with both_ends(veth.server.command(), veth.device.command(), ADDRESS) as driver:
                    yield driver
            return
        with links.tun_link(offload=self.rate_bytes_per_s > _PACKETS_BY_THE_RELAY) as tun:
            queue_bytes = max(QUEUE_BYTES, round(self.rate_bytes_per_s * self.rtt_s))  # what the pipe holds, once more
            tun.set(Conditions(self.rate_bytes_per_s, delay_s=self.rtt_s / 2.0, queue_bytes=queue_bytes))
            with both_ends(tun.server.command(), tun.device.command(), ADDRESS) as driver:
                yield driver

    def send(self, driver: Driver) -> list[Sent]:
        """Send all transfers."""
        return driver.send(*[self.images[i % 2] * IMAGE for i in range(TRANSFERS)], pause_s=PAUSE_S)


# At 50 MB/s 150 KB take 2 ms, of which a Python process's wake-up is a tenth: larger transfers tell more of the link,
# but far above the burst they flatter the average: what D/T gets wrong is the offset.
STABLE = (
    Stable(1 * MB, images=(2, 1)),
    Stable(10 * MB),
    Stable(50 * MB, images=(16, 2), times_better=2.0),
    Stable(1 * MB, 0.02, images=(2, 1)),
    Stable(10 * MB, 0.02),
    Stable(50 * MB, 0.02),
)
STEPS = ((10 * MB, 3 * MB), (3 * MB, 20 * MB))


@contextlib.contextmanager
def stepped(before: float, after: float) -> Iterator[Driver]:
    """Run both ends over a link whose rate has changed just before the last few transfers."""
    with links.veth_link() as veth:
        veth.set_rates(before, before)
        with both_ends(veth.server.command(), veth.device.command(), ADDRESS) as driver:
            driver.send(*[8 * IMAGE] * STEP_AFTER, pause_s=STEP_PAUSE_S)
            veth.set_rates(after, after)
            driver.send(*[8 * IMAGE] * STEP_TRANSFERS, pause_s=STEP_PAUSE_S)
            yield driver


def step_name(before: float, after: float) -> str:
    """Return the name of a step's recording."""
    return f"step-{before / MB:g}-to-{after / MB:g}MBps"


def described(errors: list[float], averaged: list[float]) -> str:
    """Return the figures of one link as a line."""
    times = median(averaged) / median(errors)
    share = f"average of D/T {median(averaged):.2%}, {times:.1f} times as much"
    return f"predicted network time off by: median {median(errors):.2%}, p90 {np.quantile(errors, 0.9):.2%}; {share}"


def average_errors(sent: list[tuple[int, float]]) -> list[float]:
    """Return how far off an exponentially weighted average of D/T is on the same (bytes, seconds)."""
    rate, found = sent[0][0] / sent[0][1], []
    for n_bytes, measured_s in sent[1:]:
        found.append(abs(n_bytes / rate - measured_s) / measured_s)
        rate += 0.3 * (n_bytes / measured_s - rate)
    return found


def main(directory: Path) -> None:
    """Record every link."""
    directory.mkdir(parents=True, exist_ok=True)
    for stable in STABLE:
        with stable.driver() as driver:
            stable.send(driver)
            driver.save(directory / f"{stable.name}.json.gz")
    for before, after in STEPS:
        with stepped(before, after) as driver:
            driver.save(directory / f"{step_name(before, after)}.json.gz")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
