"""What client and agent add to the work itself, on a local answer and on an offloaded one, and next to a plain server.

The network takes well under a millisecond, so that everything beside it shows. Correctness is asserted always, times
only with --benchmark-enable; the figures are medians of many requests, as machines are shared.
"""

from __future__ import annotations

import http.client
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

from splitd.agent.client import Client
from splitd.agent.client.client import Result
from splitd.agent.configuration import ServerConfig, load_config
from splitd.agent.runtime.settings import open_selection
from splitd.calibration.images import prepare_image
from tests.benchmarks.request_stages import make_pair, some_image, started

ADDED_LOCAL_S = 0.5e-3
OFFLOADED_RATIO, OFFLOADED_MORE_S = 1.10, 1.0e-3
HTTP_RATIO = 1.0
# Shared machines are noisy: what is printed is the figure, the test fails when one is missed by half.
NOISE = 1.5
WORK = ("prepare", "head", "encode", "send", "wait")


def infer_many(client: Client, image: Any, rounds: int) -> tuple[list[float], list[Result]]:
    """Return the seconds and the results of requests one after the other; the first tenth is left out of the times."""
    times, results = [], []
    for _ in range(rounds + rounds // 10):
        began_s = time.perf_counter()
        results.append(client.infer(image))
        times.append(time.perf_counter() - began_s)
    return times[-rounds:], results[-rounds:]


def rounds_of(benchmark: BenchmarkFixture, rounds: int) -> int:
    """Return how many requests are timed: a few in the suite, where only answers count."""
    return rounds if benchmark.enabled else 10


def expected_of(config: Path, image: Any) -> np.ndarray:
    """Return what the network says when it is asked directly."""
    engine = open_selection(load_config(config, ServerConfig)).engine
    prepared = prepare_image(image, engine.preprocessing)
    return engine.tail(0, engine.to_input(prepared[None]))[0]


def test_client_and_agent_add_little_to_a_local_answer(tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    image = some_image()
    with started(make_pair(tmp_path), "output") as pair, pair.client() as client:
        times, results = infer_many(client, image, rounds_of(benchmark, 1000))
        expected = expected_of(pair.server.path, image)
        assert all(result.source == "local" for result in results)
        assert all(np.allclose(result.outputs[0], expected, rtol=1e-4, atol=1e-5) for result in results)
        added_s = median(t - r.timings["head"] for t, r in zip(times, results, strict=True))
        benchmark.extra_info["added_ms"] = added_s * 1e3
        benchmark.extra_info["network_ms"] = median(r.timings["head"] for r in results) * 1e3
        benchmark.extra_info["without_return_ms"] = median(r.timings["total"] for r in results) * 1e3
        benchmark(client.infer, image)
    if benchmark.enabled:
        assert added_s <= NOISE * ADDED_LOCAL_S


@pytest.mark.parametrize("pin", ["blocks.0/f32", "input/raw"])
def test_an_offloaded_answer_takes_little_more_than_its_parts(
    tmp_path: Path, benchmark: BenchmarkFixture, pin: str
) -> None:
    image = some_image()
    with started(make_pair(tmp_path), pin) as pair, pair.client() as client:
        times, results = infer_many(client, image, rounds_of(benchmark, 500))
        expected = expected_of(pair.server.path, image)
        assert all(result.source == "server" for result in results)
        assert all(np.allclose(result.outputs[0], expected, rtol=1e-4, atol=1e-5) for result in results)
        parts_s = median(sum(result.timings.get(name, 0.0) for name in WORK) for result in results)
        benchmark.extra_info["parts_ms"] = parts_s * 1e3
        benchmark.extra_info["ratio"] = median(times) / parts_s
        benchmark(client.infer, image)
    if benchmark.enabled:
        assert median(times) <= NOISE * OFFLOADED_RATIO * parts_s
        assert median(times) - parts_s <= NOISE * OFFLOADED_MORE_S


def camera_file(width: int = 640, height: int = 480) -> bytes:
    """Return a JPEG file of a picture whose finer details are fainter, as a camera's are."""
    rng = np.random.default_rng(5)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1.0
    waves = rng.standard_normal((2, 3, height, width // 2 + 1))
    planes = np.fft.irfft2((waves[0] + 1j * waves[1]) / frequency**1.3, (height, width))
    planes = (planes - planes.mean()) / planes.std() * 50 + 128
    out = io.BytesIO()
    Image.fromarray(np.clip(planes.transpose(1, 2, 0), 0, 255).astype(np.uint8)).save(out, "JPEG", quality=85)
    return out.getvalue()


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a module that prints its port; end it at the end."""
    child = subprocess.Popen(
        [sys.executable, "-m", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        yield child, int(child.stdout.readline())
    finally:
        child.terminate()
        child.wait(10)
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def shaped(port: int, rate_bytes_per_s: float) -> Iterator[int]:
    """Relay a port at a rate, with the demo's relay; gives the port to connect to."""
    with process("splitd.agent.demo.relay", "0", str(port), "0") as (relay, near):
        row = {"times_s": [0.0], "rates_bytes_per_s": [rate_bytes_per_s], "duration_s": 3600.0}
        assert relay.stdin is not None
        relay.stdin.write(json.dumps(row) + "\n")
        relay.stdin.flush()
        yield near


@contextmanager
def plain_server(config: Path, rate_bytes_per_s: float) -> Iterator[Callable[[bytes], np.ndarray]]:
    """Give a call that asks the plain HTTP server over a shaped link, on one connection that is kept."""
    with process("tests.benchmarks.http_peer", str(config)) as (_, port), shaped(port, rate_bytes_per_s) as near:
        connection = http.client.HTTPConnection("127.0.0.1", near)

        def ask(file: bytes) -> np.ndarray:
            connection.request("POST", "/", file)
            return np.frombuffer(connection.getresponse().read(), np.float32)

        yield ask
        connection.close()


@pytest.mark.parametrize("rate", [1e6, 1e7])
def test_jpeg_offloading_is_no_slower_than_a_plain_http_server(
    tmp_path: Path, benchmark: BenchmarkFixture, rate: float
) -> None:
    file = camera_file()
    pair = make_pair(tmp_path)
    with shaped(int(pair.server.config["bind"].rpartition(":")[2]), rate) as near:
        pair.agent.config["server"]["address"] = f"tcp://127.0.0.1:{near}"
        with (
            started(pair, "input/as-given"),
            pair.client() as client,
            plain_server(pair.server.path, rate) as ask,
        ):
            ratios, own, theirs = [], [], []
            for _ in range(rounds_of(benchmark, 100)):
                began_s = time.perf_counter()
                result = client.infer(file)
                between_s = time.perf_counter()
                answer = ask(file)
                ended_s = time.perf_counter()
                assert (result.source, result.codec) == ("server", "as-given")
                assert np.allclose(result.outputs[0][0], answer, rtol=1e-4, atol=1e-5)
                own.append(between_s - began_s)
                theirs.append(ended_s - between_s)
                ratios.append(own[-1] / theirs[-1])
            benchmark.extra_info["file_bytes"] = len(file)
            benchmark.extra_info["splitd_ms"] = median(own) * 1e3
            benchmark.extra_info["aiohttp_ms"] = median(theirs) * 1e3
            benchmark.extra_info["ratio"] = median(ratios)
            benchmark(client.infer, file)
    if benchmark.enabled:
        assert median(ratios) <= NOISE * HTTP_RATIO
