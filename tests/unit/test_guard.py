"""The guard refuses every lossy codec that it has no good reason to trust, and says why."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from splitd.calibration.accuracy.fidelity import Fidelity, measure_fidelity
from splitd.calibration.accuracy.guard import GENERATED_SAMPLES, AccuracySettings, Guard, obtain_guard
from splitd.calibration.accuracy.report import FidelityKey, FidelityReport, report_path
from splitd.calibration.chain import Engine
from splitd.calibration.images.preprocess import Preprocessing
from splitd.calibration.images.samples import generated_images
from splitd.calibration.model.graph import export_graph, find_cuts
from splitd.calibration.model.models import LoadedModel, ModelSpec
from splitd.errors import CodecError, ProfileError
from tests.support.chains import engine_of

SIZE = (3, 16, 16)
CODECS = ("f32", "f16", "u8", "u8+lz4", "raw", "jpeg90")
KEY = FidelityKey("b" * 32, ("input", "conv", "output"), CODECS, "generated")


def a_guard(*, agreeing: int = 50, error: float = 0.1, bound: float = 0.99) -> Guard:
    return Guard(bound, FidelityReport(KEY, {(1, "u8"): Fidelity(agreeing, 50, error, 31.0)}))


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 49, 5)).eval()
    return LoadedModel(ModelSpec("test"), model, export_graph(model, SIZE), Preprocessing.imagenet(SIZE), "b" * 32)


@pytest.fixture(scope="module")
def engine(loaded: LoadedModel) -> Engine:
    return engine_of(loaded, find_cuts(loaded.graph, "op")[:1])


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    folder.mkdir()
    for index in range(3):
        Image.new("RGB", SIZE[1:], (50 * index, 90, 200 - 50 * index)).save(folder / f"{index}.png")
    return folder


def test_without_samples_only_lossless_codecs_and_half_precision_pass() -> None:
    guard = Guard(0.99, None)
    passed = [
        label
        for label in ("f32", "f32+lz4", "raw", "f16", "f16+lz4", "u8", "u8h", "u4h")
        if not guard.refusal(1, label)
    ]
    assert passed == ["f32", "f32+lz4", "raw", "f16", "f16+lz4"]
    assert guard.refusal(0, "jpeg95") is not None
    assert "accuracy.samples" in str(guard.refusal(1, "u8"))
    assert guard.basis == "no sample images: only lossless codecs and f16 are used"


def test_a_codec_at_the_bound_passes() -> None:
    assert a_guard(agreeing=49, bound=0.98).refusal(1, "u8") is None


def test_a_codec_below_the_bound_is_refused_with_its_figures() -> None:
    refusal = a_guard(agreeing=49).refusal(1, "u8")
    assert refusal == "top-1 agreement 49/50 is below 0.99 (relative error of the outputs 0.1, SNR 31 dB)"


def test_outputs_that_are_not_finite_are_refused_however_well_they_agree() -> None:
    assert a_guard(error=math.inf).refusal(1, "u8") == "the model's output is not finite with it"


def test_a_lossy_codec_that_was_not_measured_is_refused() -> None:
    assert a_guard().refusal(2, "u8") == "lossy, and its accuracy was not measured at this cut"


def test_every_lossy_codec_is_measured_where_it_goes(tmp_path: Path, engine: Engine) -> None:
    done: list[float] = []
    settings = AccuracySettings(CODECS, samples="generated")
    guard = obtain_guard(engine, settings, state_dir=tmp_path, progress=lambda share, _: done.append(share))
    assert guard.report is not None
    assert set(guard.report.results) == {(0, "jpeg90"), (1, "f16"), (1, "u8"), (1, "u8+lz4")}
    assert guard.report.results[1, "u8"] == guard.report.results[1, "u8+lz4"]
    assert guard.report.results[1, "u8"].snr_db > 30
    assert guard.basis == f"top-1 agreement of at least 0.99 on {GENERATED_SAMPLES} generated images"
    assert done == sorted(done)
    assert 0 <= done[0] <= done[-1] < 1


def test_without_lossy_codecs_there_is_nothing_to_measure(tmp_path: Path, engine: Engine) -> None:
    settings = AccuracySettings(("f32", "f32x", "raw"), samples="generated")
    guard = obtain_guard(engine, settings, state_dir=tmp_path)
    assert guard.basis == "no lossy codec is configured"
    assert guard.refusal(1, "u8") == "lossy, and its accuracy was not measured at this cut"


def test_a_report_is_reused_until_a_sample_changes(
    tmp_path: Path, engine: Engine, samples: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = AccuracySettings(CODECS, samples=str(samples))

    def measured() -> bool:
        steps: list[float] = []
        guard = obtain_guard(engine, settings, state_dir=tmp_path, progress=lambda share, _: steps.append(share))
        assert guard.report is not None
        assert guard.report.samples == 3
        return bool(steps)

    assert measured()
    assert not measured()
    os.utime(samples / "1.png", ns=(1, 1))
    with caplog.at_level(logging.INFO):
        assert measured()
    assert "the saved accuracy report no longer fits and is measured anew: samples: was " in caplog.text


def test_another_bound_needs_no_new_measurement(tmp_path: Path, engine: Engine, samples: Path) -> None:
    settings = AccuracySettings(CODECS, samples=str(samples))
    first = obtain_guard(engine, settings, state_dir=tmp_path)
    stricter = dataclasses.replace(settings, min_agreement=1.0)
    second = obtain_guard(engine, stricter, state_dir=tmp_path, progress=lambda *_: pytest.fail("measured"))
    assert first.report is not None
    assert second.report is not None
    assert set(second.report.results) == set(first.report.results)


@pytest.mark.parametrize("content", ["absent", "empty"])
def test_samples_that_cannot_be_used_leave_only_what_needs_none(tmp_path: Path, engine: Engine, content: str) -> None:
    folder = tmp_path / "nothing"
    if content == "empty":
        folder.mkdir()
    guard = obtain_guard(engine, AccuracySettings(CODECS, samples=str(folder)), state_dir=tmp_path)
    assert guard.refusal(1, "u8") is not None
    assert guard.refusal(1, "f16") is None
    assert str(folder) in guard.problems[0]


def test_a_damaged_report_is_reported_and_replaced(tmp_path: Path, engine: Engine) -> None:
    settings = AccuracySettings(CODECS, samples="generated")
    obtain_guard(engine, settings, state_dir=tmp_path)
    path = report_path(tmp_path, engine.digest)
    path.write_bytes(path.read_bytes()[:100])
    mended = obtain_guard(engine, settings, state_dir=tmp_path)
    assert mended.report is not None
    assert any(str(path) in problem for problem in mended.problems)
    assert obtain_guard(engine, settings, state_dir=tmp_path).problems == ()


def test_a_state_directory_that_cannot_be_written_costs_only_the_saving(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "state").write_text("a file, not a directory")
    settings = AccuracySettings(CODECS, samples="generated")
    guard = obtain_guard(engine, settings, state_dir=tmp_path / "state")
    assert guard.report is not None
    assert "cannot be saved" in guard.problems[-1]


def test_an_unknown_codec_is_refused(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(CodecError, match="u9"):
        obtain_guard(engine, AccuracySettings(("u9",), samples="generated"), state_dir=tmp_path)


def test_a_report_survives_json_with_its_infinities() -> None:
    exact = Fidelity(50, 50, 0.0, math.inf)
    broken = Fidelity(0, 50, math.inf, -3.0)
    report = FidelityReport(KEY, {(0, "jpeg90"): broken, (1, "u8"): exact})
    again = FidelityReport.from_json(json.loads(json.dumps(report.to_json(), allow_nan=False)))
    assert again == report


def _set(path: str, value: object) -> Any:
    found = json.loads(json.dumps(a_guard().report.to_json()))  # type: ignore[union-attr]
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
        {},
        _set("key", 1),
        _set("key/codecs", "u8"),
        _set("key/samples", "\x1b"),
        _set("results", {}),
        _set("results/0/k", 2),
        _set("results/0/samples", 0),
        _set("results/0/agreeing", 51),
        _set("results/0/relative_error", math.nan),
        _set("results/0/relative_error", -1),
        _set("results/0/snr_db", "much"),
        _set("results/0/snr_db", math.inf),
    ],
)
def test_a_hostile_report_is_refused(hostile: object) -> None:
    with pytest.raises(ProfileError):
        FidelityReport.from_json(hostile)


def test_a_codec_that_ruins_the_outputs_shows_in_every_figure(engine: Engine) -> None:
    images = generated_images(8, *SIZE[1:])  # smooth: of noise, JPEG's halved colours leave little at any quality
    found = measure_fidelity(engine, images, ("jpeg1", "jpeg100"))
    rough, fine = found[0, "jpeg1"], found[0, "jpeg100"]
    assert rough.relative_error > fine.relative_error > 0
    assert rough.snr_db < fine.snr_db
