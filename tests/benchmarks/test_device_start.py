"""What a device without torch takes to run efficientnet_b0 from a bundle: seconds to READY, memory, packages.

Answers are asserted always, on a network of a few kilobytes; figures only with --benchmark-enable.
"""

from __future__ import annotations

import resource
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from splitd.agent.client import Client
from splitd.agent.commands.export import export
from splitd.calibration.bundle import Bundle, open_bundle, relative_error
from splitd.calibration.model import ModelSpec
from splitd.calibration.torch_chain import open_torch
from tests.distribution import Archives, installed_bytes, requirements_of
from tests.support.daemons import ROOT, Daemon, Pair

MODEL = "efficientnet_b0"
GOLDEN = ROOT / "tests" / "support" / "bundles" / "golden.splitd"
MAX_START_S = 2.0
MAX_RESIDENT_MB = 200.0
MAX_PACKAGES_MB = 300.0
STARTS = 5
REQUESTS = 50
PYTHONPATH = f"PYTHONPATH={ROOT / 'tests/support/no_torch'}:{ROOT / 'src'}"


@pytest.fixture(scope="module")
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    if not request.config.getoption("benchmark_enable"):
        return open_bundle(GOLDEN)
    path = tmp_path_factory.mktemp("bundle") / f"{MODEL}.splitd"
    source = open_torch(ModelSpec(MODEL))
    return export(source, path, samples=None, labels=None, report=lambda _share, _doing: None).bundle


@pytest.fixture
def agent(bundle: Bundle, tmp_path: Path) -> Daemon:
    """An agent with a saved profile, not running."""
    pair = Pair(
        tmp_path,
        agent={
            "model": {"bundle": str(bundle.path)},
            "device": {"threads": 1, "executor": "onnxruntime"},
            "calibration": {"state_dir": str(tmp_path)},
        },
    )
    with running(pair.agent):
        pass
    return pair.agent


@contextmanager
def running(agent: Daemon) -> Iterator[float]:
    """Start an agent as systemd does; give the seconds until it said READY."""
    path = agent.path.parent / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(path))
        notified.settimeout(120)
        began_s = time.perf_counter()
        agent.start("env", PYTHONPATH, f"NOTIFY_SOCKET={path}")
        try:
            while b"READY=1" not in notified.recv(4096):
                pass
            yield time.perf_counter() - began_s
        finally:
            agent.stop()
            path.unlink()


def resident_mb(agent: Daemon) -> float:
    assert agent.process is not None
    pages = int(Path(f"/proc/{agent.process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def test_start_and_memory_of_a_device(benchmark: BenchmarkFixture, agent: Daemon, bundle: Bundle) -> None:
    starts: list[float] = []
    memory: list[float] = []
    reference = bundle.reference()
    assert reference is not None

    def start_and_work() -> None:
        with running(agent) as ready_s, Client(Path(agent.config["intake"]["socket"])) as client:
            starts.append(ready_s)
            for number in range(REQUESTS if benchmark.enabled else 2):
                sample = number % reference.samples
                answer = client.infer(reference.inputs[sample])
                assert relative_error(reference.outputs[0][sample : sample + 1], answer.outputs[0]) < 1e-4
            memory.append(resident_mb(agent))

    benchmark.pedantic(start_and_work, rounds=STARTS if benchmark.enabled else 1)
    show(start_s=statistics.median(starts), resident_mb=max(memory), benchmark=benchmark)
    if benchmark.enabled:
        assert statistics.median(starts) <= MAX_START_S
        assert max(memory) <= MAX_RESIDENT_MB


def test_packages_of_a_device(benchmark: BenchmarkFixture, archives: Archives) -> None:
    packages_mb = benchmark.pedantic(lambda: installed_bytes(requirements_of(archives.wheel, "onnxruntime"))) / 1e6
    show(packages_mb=packages_mb, benchmark=benchmark)
    assert packages_mb <= MAX_PACKAGES_MB


def show(*, benchmark: BenchmarkFixture, **figures: Any) -> None:
    """Keep figures with the benchmark, and print them for people."""
    benchmark.extra_info.update(figures)
    print("; ".join(f"{name} {value:.3g}" for name, value in figures.items()))  # noqa: T201 - what it is for
