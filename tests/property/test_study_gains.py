"""What must hold of gains and of the grid, whatever the model, the machines and the link."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from splitd.calibration.profile import Floats
from splitd.calibration.study.gains import CandidateSet, best_positions, evaluate, gain, regret
from splitd.calibration.study.grid import Grid, LatencyTable, grid_times, paper_offloads

SETS = st.sampled_from(list(CandidateSet))
Chain = tuple[LatencyTable, NDArray[np.int64]]
GRID = Grid.of(range(1, 5), range(1, 12, 3))


@st.composite
def chains(draw: st.DrawFn, *, ratio: float | None = None) -> Chain:
    """A chain of 1..8 segments of any work and size; `ratio` is server over device time, free per segment if None."""
    segments = draw(st.integers(1, 8))
    positive = st.floats(1e-6, 1.0)
    work = np.array(draw(st.lists(positive, min_size=segments, max_size=segments)))
    ratios = (
        np.full(segments, ratio) if ratio else np.array(draw(st.lists(positive, min_size=segments, max_size=segments)))
    )
    sizes = draw(st.lists(st.integers(1, 10**6), min_size=segments, max_size=segments))
    head = np.concatenate([[0.0], np.cumsum(work)])[:, None] * GRID.batches
    tail = np.concatenate([np.cumsum((work * ratios)[::-1])[::-1], [0.0]])[:, None] * GRID.batches
    names = ("input", *(f"cut{k}" for k in range(1, segments)), "output")
    return LatencyTable(names, head, tail), np.array([*sizes, 0], dtype=np.int64)


def paper_times(latency: LatencyTable, elements: NDArray[np.int64], grid: Grid, input_value_bytes: int) -> Floats:
    return grid_times(latency, paper_offloads(elements, grid, input_value_bytes), grid)


def record_lows(payload_bytes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions whose payload is strictly below every earlier one, and both ends."""
    lows = [k for k in range(1, len(payload_bytes) - 1) if payload_bytes[k] < payload_bytes[:k].min()]
    return np.array([0, *lows, len(payload_bytes) - 1], dtype=np.int64)


@given(chains(), SETS)
def test_dynamic_is_never_slower_than_a_static_policy(chain: Chain, candidates: CandidateSet) -> None:
    latency, elements = chain
    gains = evaluate(paper_times(latency, elements, GRID, candidates.input_value_bytes), latency.names, candidates)
    statics = [
        gains.gain_vs_none,
        *gains.gain_vs_static.values(),
        *([gains.gain_vs_full] if candidates.allows_full else []),
    ]
    assert all(value is not None and 0 <= value < 1 for value in statics)
    assert 0 <= gains.split_share <= 1
    assert gains.optimal_splits <= len(latency.names) - 2


@given(chains(), SETS, st.data())
def test_more_candidates_never_lower_the_gain(chain: Chain, candidates: CandidateSet, data: st.DataObject) -> None:
    latency, elements = chain
    last = len(latency.names) - 1
    kept = data.draw(st.sets(st.integers(1, max(1, last - 1)), max_size=last))
    subset = np.array(sorted({0, last, *(k for k in kept if k < last)}), dtype=np.int64)
    everything = paper_times(latency, elements, GRID, candidates.input_value_bytes)
    fewer = evaluate(everything[subset], [latency.names[k] for k in subset], candidates)
    more = evaluate(everything, latency.names, candidates)
    assert more.gain_vs_none >= fewer.gain_vs_none - 1e-12
    assert regret(everything, subset, candidates) >= -1e-12
    for name, value in fewer.gain_vs_static.items():
        assert more.gain_vs_static[name] >= value - 1e-12


@given(chains())
def test_allowing_full_offloading_never_lowers_the_gain(chain: Chain) -> None:
    latency, elements = chain
    times = paper_times(latency, elements, GRID, 1)
    allowed = evaluate(times, latency.names, CandidateSet.FULL_U8)
    private = evaluate(times, latency.names, CandidateSet.NO_FULL)
    assert allowed.gain_vs_none >= private.gain_vs_none


@given(st.floats(1e-3, 0.999).flatmap(lambda ratio: chains(ratio=ratio)))
def test_infinite_rate_and_a_faster_server_choose_full_offloading_unless_private(
    chain: Chain,
) -> None:
    latency, elements = chain
    infinite = Grid(GRID.batches, np.array([np.inf]))
    times = paper_times(latency, elements, infinite, 1)
    assert (best_positions(times, CandidateSet.FULL_U8) == 0).all()
    assert (best_positions(times, CandidateSet.NO_FULL) == 1).all()  # the earliest cut; the output if there is none


def uniform_times(chain: Chain) -> Floats:
    latency, elements = chain
    return paper_times(latency, elements, GRID, 4)


@given(st.floats(1e-3, 10.0).flatmap(lambda ratio: chains(ratio=ratio)))
def test_with_one_speed_ratio_only_record_lows_can_be_the_unique_optimum(
    chain: Chain,
) -> None:
    times = uniform_times(chain)
    lows = times[record_lows(chain[1] * 4)].min(axis=0)
    np.testing.assert_allclose(lows, times.min(axis=0), rtol=1e-12)


def test_with_uneven_speed_ratios_another_cut_can_win() -> None:
    # The device does only the middle segment well: cutting after it wins although its payload is larger.
    latency = LatencyTable(
        ("input", "small", "large", "output"),
        np.array([[0.0], [0.1], [0.11], [9.0]]),
        np.array([[5.1], [5.0], [0.1], [0.0]]),
    )
    elements = np.array([1000, 500, 600, 0])
    times = paper_times(latency, elements, Grid.of(range(1, 2), range(1, 2)), 4)
    assert best_positions(times, CandidateSet.FULL_F32).tolist() == [[2]]
    assert record_lows(elements).tolist() == [0, 1, 3]


@given(st.lists(st.tuples(st.floats(0.5, 1.0), st.floats(1.0, 2.0)), min_size=2, max_size=20))
def test_gain_is_the_mean_of_ratios(pairs: list[tuple[float, float]]) -> None:
    best, static = np.array(pairs).T
    expected: Callable[[], float] = lambda: sum((s - b) / s for b, s in pairs) / len(pairs)  # noqa: E731
    assert abs(gain(static, best) - expected()) < 1e-12
