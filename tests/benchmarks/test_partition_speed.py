"""The chain of segments against the unsplit model, in the same run; prints the ratio."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from splitd.calibration.model.graph import find_cuts
from splitd.calibration.model.models import LoadedModel, ModelSpec, load_model
from splitd.calibration.torch_chain.partition import Partition

ROUNDS = 15
# What "no measurable slowdown" is held to: medians of alternating runs on a busy two-core machine scatter by this much.
TOLERANCE = 1.10


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    torch.set_num_threads(1)
    return load_model(ModelSpec("efficientnet_b0"))


@pytest.mark.parametrize("batch", [1, 8])
def test_the_chain_is_as_fast_as_the_unsplit_model(benchmark: BenchmarkFixture, model: LoadedModel, batch: int) -> None:
    partition = Partition(model, find_cuts(model.graph, "block"))
    x = torch.randn(batch, *model.graph.image_shape)
    partition.verify(x)
    benchmark.pedantic(partition.tail, (0, (x,)), rounds=3, warmup_rounds=1)
    if benchmark.disabled:
        return
    chain_s, unsplit_s = _alternate(lambda: partition.tail(0, (x,)), lambda: _unsplit(model, x))
    ratio = chain_s / unsplit_s
    benchmark.extra_info["chain_over_unsplit"] = ratio
    times = f"chain of {partition.K} {chain_s * 1e3:.1f} ms, unsplit {unsplit_s * 1e3:.1f} ms"
    print(f"\nbatch {batch}: {times}, ratio {ratio:.3f}")  # noqa: T201 - the figure is the point
    assert ratio < TOLERANCE


def _unsplit(model: LoadedModel, x: torch.Tensor) -> object:
    with torch.inference_mode():
        return model.module(x)


def _alternate(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """Medians of both, run in turn, so that a slow moment of the machine hits both."""
    samples: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for function, times in zip((first, second), samples, strict=True):
            started_s = time.perf_counter()
            function()
            times.append(time.perf_counter() - started_s)
    return statistics.median(samples[0]), statistics.median(samples[1])
