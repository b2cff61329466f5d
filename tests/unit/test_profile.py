"""A saved profile comes back whole or not at all, and is measured anew when anything it depends on has changed."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitd.calibration.profile.latency import CodecCost, LatencyProfile, ProfileKey, profile_path
from splitd.calibration.profile.measurement import Measurement
from splitd.calibration.profile.table import Table
from splitd.errors import ProfileError

KEY = ProfileKey(
    model_digest="0123456789abcdef0123456789abcdef",
    cut_names=("input", "blocks.0", "output"),
    device="a small board",
    power_mode="nvpmodel 0002",
    executor="torch",
    executor_version="2.15.0",
    threads=1,
    throttle=0.5,
    batch_sizes=(1, 4),
    codecs=("f32", "u8", "raw"),
)


def row(*medians: float) -> tuple[Measurement, ...]:
    return tuple(Measurement.of([0.9 * median, median, 1.1 * median]) for median in medians)


def a_profile(key: ProfileKey = KEY) -> LatencyProfile:
    return LatencyProfile(
        key=key,
        heads=Table((row(0.0, 0.0), row(0.1, 0.4), row(0.3, 0.9))),
        tails=Table((row(0.3, 0.9), row(0.2, 0.5), row(0.0, 0.0))),
        codecs={
            (1, "u8"): CodecCost((1000, 4000), encode=row(0.01, 0.03)),
            (1, "f32"): CodecCost((4000, 16000), encode=row(0.0, 0.0)),
            (0, "raw"): CodecCost((150, 600), encode=row(0.001, 0.002)),
        },
        throttle_ratio=1.02,
    )


def document() -> Any:
    return json.loads(json.dumps(a_profile().to_json()))


def test_medians_are_interpolated_over_the_batch_size() -> None:
    profile = a_profile()
    assert [profile.head_s(1, batch) for batch in (1, 2, 4)] == pytest.approx([0.1, 0.2, 0.4])
    assert profile.tail_s(1, 3) == pytest.approx(0.4)
    assert profile.encode_s(1, "u8", 2) == pytest.approx(0.01 + 0.02 / 3)
    assert profile.wire_bytes(1, "u8", 3) == 3000


def test_beyond_the_largest_size_the_last_line_goes_on() -> None:
    assert a_profile().head_s(2, 7) == pytest.approx(0.9 + 0.6)


def test_a_calibrated_cell_keeps_its_spread_and_samples() -> None:
    cell = a_profile().head(2, 4)
    assert cell.median == pytest.approx(0.9)
    assert cell.iqr == pytest.approx(0.09)
    assert len(cell.samples) == 3


def test_codecs_are_listed_per_position_in_the_configured_order() -> None:
    profile = a_profile()
    assert [profile.codecs_at(k) for k in range(3)] == [("raw",), ("f32", "u8"), ()]


@pytest.mark.parametrize(
    "ask",
    [
        lambda p: p.head(1, 3),
        lambda p: p.head(3, 1),
        lambda p: p.tail_s(-1, 1),
        lambda p: p.decode_s(1, "u8", 1),
        lambda p: p.encode_s(1, "f16", 1),
        lambda p: dataclasses.replace(p, heads=None).head_s(1, 1),
    ],
)
def test_asking_for_what_was_not_measured_is_an_error(ask: Any) -> None:
    with pytest.raises(ProfileError):
        ask(a_profile())


def test_a_saved_profile_comes_back_whole(tmp_path: Path) -> None:
    path = profile_path(tmp_path / "state", KEY)
    a_profile().save(path)
    loaded = LatencyProfile.load(path, KEY)
    assert loaded is not None
    assert loaded.to_json(raw=True) == a_profile().to_json(raw=True)
    assert loaded.head(1, 4).samples == a_profile().head(1, 4).samples
    assert list(path.parent.iterdir()) == [path]


@given(st.lists(st.lists(st.floats(0, 1e4), min_size=1, max_size=5), min_size=6, max_size=6), st.floats(0, 1e6))
def test_a_profile_that_was_sent_decides_as_the_one_that_was_measured(times: list[list[float]], ratio: float) -> None:
    measured = [Measurement.of(samples) for samples in times]
    tables = [Table(tuple((cell, measured[0]) for cell in measured[i : i + 3])) for i in (0, 3)]
    profile = dataclasses.replace(a_profile(), heads=tables[0], tails=tables[1], throttle_ratio=ratio)
    again = LatencyProfile.from_json(json.loads(json.dumps(profile.to_json())))
    assert again.to_json() == profile.to_json()
    assert again.throttle_ratio == profile.throttle_ratio
    for k in range(3):
        assert [again.head_s(k, batch) for batch in range(1, 9)] == [profile.head_s(k, batch) for batch in range(1, 9)]
        assert [again.tail_s(k, batch) for batch in range(1, 9)] == [profile.tail_s(k, batch) for batch in range(1, 9)]


def test_what_root_saved_the_daemon_can_read(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    a_profile().save(path)
    assert path.stat().st_mode & 0o777 == 0o644


def test_no_file_is_no_profile(tmp_path: Path) -> None:
    assert LatencyProfile.load(tmp_path / "none.json", KEY) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_digest": "f" * 32}, "model_digest: was 0123456789abcdef0123456789abcdef, is ffff"),
        ({"power_mode": "nvpmodel 0000"}, "power_mode: was nvpmodel 0002, is nvpmodel 0000"),
        ({"throttle": 1.0}, "throttle: was 0.5, is 1.0"),
        ({"executor_version": "2.16.0"}, "executor_version: was 2.15.0, is 2.16.0"),
        ({"threads": 2}, "threads: was 1, is 2"),
        ({"codecs": ("f32",)}, "codecs: was f32, u8, raw, is f32"),
        ({"cut_names": ("input", "blocks.1", "output")}, "cut_names: was input, blocks.0, output"),
        ({"batch_sizes": (1, 8)}, "batch_sizes: was 1, 4, is 1, 8"),
        ({"device": "a larger board"}, "device: was a small board"),
        ({"role": "server"}, "role: was device, is server"),
    ],
)
def test_a_profile_of_something_else_is_measured_anew_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "profile.json"
    a_profile().save(path)
    with caplog.at_level(logging.INFO):
        assert LatencyProfile.load(path, dataclasses.replace(KEY, **change)) is None
    assert said in caplog.text
    assert str(path) in caplog.text


def test_every_truncation_is_reported_with_the_path_and_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    a_profile().save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ProfileError, match=r"profile\.json.*delete it, or run `splitd calibrate`"):
            LatencyProfile.load(path, KEY)


def test_a_changed_number_fails_the_checksum(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    a_profile().save(path)
    text = path.read_text()
    assert "16000" in text
    path.write_text(text.replace("16000", "16001"))
    with pytest.raises(ProfileError, match="checksum"):
        LatencyProfile.load(path, KEY)


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"kind":NaN}', b"\xff\xfe", b"[" * 100_000])
def test_foreign_content_is_a_damaged_profile(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(content)
    with pytest.raises(ProfileError, match="damaged"):
        LatencyProfile.load(path, KEY)


def test_a_profile_of_another_schema_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    a_profile().save(path)
    path.write_text(path.read_text().replace('"schema_version":1}', '"schema_version":2}'))
    with pytest.raises(ProfileError, match="schema version is 2"):
        LatencyProfile.load(path, KEY)


def test_saving_into_an_impossible_directory_is_a_profile_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ProfileError, match="cannot be saved"):
        a_profile().save(tmp_path / "file" / "profile.json")


def test_a_file_that_cannot_be_read_is_a_profile_error(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be read"):
        LatencyProfile.load(tmp_path, KEY)


def test_a_failed_save_keeps_the_old_file_and_leaves_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "profile.json"
    a_profile().save(path)
    before = path.read_bytes()

    def full_disk(handle: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ProfileError, match="No space left on device"):
        a_profile().save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_document_for_a_peer_is_compact() -> None:
    assert "samples" not in json.dumps(document())
    again = LatencyProfile.from_json(document())
    assert again.head_s(2, 4) == pytest.approx(0.9)
    assert again.head(2, 4).samples == ()


def _set(path: str, value: object) -> Any:
    found = document()
    *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    target = found
    for step in steps:
        target = target[step]
    target[last] = value
    return found


@pytest.mark.parametrize(
    "hostile",
    [
        None,
        [],
        "profile",
        {"schema_version": 2},
        _set("schema_version", 1),
        _set("key", None),
        _set("key/extra", 1),
        _set("key/cut_names", ["input"]),
        _set("key/cut_names", ["x"] * 100_000),
        _set("key/cut_names/0", "\x1b[2J"),
        _set("key/cut_names/0", "x" * 10_000),
        _set("key/batch_sizes", [4, 1]),
        _set("key/batch_sizes", []),
        _set("key/batch_sizes", [0, 1]),
        _set("key/batch_sizes", [1, True]),
        _set("key/role", "owner"),
        _set("key/role", ["device"]),
        _set("key/throttle", -1),
        _set("tails/median/0/0", -1e-9),
        _set("tails/median/0/0", math.nan),
        _set("tails/median/0/0", math.inf),
        _set("tails/median/0/0", 1e300),
        _set("tails/median/0/0", 10**400),
        _set("tails/median/0/0", "1"),
        _set("tails/median/0/0", True),
        _set("tails/median/0", [1.0]),
        _set("tails/median", [[1.0, 1.0]]),
        _set("tails/iqr", None),
        _set("tails", None),
        _set("heads/samples", [[[1.0], [1.0]]]),
        _set("codecs/0/k", 2),
        _set("codecs/0/k", -1),
        _set("codecs/0/k", 1.0),
        _set("codecs/0/codec", "u9"),
        _set("codecs/0/codec", {}),
        _set("codecs/0/bytes", [1]),
        _set("codecs/0/bytes", [1, 2**60]),
        _set("codecs/0/encode/median/0/0", -1),
        _set("codecs/0/encode", []),
        _set("codecs", {"k": 1}),
        _set("throttle_ratio", "fast"),
    ],
)
def test_hostile_documents_are_refused(hostile: object) -> None:
    with pytest.raises(ProfileError):
        LatencyProfile.from_json(hostile)
