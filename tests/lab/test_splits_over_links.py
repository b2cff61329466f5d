"""Both daemons over a real link between two namespaces, with keys: estimate, choice and faults as the link changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitd.agent.client.client import Client, Result
from splitd.agent.client.documents import AgentStatus, LinkDocument
from splitd.transport.wire.keys import generate_keys, load_public
from tests.lab import links
from tests.lab.links import SERVER_ADDRESS, TunLink
from tests.lab.shaper import Conditions
from tests.lab.traffic import TCP_SHARE_OF_IP
from tests.support.daemons import Pair, eventually

BATCH = 4
IMAGES = np.random.default_rng(0).integers(0, 256, (BATCH, 64, 64, 3), np.uint8)
ADDRESS = f"tcp://{SERVER_ADDRESS}:7571"
DEADLINE_S = 10.0  # a slowed-down device makes twenty of every second that others take from it
SETTLED = 8  # the same kind of answer so many times in a row
MB = 1e6
FAST = Conditions(rate_bytes_per_s=20 * MB, delay_s=0.001)
SLOW = Conditions(rate_bytes_per_s=0.05 * MB, delay_s=0.02)
BLACK_HOLE = Conditions(loss=1.0)


@dataclass(frozen=True)
class Lab:
    """The link, and the daemons at its ends."""

    link: TunLink
    pair: Pair

    def pin(self, cut: str) -> None:
        self.pair.agent.control.post("pin", cut=cut)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The agent in the one namespace, the server in the other, on a fast link; the device is slow."""
    home = tmp_path_factory.mktemp("lab")
    with links.tun_link() as link:
        link.set(FAST)
        pair = Pair(home, agent=agent_changes(home), server=server_changes(home))
        try:
            pair.server.start(*link.server.command())
            pair.agent.start(*link.device.command())
            pair.server.wait("ready")
            pair.agent.wait("ready")
            yield Lab(link, pair)
        finally:
            pair.stop()


@pytest.fixture
def lab(started: Lab) -> Lab:
    """The started daemons, whatever the test before did: the link fast, its rate known, the choice free."""
    started.link.set(FAST)
    started.pair.agent.control.post("unpin")
    started.pair.agent.wait("ready")
    started.pair.wait_link()
    return started


def server_changes(home: Path) -> dict[str, Any]:
    """What the server's configuration has for this lab: its address in the namespace, and keys."""
    (home / "devices").write_text(public_key(home, "device") + "\n")
    public_key(home, "server")
    keys = {"secret_file": str(home / "server.key_secret"), "allow_file": str(home / "devices")}
    return {"bind": ADDRESS, "keys": keys}


def agent_changes(home: Path) -> dict[str, Any]:
    """What the agent's configuration has for this lab: the server's address, keys, and a slow device."""
    keys = {"secret_file": str(home / "device.key_secret"), "peer_public_key": public_key(home, "server")}
    return {
        "server": {"address": ADDRESS},
        "keys": keys,
        "device": {"threads": 1, "throttle": 0.05},
        "calibration": {"batch_sizes": [BATCH], "repeats": 3, "state_dir": str(home)},
    }


def public_key(home: Path, name: str) -> str:
    """The public key of one end, made if there is none yet."""
    public = home / f"{name}.key"
    if not public.exists():
        generate_keys(home, name)
    return load_public(public).decode()


def infer(client: Client) -> Result:
    return client.infer(IMAGES, deadline_s=DEADLINE_S)


def settle(client: Client, *, on_server: bool, within_s: float = 30.0) -> list[Result]:
    """Ask until SETTLED answers in a row were made with the server's help, or all of them without; return those."""
    row: list[Result] = []

    def settled() -> bool:
        result = infer(client)
        row[:] = [*row, result] if (result.source == "server") == on_server else []
        return len(row) == SETTLED

    eventually(settled, within_s=within_s, what=f"{SETTLED} answers with on_server={on_server}")
    return row


def test_the_split_moves_with_the_link_and_no_answer_is_lost(lab: Lab) -> None:
    with lab.pair.client() as client:
        fast = settle(client, on_server=True)
        lab.link.set(SLOW)
        crossing_s = IMAGES.nbytes / SLOW.rate_bytes_per_s
        eventually(lambda: infer(client).split != fast[-1].split, within_s=30, what="another split")
        slow = [infer(client) for _ in range(SETTLED)]
        assert sorted(result.timings["total"] for result in slow)[SETTLED // 2] < crossing_s
        lab.link.set(BLACK_HOLE)
        settle(client, on_server=False)
        lab.link.set(FAST)
        again = settle(client, on_server=True, within_s=60)
    assert again[-1].split == fast[-1].split
    counters = lab.pair.agent.control.get(AgentStatus).counters
    assert counters.failed == counters.expired == 0
    assert counters.answered == counters.accepted


def test_a_black_hole_in_mid_batch_still_gives_an_answer_in_time(lab: Lab) -> None:
    lab.pin("input")
    with lab.pair.client() as client:
        settle(client, on_server=True)
        lab.link.set(BLACK_HOLE)
        start_s = time.monotonic()
        result = infer(client)
        assert result.source == "finished-locally"
        assert time.monotonic() - start_s < DEADLINE_S
        eventually(lambda: lab.pair.agent.state() == "degraded", within_s=15, what="the agent noticing")


@pytest.mark.parametrize("rate", [0.5 * MB, 2 * MB, 8 * MB])
def test_the_estimated_rate_is_the_links(lab: Lab, rate: float) -> None:
    lab.link.set(Conditions(rate_bytes_per_s=rate, delay_s=0.005))
    lab.pin("input")
    expected = rate * TCP_SHARE_OF_IP
    with lab.pair.client() as client:

        def near() -> bool:
            infer(client)
            estimate = lab.pair.agent.control.get(LinkDocument).up_bytes_per_s
            return estimate is not None and estimate.p50 == pytest.approx(expected, rel=0.1)

        eventually(near, within_s=20, what=f"an estimate within 10 % of {expected:.3g} bytes/s")
