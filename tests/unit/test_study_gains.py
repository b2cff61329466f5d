"""Gains and the paper's equation on figures small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from splitd.calibration.study.codecs import CodecCost, LinkCost, assumed_payloads, load_assumptions, splitd_transfer
from splitd.calibration.study.gains import CandidateSet, best_positions, evaluate, mean_gains
from splitd.calibration.study.grid import Grid, LatencyTable, end_to_end, paper_transfer

LATENCY = LatencyTable(
    ("input", "a", "output"),
    np.array([[0.0, 0.0], [1.0, 2.0], [4.0, 8.0]]),
    np.array([[1.0, 2.0], [0.5, 1.0], [0.0, 0.0]]),
)
ELEMENTS = np.array([2_000_000, 250_000, 0])
GRID = Grid.of(range(1, 3), range(1, 3))


def test_paper_equation() -> None:
    times = end_to_end(LATENCY, paper_transfer(ELEMENTS, GRID, input_value_bytes=1))
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


def test_splitd_cost_takes_the_fastest_codec_and_pays_round_trip_and_headers() -> None:
    link = LinkCost(rtt_s=0.5, chunk_bytes=250_000, header_bytes=1000)
    plain = CodecCost("plain", 4, 0, np.inf, np.inf)
    small = CodecCost("small", 1, 0, 1e6, 1e6)
    payloads = [
        assumed_payloads([(2, 1000, 1000)], [plain], link, GRID),
        assumed_payloads([(1, 500, 500)], [plain, small], link, GRID),
    ]
    times = end_to_end(LATENCY, splitd_transfer(payloads, 250, GRID, link))
    back_s = 0.5 + (1000 + 1000) / 1e6
    plain_s = (1_000_000 + 4 * 1000) / 1e6
    small_s = 2 * 0.25 + (250_000 + 1000) / 1e6
    assert times[1, 0, 0] == pytest.approx(1.5 + min(plain_s, small_s) + back_s)
    assert times[0, 0, 0] == pytest.approx(1.0 + (8_000_000 + 32 * 1000) / 1e6 + back_s)
    assert times[2].tolist() == [[4, 4], [8, 8]]


def test_committed_assumptions_quantise_and_entropy_code() -> None:
    sizes = {codec.label: codec.bytes_per_value for codec in load_assumptions().cut_codecs}
    assert sizes["f32"] == 4
    assert sizes["u8h"] < sizes["u8"] == 1
