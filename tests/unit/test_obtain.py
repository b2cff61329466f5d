"""The profile at start-up: reused, measured anew, or measured in spite of a broken state directory."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from splitd.calibration.chain import Engine
from splitd.calibration.images.preprocess import Preprocessing
from splitd.calibration.measure.obtain import CalibrationSettings, obtain_profile
from splitd.calibration.model.graph import export_graph, find_cuts
from splitd.calibration.model.models import LoadedModel, ModelSpec
from tests.support.chains import engine_of

SIZE = (3, 16, 16)
SETTINGS = CalibrationSettings(role="device", batch_sizes=(1, 2), codecs=("f32", "raw"), repeats=3)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 49, 5)).eval()
    return LoadedModel(ModelSpec("test"), model, export_graph(model, SIZE), Preprocessing.imagenet(SIZE), "a" * 32)


@pytest.fixture(scope="module")
def engine(loaded: LoadedModel) -> Engine:
    return engine_of(loaded, find_cuts(loaded.graph, "op")[:1])


def test_the_second_start_reuses_what_the_first_measured(tmp_path: Path, engine: Engine) -> None:
    first = obtain_profile(engine, SETTINGS, state_dir=tmp_path)
    second = obtain_profile(engine, SETTINGS, state_dir=tmp_path)
    assert (first.source, second.source) == ("measured", "saved")
    assert second.profile.head(1, 2).samples == first.profile.head(1, 2).samples
    assert first.path.exists()


def test_fresh_measures_although_a_profile_fits(tmp_path: Path, engine: Engine) -> None:
    obtain_profile(engine, SETTINGS, state_dir=tmp_path)
    again = obtain_profile(engine, SETTINGS, state_dir=tmp_path, fresh=True)
    assert again.source == "measured"


@pytest.mark.parametrize(
    "change", [{"throttle": 0.9}, {"batch_sizes": (1, 3)}, {"codecs": ("f16", "raw")}, {"role": "server"}]
)
def test_other_settings_are_measured_anew(tmp_path: Path, engine: Engine, change: dict[str, object]) -> None:
    obtain_profile(engine, SETTINGS, state_dir=tmp_path)
    changed = dataclasses.replace(SETTINGS, **change)  # type: ignore[arg-type]
    assert obtain_profile(engine, changed, state_dir=tmp_path).source == "measured"


def test_other_threads_are_measured_anew(tmp_path: Path, engine: Engine) -> None:
    before = torch.get_num_threads()
    obtain_profile(engine, SETTINGS, state_dir=tmp_path)
    try:
        torch.set_num_threads(before + 1)
        assert obtain_profile(engine, SETTINGS, state_dir=tmp_path).source == "measured"
    finally:
        torch.set_num_threads(before)


def test_a_damaged_file_is_reported_and_replaced(
    tmp_path: Path, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    path = obtain_profile(engine, SETTINGS, state_dir=tmp_path).path
    path.write_bytes(path.read_bytes()[:-40])
    with caplog.at_level(logging.WARNING):
        mended = obtain_profile(engine, SETTINGS, state_dir=tmp_path)
    assert mended.source == "measured"
    assert any(str(path) in problem for problem in mended.problems)
    assert "measuring anew" in caplog.text
    assert obtain_profile(engine, SETTINGS, state_dir=tmp_path).source == "saved"


def test_a_state_directory_that_cannot_be_written_costs_only_the_saving(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "state").write_text("a file, not a directory")
    obtained = obtain_profile(engine, SETTINGS, state_dir=tmp_path / "state")
    assert obtained.source == "measured"
    assert obtained.profile.head_s(2, 1) > 0
    assert any("cannot be saved" in problem for problem in obtained.problems)
