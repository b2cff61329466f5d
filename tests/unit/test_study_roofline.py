"""Roofline and hardware presets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from splitd.calibration.study.hardware import Hardware, find_preset, load_presets, parse_presets
from splitd.calibration.study.roofline import Prefixes, kernel_times, roofline_latency
from splitd.calibration.study.traffic import KernelTable
from splitd.errors import ConfigError, UsageError

SLOW = Hardware("slow", 100.0, 10.0, 0.5, 0.25, 1.0, "test")
FAST = Hardware("fast", 1000.0, 100.0, 0.5, 0.5, 0.0, "test")
# dense, depthwise, copy
TABLE = KernelTable(
    steps=np.array([0, 1, 2]),
    flops=np.array([100, 100, 0]),
    depthwise=np.array([False, True, False]),
    activation_bytes=np.array([2, 2, 50]),
    weight_bytes=np.array([5, 5, 0]),
)
BATCHES = np.array([1, 3])


def test_each_kernel_is_bound_by_compute_or_by_memory_and_pays_its_overhead() -> None:
    times = kernel_times(TABLE, SLOW, BATCHES)
    assert times[:, 0].tolist() == [2 + 1, 4 + 1, 5 + 1]
    assert times[:, 1].tolist() == [6 + 1, 12 + 1, 15 + 1]


def test_weights_are_read_once_per_batch() -> None:
    copy_only = Hardware("memory", 1e9, 1.0, 1.0, 1.0, 1e-9, "test")
    assert kernel_times(TABLE, copy_only, BATCHES)[0].tolist() == pytest.approx([7, 11])


def test_heads_and_tails_add_up() -> None:
    prefixes = Prefixes(("input", "cut", "output"), (0, 2, 3))
    latency = roofline_latency(TABLE, prefixes, SLOW, FAST, BATCHES)
    assert latency.head_s[:, 0].tolist() == [0, 8, 14]
    assert latency.tail_s[:, 0].tolist() == pytest.approx([0.2 + 0.2 + 0.5, 0.5, 0])
    assert latency.tail_s[-1].tolist() == [0, 0]


def test_the_paper_s_presets_are_there_with_their_sources() -> None:
    presets = load_presets()
    assert presets["rtx2080ti-300mhz"].peak_flops == 2.37e12
    assert presets["rtx2080ti"].peak_flops == pytest.approx(13.45e12)
    assert len(presets) >= 7
    assert all(preset.source for preset in presets.values())


def test_efficiency_scales_both_shares() -> None:
    slower = SLOW.at_efficiency(0.1)
    assert (slower.efficiency, slower.depthwise_efficiency) == (0.1, pytest.approx(0.05))
    assert FAST.at_efficiency(1.0).depthwise_efficiency == 1.0


def test_users_add_their_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("box: {peak_flops: 1e12, bandwidth_bytes_per_s: 5e10, efficiency: 0.3, kernel_overhead_s: 1e-6}\n")
    box = find_preset(load_presets(mine), "box")
    assert box.peak_flops == 1e12
    assert box.depthwise_efficiency == 0.3


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="rtx2080ti"):
        find_preset(load_presets(), "abacus")


GOOD = "peak_flops: 1, bandwidth_bytes_per_s: 1, kernel_overhead_s: 1"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[1, 2]", "mapping"),
        ("a: [", "not YAML"),
        ("a: 3", "mapping"),
        ("a: {peak_flops: 1}", "efficiency"),
        (f"a: {{{GOOD}, efficiency: 1.5}}", "share up to 1"),
        (f"a: {{{GOOD}, efficiency: 0}}", "positive"),
        (f"a: {{{GOOD}, efficiency: .nan}}", "positive"),
        (f"a: {{{GOOD}, efficiency: true}}", "positive"),
        (f"a: {{{GOOD}, efficiency: 0.5, wheels: 4}}", "unknown key 'wheels'"),
        ("a: {peak_flops: .inf, bandwidth_bytes_per_s: 1, kernel_overhead_s: 1, efficiency: 1}", "peak_flops"),
    ],
)
def test_faulty_files_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parse_presets(text, "mine.yaml")


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_presets(tmp_path / "absent.yaml")
