"""The paper's fourteen models: the counts of docs/method.md, and the roofline against this machine."""

from __future__ import annotations

import pytest

from splitd.calibration.study.document import means
from splitd.calibration.study.evaluate import ModelResult
from splitd.calibration.study.gains import CandidateSet
from splitd.calibration.study.grid import Grid
from splitd.calibration.study.hardware import load_presets
from splitd.calibration.study.pool import study_roofline
from splitd.calibration.study.reality import TOLERANCE, check_shares
from splitd.calibration.study.settings import Processors, StudySettings
from splitd.calibration.study.subjects import PAPER_MODELS
from tests.support.efficientnets import assert_cuts_are_blocks, block_shapes
from tests.support.meta_models import meta_model

pytestmark = pytest.mark.slow

# image side, blocks, natural, compressive, parameters in millions as the papers and timm print them
EXPECTED = {
    "efficientnet_b0": (224, 16, 15, 4, 5.3),
    "efficientnet_b1": (240, 23, 21, 4, 7.8),
    "efficientnet_b2": (260, 23, 21, 4, 9.1),
    "efficientnet_b3": (300, 26, 24, 4, 12.2),
    "efficientnet_b4": (380, 32, 30, 4, 19.3),
    "efficientnet_b5": (456, 39, 36, 4, 30.4),
    "efficientnet_b6": (528, 45, 42, 4, 43.0),
    "tf_efficientnetv2_b0": (224, 21, 20, 4, 7.1),
    "tf_efficientnetv2_b1": (240, 27, 25, 4, 8.1),
    "tf_efficientnetv2_b2": (260, 28, 26, 4, 10.1),
    "tf_efficientnetv2_b3": (300, 32, 30, 4, 14.4),
    "tf_efficientnetv2_s": (384, 40, 34, 3, 21.5),
    "tf_efficientnetv2_m": (480, 57, 49, 3, 54.1),
    "tf_efficientnetv2_l": (480, 79, 68, 3, 118.5),
}
RATIOS = {
    "efficientnet_b0": [0.5, 0.208, 0.104, 0.0625],
    "efficientnet_b4": [0.667, 0.298, 0.149, 0.090],
    "tf_efficientnetv2_s": [0.333, 0.167, 0.083],
    "tf_efficientnetv2_l": [0.5, 0.25, 0.125],
}


@pytest.fixture(scope="module")
def results() -> dict[str, ModelResult]:
    presets = load_presets()
    processors = Processors(presets["rtx2080ti-300mhz"], presets["rtx2080ti"])
    settings = StudySettings(Grid.of(range(1, 63), range(1, 128)), processors=processors)
    studied = study_roofline(tuple(PAPER_MODELS), settings, lambda *_: None)
    return {result.facts.model: result for result in studied}


def test_counts_and_sizes(results: dict[str, ModelResult]) -> None:
    found = {
        model: (
            result.facts.image_shape[1],
            len(result.facts.cuts),
            result.facts.natural,
            len(result.facts.compressive),
            round(result.facts.parameters / 1e6, 1),
        )
        for model, result in results.items()
    }
    assert found == EXPECTED


@pytest.mark.parametrize("model", EXPECTED)
def test_the_cuts_are_the_blocks_of_the_model(results: dict[str, ModelResult], model: str) -> None:
    size = EXPECTED[model][0]
    assert_cuts_are_blocks(results[model].facts.cuts, block_shapes(meta_model(model), size), size)


@pytest.mark.parametrize("model", RATIOS)
def test_compressive_bottlenecks(results: dict[str, ModelResult], model: str) -> None:
    assert [cut.ratio for cut in results[model].facts.compressive] == pytest.approx(RATIOS[model], abs=6e-4)


def test_the_counts_lie_in_the_paper_s_ranges(results: dict[str, ModelResult]) -> None:
    natural = [result.facts.natural for result in results.values()]
    assert (min(natural), max(natural)) == (15, 68)
    assert {len(result.facts.compressive) for result in results.values()} == {3, 4}


def test_the_paper_s_gain_lies_within_the_sweep(results: dict[str, ModelResult]) -> None:
    swept = [
        sum(result.sweep[efficiency][CandidateSet.NO_FULL].gain_vs_none for result in results.values()) / len(results)
        for efficiency in (0.02, 1.0)
    ]
    assert swept[0] > 0.30
    assert swept[1] < 0.20
    private = means(list(results.values()))[CandidateSet.NO_FULL]
    assert 0.2 < private.gain_vs_none < 0.4


def test_roofline_shares_agree_with_this_machine() -> None:
    models = ("efficientnet_b0", "tf_efficientnetv2_b1", "resnet18")
    checks = check_shares(models, lambda *_: None)
    assert {check.model: check.largest_difference for check in checks if not check.agrees} == {}
    assert all(len(check.cuts) >= 3 for check in checks)
    assert TOLERANCE == 0.10
