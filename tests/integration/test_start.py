"""What is left of a daemon whose start fails or is told to stop: no socket, no thread, and an error that says why."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from splitd.agent.configuration import AgentConfig, ServerConfig
from splitd.agent.device import AgentDaemon
from splitd.agent.runtime import StoppedError
from splitd.agent.server import ServerDaemon
from splitd.errors import ConfigError, ModelError, SplitdError
from tests.support.daemons import MODEL, free_port

SMALL = {"batch_sizes": [1], "repeats": 3}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """No test leaves a thread behind, and none changes torch's threads for the next."""
    before, torch_threads = set(threading.enumerate()), torch.get_num_threads()
    yield
    assert {thread for thread in threading.enumerate() if thread not in before} == set()
    torch.set_num_threads(torch_threads)


def agent(home: Path, **changes: Any) -> AgentDaemon:
    config = {
        "server": {"address": f"tcp://127.0.0.1:{free_port()}"},
        "model": MODEL,
        "device": {"threads": 1, "executor": "torch"},
        "calibration": {**SMALL, "state_dir": str(home)},
        "intake": {"socket": str(home / "infer.sock")},
        **changes,
    }
    return AgentDaemon(home / "agent.yaml", AgentConfig.model_validate(config))


def server(home: Path, **changes: Any) -> ServerDaemon:
    config = {
        "bind": f"tcp://127.0.0.1:{free_port()}",
        "model": MODEL,
        "device": {"threads": 1, "executor": "torch"},
        "calibration": {**SMALL, "state_dir": str(home)},
        **changes,
    }
    return ServerDaemon(home / "server.yaml", ServerConfig.model_validate(config))


def stop_at(daemon: AgentDaemon | ServerDaemon, text: str) -> None:
    """Tell a daemon to stop as soon as its calibration does what `text` says."""
    calibrating = daemon.phase.calibrating

    def told(share: float, doing: str) -> None:
        if text in f"{share:.0%} {doing}":
            daemon.phase.stop()
        calibrating(share, doing)

    daemon.phase.calibrating = told  # type: ignore[method-assign]


@pytest.mark.parametrize("make", [agent, server])
def test_a_start_that_is_told_to_stop_leaves_nothing_open(
    tmp_path: Path, make: Callable[[Path], AgentDaemon | ServerDaemon]
) -> None:
    daemon = make(tmp_path)
    stop_at(daemon, "")
    with pytest.raises(StoppedError):
        daemon.start()
    assert not (tmp_path / "infer.sock").exists()
    assert daemon.phase.state == "stopping"


@pytest.mark.parametrize("make", [agent, server])
def test_a_network_that_cannot_be_loaded_leaves_nothing_open(
    tmp_path: Path, make: Callable[..., AgentDaemon | ServerDaemon]
) -> None:
    daemon = make(tmp_path, model={"name": "tests.support.tiny:missing"})
    with pytest.raises(ModelError, match="missing"):
        daemon.start()
    assert not (tmp_path / "infer.sock").exists()


def test_a_taken_intake_is_noticed_before_anything_is_loaded(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "infer.sock"))
        other.listen()
        daemon = agent(tmp_path, model={"name": "tests.support.tiny:missing"})
        with pytest.raises(ConfigError, match="another daemon is serving this socket"):
            daemon.start()


def test_missing_keys_are_noticed_before_anything_is_loaded(tmp_path: Path) -> None:
    own = {"secret_file": str(tmp_path / "no-key")}
    daemons = (
        agent(tmp_path, model={"name": "none"}, keys={**own, "peer_public_key": "x" * 40}),
        server(tmp_path, model={"name": "none"}, keys={**own, "allow_file": str(tmp_path / "no-list")}),
    )
    for daemon in daemons:
        with pytest.raises(SplitdError, match="no-key"):
            daemon.start()
    assert not list(tmp_path.glob("*.sock"))


def test_a_taken_port_ends_the_servers_start_with_no_worker_left(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        daemon = server(tmp_path, bind=f"tcp://127.0.0.1:{other.getsockname()[1]}")
        with pytest.raises(ConfigError, match="cannot listen"):
            daemon.start()


def test_what_starts_stops_and_leaves_nothing_open(tmp_path: Path) -> None:
    edge, device = server(tmp_path).start(), agent(tmp_path).start()
    assert (tmp_path / "infer.sock").exists()
    assert edge.alive()
    assert device.alive()
    device.stop()
    edge.stop()
    assert not (tmp_path / "infer.sock").exists()
