"""Laws of a latency profile: lines through the measured points, orders that medians keep, no bytes that crash it."""

from __future__ import annotations

import json
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitd.calibration.profile.latency import LatencyProfile
from splitd.calibration.profile.measurement import Measurement
from splitd.calibration.profile.table import Table, interpolate
from splitd.errors import ProfileError

SECONDS = st.floats(0, 100, allow_nan=False)
POINTS = st.dictionaries(st.integers(1, 256), SECONDS, min_size=1, max_size=8).map(
    lambda points: sorted(points.items())
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
)


@given(POINTS)
def test_interpolation_goes_through_every_measured_point(points: list[tuple[int, float]]) -> None:
    sizes, values = zip(*points, strict=True)
    assert [interpolate(sizes, values, size) for size in sizes] == pytest.approx(list(values))


@given(POINTS, st.integers(1, 1024))
def test_no_batch_size_takes_negative_time(points: list[tuple[int, float]], batch: int) -> None:
    sizes, values = zip(*points, strict=True)
    assert interpolate(sizes, values, batch) >= 0


@given(POINTS, st.integers(257, 1024))
def test_a_batch_beyond_the_largest_never_takes_less(points: list[tuple[int, float]], batch: int) -> None:
    sizes, values = zip(*points, strict=True)
    assert interpolate(sizes, values, batch) >= values[-1] - 1e-9


@given(st.integers(1, 7).flatmap(lambda width: st.lists(st.lists(SECONDS, min_size=width, max_size=width), min_size=1)))
def test_medians_of_prefix_sums_never_fall_along_the_chain(passes: list[list[float]]) -> None:
    prefixes = [list(accumulate(laps)) for laps in passes]
    heads = [Measurement.of(column).median for column in zip(*prefixes, strict=True)]
    assert all(earlier <= later for earlier, later in pairwise(heads))


@given(JSON)
def test_any_json_is_refused_with_a_profile_error(value: object) -> None:
    with pytest.raises(ProfileError):
        LatencyProfile.from_json(value)


@given(st.data(), st.integers(1, 4), st.integers(1, 3))
def test_a_table_survives_json_to_the_last_digit(data: st.DataObject, rows: int, batches: int) -> None:
    cell = st.lists(SECONDS, min_size=1, max_size=5).map(Measurement.of)
    table = Table(tuple(tuple(data.draw(cell) for _ in range(batches)) for _ in range(rows)))
    again = Table.from_json(json.loads(json.dumps(table.to_json(raw=True))), "table", rows=rows, batches=batches)
    for row, expected in zip(again.rows, table.rows, strict=True):
        assert row == expected
