"""Gains and the paper's equation on figures small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from splitd.calibration.study.codecs import load_assumptions, splitd_offloads
from splitd.calibration.study.gains import CandidateSet, best_positions, evaluate, mean_gains
from splitd.calibration.study.grid import CodecOption, Grid, LatencyTable, Offloads, grid_times, paper_offloads

LATENCY = LatencyTable(
    ("input", "a", "output"),
    np.array([[0.0, 0.0], [1.0, 2.0], [4.0, 8.0]]),
    np.array([[1.0, 2.0], [0.5, 1.0], [0.0, 0.0]]),
)
ELEMENTS = np.array([2_000_000, 250_000, 0])
GRID = Grid.of(range(1, 3), range(1, 3))


def test_paper_equation() -> None:
    times = grid_times(LATENCY, paper_offloads(ELEMENTS, GRID, input_value_bytes=1), GRID)
    # input: 2 MB a sample, cut: 1 MB a sample in float32, at 1 and 2 MB/s
    assert times[:, 0].tolist() == [[1 + 2, 1 + 1], [1.5 + 1, 1.5 + 0.5], [4, 4]]
    assert times[:, 1].tolist() == [[2 + 4, 2 + 2], [3 + 2, 3 + 1], [8, 8]]


def test_gains_by_hand() -> None:
    times = np.array([[[3.0, 1.0]], [[2.0, 2.0]], [[4.0, 4.0]]])
    gains = evaluate(times, ("input", "a", "output"), CandidateSet.FULL_U8)
    assert gains.gain_vs_none == pytest.approx(((4 - 2) / 4 + (4 - 1) / 4) / 2)
    assert gains.gain_vs_full == pytest.approx(((3 - 2) / 3 + 0) / 2)
    assert gains.gain_vs_static == {"a": pytest.approx((0 + (2 - 1) / 2) / 2)}
    assert gains.best_static == "a"
    assert gains.optimal_splits == 1
    assert gains.split_share == 0.5


def test_privacy_mode_has_no_gain_over_full_offloading() -> None:
    gains = evaluate(np.array([[[1.0]], [[2.0]], [[4.0]]]), ("input", "a", "output"), CandidateSet.NO_FULL)
    assert gains.gain_vs_full is None
    assert gains.split_share == 1.0
    assert gains.gain_vs_none == pytest.approx(0.5)


def test_a_model_without_cuts_has_no_fixed_split_to_compare_with() -> None:
    gains = evaluate(np.array([[[1.0]], [[2.0]]]), ("input", "output"), CandidateSet.FULL_F32)
    assert gains.gain_vs_best_static is None
    assert gains.gain_vs_mean_static is None
    assert gains.best_static is None
    assert gains.split_share == 0.0


def test_equal_times_count_for_the_earlier_position_and_not_as_a_win_of_splitting() -> None:
    times = np.ones((3, 1, 1))
    assert best_positions(times, CandidateSet.FULL_U8).tolist() == [[0]]
    assert evaluate(times, ("input", "a", "output"), CandidateSet.FULL_U8).split_share == 0.0


def test_means_over_models_leave_out_what_a_model_lacks() -> None:
    one = evaluate(np.array([[[3.0]], [[2.0]], [[4.0]]]), ("input", "a", "output"), CandidateSet.FULL_U8)
    other = evaluate(np.array([[[3.0]], [[4.0]]]), ("input", "output"), CandidateSet.FULL_U8)
    mean = mean_gains([one, other])
    assert mean.optimal_splits == 0.5
    assert mean.gain_vs_none == pytest.approx((0.5 + 0.25) / 2)
    assert mean.gain_vs_best_static == one.gain_vs_best_static
    assert mean.gain_vs_static == one.gain_vs_static


def test_splitd_cost_takes_the_fastest_codec_and_pays_round_trip_and_result() -> None:
    per_sample = GRID.batches.astype(float)
    plain = CodecOption(0 * per_sample, 1_004_000 * per_sample, 0 * per_sample)
    small = CodecOption(0.25 * per_sample, 251_000 * per_sample, 0.125 * per_sample)
    offloads = Offloads(((plain,), (plain, small)), result_bytes=2000 * per_sample, rtt_s=0.5)
    times = grid_times(LATENCY, offloads, GRID)
    back_s = 0.5 + 2000 / 1e6
    assert times[1, 0, 0] == pytest.approx(1.5 + min(1.004, 0.25 + 0.251 + 0.125) + back_s)
    assert times[1, 0, 1] == pytest.approx(1.5 + min(1.004 / 2, 0.375 + 0.251 / 2) + 0.5 + 0.001)
    assert times[0, 0, 0] == pytest.approx(1.0 + 1.004 + back_s)
    assert times[2].tolist() == [[4, 4], [8, 8]]
    assert np.array_equal(grid_times(LATENCY, offloads.select(np.array([0, 1, 2])), GRID), times)


def test_assumed_sizes_are_values_plus_what_the_wire_format_adds() -> None:
    codecs = {codec.label: codec for codec in load_assumptions().cut_codecs + load_assumptions().input_codecs}
    # 8 planes of 60 x 60 float32 values: 8 chunks of 14400 bytes, each with a header of 120
    assert codecs["f32"].sent_bytes((1, 8, 60, 60)) == 8 * (14_400 + 120)
    # one byte each: 8 chunks of one plane, each plane with its four bytes
    assert codecs["u8"].sent_bytes((1, 8, 60, 60)) == 8 * (3600 + 4 + 120)
    # a JPEG of 224 x 224 in six chunks of a stream, whose headers have one dimension
    assert codecs["jpeg90"].sent_bytes((1, 224, 224, 3)) == round(0.13 * 150_528 + 600) + 5 * 96
    assert splitd_offloads([], 1000, GRID).result_bytes.tolist() == [4000 + 104, 8000 + 2 * 104]


def test_committed_assumptions_quantise_and_entropy_code() -> None:
    sizes = {codec.label: codec.bytes_per_value for codec in load_assumptions().cut_codecs}
    assert sizes["f32"] == 4
    assert sizes["u8h"] < sizes["u8"] == 1
