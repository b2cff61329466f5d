"""The core that the roofline is checked on: its figures are rates of kernels, and torch is left as it was found."""

from __future__ import annotations

import pytest
import torch

from splitd.calibration.study.core import CoreBench, one_core

SUBNORMAL = 1e-39


@pytest.fixture(scope="module")
def bench() -> CoreBench:
    with one_core():
        bench = CoreBench()
        bench.run()
    return bench


def test_the_figures_are_those_of_a_processor(bench: CoreBench) -> None:
    core = bench.hardware()
    assert 1e9 < core.peak_flops < 1e13
    assert 1e8 < core.bandwidth_bytes_per_s < 1e12
    assert 0 < core.depthwise_efficiency < core.efficiency <= 1
    assert 0 < core.kernel_overhead_s < 1e-3
    assert torch.__version__ in core.source


def test_another_round_only_shortens_times(bench: CoreBench) -> None:
    before = bench.hardware()
    with one_core():
        bench.run()
    after = bench.hardware()
    assert after.peak_flops >= 0.999 * before.peak_flops
    assert after.kernel_overhead_s <= before.kernel_overhead_s


def test_subnormals_are_zero_on_one_thread_and_only_there() -> None:
    threads = torch.get_num_threads()
    small = torch.full((8,), SUBNORMAL)
    with one_core():
        assert torch.get_num_threads() == 1
        assert not (small * 1.0).bool().any()
    assert torch.get_num_threads() == threads
    assert (small * 1.0).bool().all()
