"""A daemon starts with what it has, makes the wanted executor beside its requests, and switches between two batches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from splitd.agent.client import AgentStatus
from splitd.calibration.measure import MAX_RELATIVE_ERROR
from splitd.calibration.model import ModelSpec
from tests.support.chains import open_engine
from tests.support.daemons import MODEL, Pair, eventually

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
GAP = threading.Event()  # never set: requests come with gaps
WANTED = {"threads": 1, "executor": "onnxruntime"}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    started = Pair(tmp_path, agent={"device": WANTED}, server={"device": WANTED}).start()
    try:
        yield started
    finally:
        started.stop()


def agent_status(pair: Pair) -> AgentStatus:
    found = pair.agent.control.status()
    assert isinstance(found, AgentStatus)
    return found


def test_requests_are_answered_while_an_executor_is_made_and_the_next_start_has_it(pair: Pair) -> None:
    network = open_engine(ModelSpec(**MODEL))
    (expected,) = network.tail(0, network.to_input(IMAGES))
    assert agent_status(pair).device.executor == "torch"
    with pair.client() as client:

        def switched() -> bool:
            (found,) = client.infer(IMAGES).outputs
            assert np.abs(found - expected).max() <= MAX_RELATIVE_ERROR * np.abs(expected).max()
            running = [daemon.control.status().device.executor for daemon in (pair.agent, pair.server)]
            GAP.wait(2.0)  # a trial waits until no request has come for a second
            return running == ["onnxruntime", "onnxruntime"]

        eventually(switched, within_s=300, what="both ends on onnxruntime")
    status = agent_status(pair)
    trial = next(one for one in status.executors if one.name == "onnxruntime")
    assert trial.verdict == "agrees"
    assert len(trial.head_s) == len(trial.batch_sizes)
    assert status.counters.failed == 0

    pair.agent.stop()
    pair.agent.start()
    pair.agent.wait("ready", "degraded")
    assert agent_status(pair).device.executor == "onnxruntime"
    assert agent_status(pair).profile == "saved"


def test_an_agent_stops_at_once_while_segments_are_made(pair: Pair) -> None:
    assert agent_status(pair).device.executor == "torch"
    assert pair.agent.stop() == 0
    assert "making segments for onnxruntime" in pair.agent.log.read_text()
