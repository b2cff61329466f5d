"""Rate traces: from CSV files, with every fault named by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitd.agent.simulation.traces import load_trace, steps
from splitd.errors import InputError


def trace_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "link.csv"
    path.write_text(text)
    return path


def test_a_trace_holds_each_rate_until_the_next_and_repeats(tmp_path: Path) -> None:
    trace = load_trace(trace_file(tmp_path, "time_s,rate_bytes_per_s\n10,100\n10.5,0\n11,300\n"))
    assert [trace.rate_at(time_s) for time_s in (0.0, 0.49, 0.5, 1.0, 1.49, 1.5)] == [100, 100, 0, 300, 300, 100]
    assert trace.duration_s == pytest.approx(1.5)


def test_steps_follow_one_another() -> None:
    trace = steps("two", (2.0, 1e6), (1.0, 5e6))
    assert (trace.rate_at(1.9), trace.rate_at(2.1), trace.rate_at(3.1)) == (1e6, 5e6, 1e6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ":1: the header must be"),
        ("t,r\n0,1\n", ":1: the header must be"),
        ("time_s,rate_bytes_per_s\n", "no rows"),
        ("time_s,rate_bytes_per_s\n0,fast\n", ":2: expected two numbers"),
        ("time_s,rate_bytes_per_s\n0,1,2\n", ":2: expected two numbers"),
        ("time_s,rate_bytes_per_s\n0,1\n1,-1\n", ":3: times and rates are finite"),
        ("time_s,rate_bytes_per_s\n0,nan\n", ":2: times and rates are finite"),
        ("time_s,rate_bytes_per_s\n0,1\n0,2\n", ":3: times must ascend"),
        ("time_s,rate_bytes_per_s\n0,0\n1,0\n", "every rate is 0"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        load_trace(trace_file(tmp_path, text))
    assert str(tmp_path / "link.csv") in str(caught.value)
    assert expected in str(caught.value)


def test_a_missing_file_and_a_binary_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_trace(tmp_path / "none.csv")
    path = tmp_path / "link.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        load_trace(path)
