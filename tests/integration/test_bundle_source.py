"""The agent's side of getting its network from the server: what people see meanwhile, what is kept, how it ends."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from splitd.agent.configuration.schema import AgentConfig
from splitd.agent.device.bundle_source import obtain_bundle
from splitd.agent.runtime.phase import Phase, StoppedError
from splitd.errors import OverloadError
from tests.support.daemons import free_port
from tests.support.fetching import CONTENT, PATIENCE_S, digest_name, serving, until
from tests.tcp_relay import TcpRelay


def config(address: str, home: Path, **changes: object) -> AgentConfig:
    return AgentConfig.model_validate(
        {"server": {"address": address}, "calibration": {"state_dir": str(home)}, **changes}
    )


def test_the_network_comes_into_the_state_directory_and_is_found_there_without_the_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(CONTENT, tmp_path) as server:
        path = obtain_bundle(config(server.address, tmp_path), None, Phase().starting)
    assert path == tmp_path / "bundles" / digest_name(CONTENT)
    assert path.read_bytes() == CONTENT
    assert obtain_bundle(config(server.address, tmp_path), None, Phase().starting) == path
    assert "using the network of an earlier start" in caplog.text
    assert "nothing listens there" in caplog.text


def test_how_far_it_is_is_told_and_a_stop_ends_it_at_once(tmp_path: Path) -> None:
    phase, seen = Phase(), [""]
    with serving(CONTENT, tmp_path) as server:
        relay = TcpRelay(server.address)
        ended: list[str] = []

        def start() -> None:
            with pytest.raises(StoppedError):
                obtain_bundle(config(relay.address, tmp_path), None, phase.starting)
            ended.append("stopped")

        relay.pause()
        thread = threading.Thread(target=start)
        thread.start()
        until(lambda: phase.text == f"asking {relay.address} for its network")
        tell = phase.set

        def stop_when_some_has_come(state, text: str) -> None:  # type: ignore[no-untyped-def]
            tell(state, text)
            seen.append(text)
            if "fetching net" in text and " 0% " not in text:
                phase.stop()

        phase.set = stop_when_some_has_come  # type: ignore[method-assign]
        relay.resume()
        thread.join(PATIENCE_S)
        relay.close()
    assert ended == ["stopped"]
    told = [text for text in seen if text.startswith(f"fetching net from {relay.address}, ")]
    assert told[0].endswith("% of 3.1 MB")


def test_a_server_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    port, phase, found = free_port(), Phase(), []
    address = f"tcp://127.0.0.1:{port}"
    thread = threading.Thread(
        target=lambda: found.append(obtain_bundle(config(address, tmp_path), None, phase.starting))
    )
    thread.start()
    until(lambda: "nothing listens there" in phase.text)
    began_s = time.monotonic()
    with serving(CONTENT, tmp_path, address):
        thread.join(PATIENCE_S)
    assert found[0].read_bytes() == CONTENT
    assert time.monotonic() - began_s < PATIENCE_S


def test_the_configured_size_is_the_most_that_is_taken(tmp_path: Path) -> None:
    with serving(CONTENT, tmp_path) as server, pytest.raises(OverloadError, match=r"link\.max_bundle_mb"):
        obtain_bundle(config(server.address, tmp_path, link={"max_bundle_mb": 1}), None, Phase().starting)
