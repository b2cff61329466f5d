"""What happens when things break: every request still ends in one answer, and the cause is visible."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from splitd.agent.client.documents import AgentStatus, Explanation, HistoryDocument
from splitd.errors import DaemonUnreachableError, RemoteError
from tests.support.daemons import MODEL, ROOT, Pair, eventually

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
CUT = "blocks.2"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    started = Pair(tmp_path_factory.mktemp("pair"))
    try:
        yield started.start()
    finally:
        started.stop()


@pytest.fixture
def pair(shared: Pair) -> Iterator[Pair]:
    """Both daemons, ready and with their first configuration; restarted if the test before has ended one."""
    yield shared
    for daemon in (shared.server, shared.agent):
        if daemon.process is None or daemon.process.poll() is not None:
            daemon.start()
    shared.agent.wait("ready")
    shared.agent.control.post("unpin")


class Load:
    """Clients that ask again and again until told to stop; counts how each request ended."""

    def __init__(self, pair: Pair, clients: int = 2) -> None:
        self.outcomes: Counter[str] = Counter()
        self._stop = threading.Event()
        self._pair = pair
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with self._pair.client() as client:
            while not self._stop.is_set():
                try:
                    self.outcomes[client.infer(IMAGES, deadline_s=8).source] += 1
                except (RemoteError, DaemonUnreachableError) as error:
                    self.outcomes[error.code] += 1

    def wait_for(self, outcome: str, count: int, *, within_s: float = 20.0) -> None:
        start = self.outcomes[outcome]
        eventually(lambda: self.outcomes[outcome] >= start + count, within_s=within_s, what=f"{count} x {outcome}")


def test_a_killed_server_costs_no_answer_and_is_found_again(pair: Pair) -> None:
    pair.agent.control.post("pin", cut=CUT, codec="u8")
    with Load(pair) as load:
        load.wait_for("server", 5)
        pair.server.kill(signal.SIGKILL)
        load.wait_for("local", 5)
        assert pair.agent.state() == "degraded"
        pair.server.start()
        load.wait_for("server", 5, within_s=60)
    assert set(load.outcomes) <= {"server", "local", "finished-locally"}, load.outcomes
    counters = pair.agent.control.get(AgentStatus).counters
    assert counters.failed == 0
    assert counters.answered == sum(load.outcomes.values())


def test_a_frozen_server_is_not_waited_for(pair: Pair) -> None:
    pair.agent.control.post("pin", cut=CUT, codec="u8")
    with Load(pair, clients=1) as load:
        load.wait_for("server", 3)
        pair.server.kill(signal.SIGSTOP)
        load.wait_for("local", 2, within_s=30)
        pair.server.kill(signal.SIGCONT)
        load.wait_for("server", 3, within_s=30)
    assert set(load.outcomes) <= {"server", "local", "finished-locally"}, load.outcomes
    history = pair.agent.control.get(HistoryDocument, count=250).records
    finished = [record for record in history if record.source == "finished-locally"]
    assert finished, "the batch that was under way must be finished from the kept activation"
    assert all(record.cause for record in finished)


def test_another_model_on_the_server_is_refused_with_both_digests(tmp_path: Path) -> None:
    pair = Pair(tmp_path, server={"model": {**MODEL, "weights": "random:2"}})
    try:
        pair.server.start().wait("ready")
        pair.agent.start().wait("degraded")
        view = eventually(
            lambda: (found := pair.agent.control.get(AgentStatus).server).state == "refused" and found,
            what="a refusal",
        )
        digests = [daemon.control.status().model.digest for daemon in (pair.agent, pair.server)]
        assert digests[0] != digests[1]
        assert all(digest in view.error for digest in digests)
        with pair.client() as client:
            assert client.infer(IMAGES).source == "local"
    finally:
        pair.stop()


def test_sigterm_answers_what_is_in_flight_then_ends_cleanly(pair: Pair) -> None:
    assert pair.agent.process is not None
    pair.agent.control.post("pin", cut=CUT, codec="u8")
    with Load(pair) as load:
        load.wait_for("server", 3)
        pair.agent.process.terminate()
        status = pair.agent.process.wait(20)
    assert status == 0
    assert set(load.outcomes) <= {"server", "local", "finished-locally", "link", "unreachable"}, load.outcomes
    assert not pair.infer_socket.exists()


def test_sighup_with_a_broken_file_keeps_the_old_configuration(pair: Pair) -> None:
    good = pair.agent.path.read_text()
    pair.agent.path.write_text(good + "\nnonsense: 1\n")
    pair.agent.kill(signal.SIGHUP)
    eventually(lambda: "nonsense: unknown key" in pair.agent.log.read_text(), what="the complaint in the log")
    pair.agent.path.write_text(good)
    with pair.client() as client:
        assert client.infer(IMAGES).outputs[0].shape == (2, 10)


def test_sighup_changes_the_planner_while_running(pair: Pair) -> None:
    config = {**pair.agent.config, "planner": {"privacy": True}}
    pair.agent.path.write_text(yaml.safe_dump(config))
    pair.agent.kill(signal.SIGHUP)
    eventually(lambda: "now in force: planner" in pair.agent.log.read_text(), what="the reload in the log")
    with pytest.raises(RemoteError, match="privacy"):
        pair.agent.control.post("pin", cut="input", codec=None)
    rows = pair.agent.control.get(Explanation, batch=1, rate=1e9).candidates
    full = [row for row in rows if row.split == "input"]
    assert full
    assert all("privacy" in row.reason for row in full)
    pair.agent.path.write_text(yaml.safe_dump(pair.agent.config))
    assert "now in force: planner" in pair.agent.control.post("reload").message


def test_a_second_agent_on_the_same_sockets_is_refused(pair: Pair) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "splitd.agent.commands.cli", "agent", "--config", str(pair.agent.path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": ""},
        cwd=ROOT,
    )
    assert second.returncode == 1
    assert "another daemon is serving this socket" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_saved_profile_is_reused_and_a_damaged_one_replaced(pair: Pair) -> None:
    pair.agent.stop()
    pair.agent.start().wait("ready")
    assert pair.agent.control.get(AgentStatus).profile == "saved"
    pair.agent.stop()
    for path in pair.agent.path.parent.glob("profile-device-*.json"):
        path.write_bytes(path.read_bytes()[:100])
    pair.agent.start().wait("ready")
    assert pair.agent.control.get(AgentStatus).profile == "measured"
    assert "damaged" in pair.agent.log.read_text()


def test_a_client_that_dies_with_requests_in_flight_harms_nobody(pair: Pair) -> None:
    header = json.dumps({"v": 1, "id": 7, "items": [{"kind": "uint8", "shape": [64, 64, 3]}]})
    code = (
        f"import os, zmq; s = zmq.Context().socket(zmq.DEALER); s.connect('ipc://{pair.infer_socket}'); "
        f"s.send_multipart([{header.encode()!r}, bytes(64 * 64 * 3)]); s.poll(50); os._exit(1)"
    )
    for _ in range(5):
        subprocess.run([sys.executable, "-c", code], check=False, timeout=30)
    with pair.client() as client:
        assert client.infer(IMAGES).outputs[0].shape == (2, 10)


def test_the_agent_stops_while_it_calibrates(tmp_path: Path) -> None:
    slow = {"batch_sizes": [8], "repeats": 1000, "state_dir": str(tmp_path)}
    pair = Pair(tmp_path, agent={"calibration": slow})
    pair.agent.start().wait("calibrating")
    begun_s = time.monotonic()
    assert pair.agent.stop() == 0
    assert time.monotonic() - begun_s < 10
    with pytest.raises(DaemonUnreachableError), pair.client() as client:
        client.infer(IMAGES)
