"""Both daemons from a bundle where torch and timm cannot be imported; and one of them beside one that has the model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitd.agent.commands.export import export
from splitd.calibration.chain import Engine
from splitd.calibration.model import ModelSpec
from splitd.calibration.torch_chain import open_torch
from tests.support.chains import open_engine
from tests.support.daemons import MODEL, ROOT, Pair, eventually

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
WITHOUT_TORCH = ("env", f"PYTHONPATH={ROOT / 'tests/support/no_torch'}:{ROOT / 'src'}")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "tiny.splitd"
    export(open_torch(ModelSpec(**MODEL)), path, samples=None, labels=None, report=lambda _share, _doing: None)
    return path


@pytest.fixture(scope="module")
def network() -> Engine:
    return open_engine(ModelSpec(**MODEL))


@pytest.fixture(scope="module")
def pair(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    started = Pair(
        tmp_path_factory.mktemp("pair"),
        agent={"model": {"bundle": str(bundle)}},
        server={"model": {"bundle": str(bundle)}},
    )
    try:
        started.server.start(*WITHOUT_TORCH)
        started.agent.start(*WITHOUT_TORCH)
        started.server.wait("ready")
        started.agent.wait("ready")
        started.wait_link()
        yield started
    finally:
        started.stop()


def assert_same_answers(pair: Pair, network: Engine) -> None:
    """Every cut gives the torch network's answer; ends that sum in another order differ by no more than that."""
    expected = network.tail(0, network.to_input(IMAGES))[0]
    with pair.client() as client:
        for name in network.names:
            pair.agent.control.post("pin", cut=name, codec={"input": "raw", "output": None}.get(name, "f32"))
            wanted = "local" if name == "output" else "server"

            def answered(name: str = name, wanted: str = wanted) -> bool:
                # On a busy machine the agent may finish by itself what it waited for, or find no server for a while.
                result = client.infer(IMAGES)
                np.testing.assert_allclose(result.outputs[0], expected, rtol=1e-4, atol=1e-5)
                return (result.split, result.source) == (name, wanted)

            eventually(answered, what=f"an answer by {wanted} at {name}")


def test_there_is_no_torch_where_the_daemons_run() -> None:
    program = "import importlib.util; print(importlib.util.find_spec('torch'), importlib.util.find_spec('timm'))"
    done = subprocess.run(
        [*WITHOUT_TORCH, sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.split() == ["None", "None"]


def test_daemons_without_torch_give_the_networks_answers(pair: Pair, network: Engine) -> None:
    assert_same_answers(pair, network)


def test_the_status_shows_the_network_and_its_preprocessing(pair: Pair, network: Engine, bundle: Path) -> None:
    for daemon in (pair.agent, pair.server):
        model = daemon.control.status().model
        assert (model.name, model.weights, model.digest) == (MODEL["name"], str(bundle), network.digest)
        assert model.preprocessing is not None
        assert model.preprocessing.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("end", ["agent", "server"])
def test_one_end_may_have_the_bundle_and_the_other_the_model(
    end: str, bundle: Path, network: Engine, tmp_path: Path
) -> None:
    bundled: dict[str, Any] = {end: {"model": {"bundle": str(bundle)}}}
    mixed = Pair(tmp_path, **bundled)
    try:
        assert_same_answers(mixed.start(), network)
    finally:
        mixed.stop()


def test_a_model_where_there_is_no_torch_is_one_message(tmp_path: Path) -> None:
    daemon = Pair(tmp_path).agent.start(*WITHOUT_TORCH)
    assert daemon.process is not None
    assert daemon.process.wait(60) == 1
    assert "torch is not installed here" in daemon.log.read_text()
    assert "Traceback" not in daemon.log.read_text()


def test_a_damaged_bundle_is_one_message(bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.splitd"
    content = bytearray(bundle.read_bytes())
    content[-1000] ^= 1
    damaged.write_bytes(content)
    daemon = Pair(tmp_path, agent={"model": {"bundle": str(damaged)}}).agent.start(*WITHOUT_TORCH)
    assert daemon.process is not None
    eventually(lambda: daemon.process is not None and daemon.process.poll() is not None, what="the end")
    assert f"splitd: {damaged}: " in daemon.log.read_text()
    assert "Traceback" not in daemon.log.read_text()
