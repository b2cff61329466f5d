"""The fourteen models over 62 x 127 states, all tables, in under a minute on two idle cores."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from splitd.calibration.study.document import Study, study_document
from splitd.calibration.study.grid import Grid
from splitd.calibration.study.hardware import load_presets
from splitd.calibration.study.pool import study_roofline
from splitd.calibration.study.settings import Processors, StudySettings
from splitd.calibration.study.subjects import PAPER_MODELS
from splitd.calibration.study.tables import csv_tables

LIMIT_S = 60


@pytest.mark.slow
def test_the_paper_s_study(benchmark: BenchmarkFixture) -> None:
    presets = load_presets()
    processors = Processors(presets["rtx2080ti-300mhz"], presets["rtx2080ti"])
    models = tuple(PAPER_MODELS) if benchmark.enabled else ("efficientnet_b0",)  # the suite runs it for correctness
    settings = StudySettings(Grid.of(range(1, 63), range(1, 128)), processors=processors)

    def study() -> tuple[dict[str, object], dict[str, str]]:
        results = study_roofline(models, settings, lambda *_: None)
        return study_document(results, settings, "device", "server"), csv_tables(Study(settings, results))

    document, tables = benchmark.pedantic(study, rounds=1)
    assert len(document["models"]) == len(models)
    assert set(tables) >= {"models", "gains", "fixed_splits", "sweep"}
    if benchmark.enabled:
        assert benchmark.stats.stats.max < LIMIT_S
