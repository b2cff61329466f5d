"""A flight of the real daemons, recorded: over a link that changes and a server that restarts, and played back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitd.agent.client.documents import HistoryDocument
from tests.support.daemons import ROOT, Pair, eventually

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
CUT = "blocks.2"
LINK = {"times_s": [0.0, 4.0, 8.0], "rates_bytes_per_s": [2e6, 6e4, 8e5], "duration_s": 12.0}


class ShapedLink:
    """A relay process in front of the server that follows a rate trace."""

    def __init__(self, server_port: int) -> None:
        command = [sys.executable, "-m", "splitd.agent.demo.relay", "0", str(server_port), "0.005"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT / "src"
        )
        assert self._process.stdout is not None
        self.address = f"tcp://127.0.0.1:{int(self._process.stdout.readline())}"

    def follow(self, trace: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(trace) + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def flight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both daemons with a recorder, after batches over a link that changed, a restart, a pin and a calibration."""
    pair = Pair(tmp_path_factory.mktemp("flight"), agent={"recorder": 1})
    link = ShapedLink(int(pair.server.config["bind"].rpartition(":")[2]))
    pair.agent.config["server"]["address"] = link.address
    try:
        pair.start()
        link.follow(LINK)
        with pair.client() as client:
            for index in range(60):
                client.infer(IMAGES[: 1 + index % 4])
            pair.server.kill()
            for _ in range(5):
                client.infer(IMAGES[:1])
            pair.server.start().wait("ready")
            eventually(lambda: pair.agent.control.status().state == "ready", what="the server found again")
            pair.wait_link()
            pair.agent.control.post("pin", cut=CUT, codec="u8")
            for _ in range(10):
                client.infer(IMAGES[:2])
            pair.agent.control.post("unpin")
            pair.agent.control.post("recalibrate")
            pair.agent.wait("ready")
            for _ in range(20):
                client.infer(IMAGES[:1])
        yield pair
    finally:
        pair.stop()
        link.close()


def splitd(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "splitd.agent.commands.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "src", check=False, timeout=120)


def splitctl(pair: Pair, *arguments: str) -> subprocess.CompletedProcess[str]:
    socket = pair.agent.config["control"]["socket"]
    command = [sys.executable, "-m", "splitd.agent.commands.ctl", "--socket", socket, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "src", check=False, timeout=60)


def test_the_replay_of_a_flight_makes_every_decision_of_the_daemon(flight: Pair) -> None:
    saved = splitctl(flight, "record")
    assert saved.returncode == 0, saved.stderr
    (directory,) = (Path(flight.agent.config["calibration"]["state_dir"]) / "recordings").iterdir()
    assert str(directory) in saved.stdout
    played = splitd("replay", "--recording", str(directory), "--json")
    assert played.returncode == 0, played.stdout + played.stderr
    document = json.loads(played.stdout)
    decisions = document["decisions"]
    assert document["identical"] == len(decisions)
    records = flight.agent.control.get(HistoryDocument, count=len(decisions)).records
    made = [record.split if record.codec == "-" else f"{record.split}/{record.codec}" for record in records]
    assert [one["chosen"] for one in decisions[-len(made) :]] == made
    assert len(made) >= 90
    # The flight had something to decide: several candidates, the pin's among them, and batches without a server.
    assert len(set(made)) >= 3
    assert f"{CUT}/u8" in made
    assert "output" in made
    shown = splitd("replay", "--recording", str(directory))
    assert f"{len(decisions)} decisions, all identical" in shown.stdout


def test_the_recording_holds_no_images_and_no_tensors(flight: Pair) -> None:
    ring = Path(flight.agent.config["calibration"]["state_dir"]) / "recorder"
    longest = max(
        (value for path in ring.iterdir() for line in path.read_text().splitlines()[:-1] for value in texts(line)),
        key=len,
    )
    assert len(longest) < 256  # names and labels; an image of 64 x 64 has twelve thousand bytes
    assert sum(path.stat().st_size for path in ring.iterdir()) < 4_000_000


def test_without_a_recorder_the_way_out_is_said(flight: Pair, tmp_path: Path) -> None:
    del flight
    pair = Pair(tmp_path)
    try:
        pair.server.start()
        pair.agent.start().wait("ready", "degraded")
        refused = splitctl(pair, "record")
        assert refused.returncode == 1
        assert "recorder: 16" in refused.stderr
        assert not (tmp_path / "recorder").exists()
    finally:
        pair.stop()


def texts(line: str) -> Iterator[str]:
    """Every text in one event."""
    values = [json.loads(line)]
    while values:
        value = values.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            values += [*value, *value.values()]
        elif isinstance(value, list):
            values += value
