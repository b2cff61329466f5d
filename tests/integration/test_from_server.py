"""Real daemons: an agent with an address and a state directory gets its network from the server that runs it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitd.agent.client.documents import AgentStatus
from splitd.calibration.bundle import Bundle
from splitd.transport.wire.keys import generate_keys
from tests.support.daemons import ROOT, SPLITD, Pair, eventually
from tests.support.fetching import PATIENCE_S
from tests.support.small_bundle import write

IMAGE = np.random.default_rng(1).integers(0, 256, (4, 4, 3), np.uint8)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write(tmp_path / "small.splitd")


@pytest.fixture
def pair(tmp_path: Path, bundle: Bundle) -> Iterator[Pair]:
    made = Pair(tmp_path, server={"model": {"bundle": str(bundle.path)}}, agent=device(tmp_path))
    yield made
    made.stop()


def device(home: Path, **changes: Any) -> dict[str, Any]:
    state = {"batch_sizes": [1], "repeats": 3, "state_dir": str(home / "device")}
    return {"model": {"bundle": "from-server"}, "calibration": state, "accuracy": {}, **changes}


def fetched(home: Path) -> list[Path]:
    return list((home / "device" / "bundles").iterdir())


def test_a_device_needs_an_address_only_and_next_time_no_server(pair: Pair, bundle: Bundle, tmp_path: Path) -> None:
    pair.start()
    (path,) = fetched(tmp_path)
    assert path.read_bytes() == bundle.path.read_bytes()
    status = pair.agent.control.get(AgentStatus)
    assert status.model.digest == bundle.description.digest
    assert (status.model.name, status.model.weights) == ("small", "from-server")
    with pair.client() as client:
        before = client.infer([IMAGE])
    assert pair.agent.stop() == 0
    assert pair.server.stop() == 0
    pair.agent.start()
    pair.agent.wait("degraded")
    with pair.client() as client:
        alone = client.infer([IMAGE])
    assert alone.source == "local"
    np.testing.assert_allclose(alone.outputs[0], before.outputs[0], rtol=1e-5)
    assert "using the network of an earlier start" in pair.agent.log.read_text()
    assert "needs a restart" not in pair.agent.control.post("reload").message


def test_a_device_that_is_there_first_waits_says_for_what_and_stops_when_told(pair: Pair, tmp_path: Path) -> None:
    address = pair.agent.config["server"]["address"]
    pair.agent.start()
    pair.agent.wait("starting")
    eventually(
        lambda: pair.agent.control.status().state_text.startswith(f"asking {address} for its network: cannot connect"),
        what="the reason in status",
    )
    began_s = time.monotonic()
    assert pair.agent.stop() == 0
    assert time.monotonic() - began_s < 2.0
    pair.agent.start()
    pair.server.start()
    pair.agent.wait("ready")
    assert len(fetched(tmp_path)) == 1


def test_a_server_that_runs_from_a_model_has_nothing_to_give(tmp_path: Path) -> None:
    pair = Pair(tmp_path, agent=device(tmp_path))
    try:
        pair.server.start()
        pair.server.wait("ready")
        pair.agent.start()
        assert pair.agent.process is not None
        assert pair.agent.process.wait(PATIENCE_S) == 1
    finally:
        pair.stop()
    log = pair.agent.log.read_text()
    assert "refuses to give its network away (no-bundle)" in log
    assert "model.bundle: FILE" in log
    assert "Traceback" not in log


def test_with_keys_too_and_calibrate_gets_it_as_the_daemon_does(tmp_path: Path, bundle: Bundle) -> None:
    for name in ("server", "device"):
        generate_keys(tmp_path, name)
    allow = tmp_path / "allow"
    public = {name: public_key(tmp_path / f"{name}.key") for name in ("server", "device")}
    allow.write_text(f"{public['device']}\n")
    server = {
        "model": {"bundle": str(bundle.path)},
        "keys": {"secret_file": str(tmp_path / "server.key_secret"), "allow_file": str(allow)},
    }
    keys = {"secret_file": str(tmp_path / "device.key_secret"), "peer_public_key": public["server"]}
    pair = Pair(tmp_path, server=server, agent=device(tmp_path, keys=keys))
    try:
        pair.server.start()
        pair.server.wait("ready")
        pair.agent.start()
        pair.agent.wait("ready")
        pair.agent.stop()
        for path in fetched(tmp_path):
            path.unlink()
        done = subprocess.run(
            [*SPLITD, "calibrate", "--config", str(pair.agent.path)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        assert done.returncode == 0, done.stderr
        assert len(fetched(tmp_path)) == 1
    finally:
        pair.stop()


def public_key(path: Path) -> str:
    (line,) = [line for line in path.read_text().splitlines() if "public-key" in line]
    return line.split('"')[1]
