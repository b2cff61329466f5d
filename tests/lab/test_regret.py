"""How far the daemons are from hindsight on a real shaped link: the regret that docs/method.md states.

The oracle is modelled: it knows the link's true rate in advance, never suffers TCP's slow start, and takes for every
batch the candidate that is soonest by the calibrated times of both ends and their speed at that moment. What the
daemons took is measured, from the moment the agent had a batch to its answer; preparing the image, which no choice
avoids, is added to the oracle's time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

import pytest
import yaml

from splitd.agent.client.documents import Explanation, HistoryDocument
from splitd.agent.simulation.link import LinkShape
from splitd.agent.simulation.replay import costs_of
from splitd.agent.simulation.traces import LoadTrace, Trace, steps
from splitd.agent.simulation.world import World
from splitd.calibration.images.samples import generated_images
from splitd.calibration.profile.pair import load_pair
from tests.lab import links
from tests.lab.links import TunLink
from tests.lab.shaper import Conditions
from tests.lab.test_splits_over_links import agent_changes, server_changes
from tests.lab.traffic import TCP_SHARE_OF_IP
from tests.support.daemons import Pair

MB = 1e6
DELAY_S = 0.01
LEVELS = (2 * MB, 0.3 * MB, 6 * MB, 0.06 * MB, 1 * MB, 0.2 * MB)
LEVEL_S, INTERVAL_S = 6.0, 0.3
MODEL = {"name": "efficientnet_b0", "weights": "random:0"}
REGRET, SOUND_REGRET = 0.08, 0.3


class Batch(NamedTuple):
    """One answer: when it was asked for, seconds since the trace began; seconds it took; what was chosen; speeds."""

    start_s: float
    took_s: float
    prepare_s: float
    split: str
    codec: str
    k_dev: float
    k_srv: float


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pair, TunLink]]:
    """An agent that is a sixth as fast as its server, and the link between them."""
    home = tmp_path_factory.mktemp("regret")
    calibration = {"batch_sizes": [1], "repeats": 9, "state_dir": str(home)}
    common = {"model": MODEL, "calibration": calibration}
    device = {"threads": 1, "throttle": 0.17}
    with links.tun_link() as link:
        link.set(Conditions(LEVELS[0], delay_s=DELAY_S))
        made = Pair(
            home,
            agent={**agent_changes(home), **common, "device": device},
            server={**server_changes(home), **common},
        )
        try:
            for daemon, end in ((made.server, link.server), (made.agent, link.device)):
                daemon.start(*end.command())
                daemon.wait("ready")  # one after the other: each is measured on a machine of its own
            made.wait_link()
            yield made, link
        finally:
            made.stop()


@pytest.mark.parametrize("privacy", [False, True], ids=["image may leave", "privacy"])
def test_the_daemons_come_close_to_hindsight(
    lab: tuple[Pair, TunLink], request: pytest.FixtureRequest, *, privacy: bool
) -> None:
    strict = bool(request.config.getoption("--benchmark-enable"))
    pair, link = lab
    pair.agent.path.write_text(yaml.safe_dump({**pair.agent.config, "planner": {"privacy": privacy}}))
    pair.agent.control.post("reload")
    batches = feed(pair, link, steps("steps", *((LEVEL_S, rate) for rate in LEVELS)))
    oracle_s = list(hindsight(pair, batches, privacy=privacy))
    regrets = [batch.took_s / best_s - 1.0 for batch, best_s in zip(batches, oracle_s, strict=True)]
    chosen = {f"{batch.split}/{batch.codec}" for batch in batches}
    figures = f"median {median(regrets):.1%}, mean {mean(regrets):.1%} over {len(batches)} batches"
    sys.stderr.write(f"regret against the modelled oracle: {figures}; chosen: {', '.join(sorted(chosen))}\n")
    assert len(chosen) > 1
    assert not privacy or not any(batch.split == "input" for batch in batches)
    assert median(regrets) <= (REGRET if strict else SOUND_REGRET)


def feed(pair: Pair, link: TunLink, trace: Trace) -> list[Batch]:
    """Send one image every INTERVAL_S while the link follows the trace."""
    image = generated_images(1, 224, 224)  # the one that JPEG was calibrated with
    batches: list[Batch] = []
    with pair.client() as client:
        for _ in range(10):  # codecs and caches warm, the rate known
            client.infer(image)
        link.set(Conditions(trace=tuple(zip(trace.times_s, trace.rates_bytes_per_s, strict=True)), delay_s=DELAY_S))
        began_s = time.monotonic()
        while (start_s := time.monotonic() - began_s) < trace.duration_s:
            client.infer(image, deadline_s=20.0)
            (record,) = pair.agent.control.get(HistoryDocument, count=1).records
            speeds = pair.agent.control.get(Explanation)
            batches.append(
                Batch(
                    start_s,
                    took_s=record.measured_s,
                    prepare_s=record.timings["prepare"],
                    split=record.split,
                    codec=record.codec,
                    k_dev=speeds.k_dev.p50,
                    k_srv=speeds.k_srv.p50,
                )
            )
            time.sleep(max(0.0, INTERVAL_S - (time.monotonic() - began_s - start_s)))
    return batches


def hindsight(pair: Pair, batches: list[Batch], *, privacy: bool) -> Iterator[float]:
    """Yield what the best candidate would have taken of each batch."""
    (saved,) = Path(pair.agent.config["calibration"]["state_dir"]).glob("profile-pair-*.json")
    costs = costs_of(load_pair(saved), 1, privacy=privacy)
    payload = steps("payload", *((LEVEL_S, rate * TCP_SHARE_OF_IP) for rate in LEVELS))
    prepare_s = median(batch.prepare_s for batch in batches)
    for index, batch in enumerate(batches):
        own = [replace(cost, head_s=cost.head_s * batch.k_dev, encode_s=cost.encode_s * batch.k_dev) for cost in costs]
        load = LoadTrace(k_srv=(batch.k_srv,))
        world = World(payload, LinkShape(delay_s=DELAY_S, slow_start=False), load, noise=0.0)
        yield prepare_s + min(world.foretell(cost, index, batch.start_s + prepare_s) for cost in own)
