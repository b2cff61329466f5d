"""The paper's evaluation for any model: a grid of states, the best split in each, the gain over static policies."""

from splitd.calibration.study.document import Study, means, study_document
from splitd.calibration.study.evaluate import ModelResult
from splitd.calibration.study.gains import CandidateSet, Gains
from splitd.calibration.study.grid import Grid
from splitd.calibration.study.hardware import find_preset, load_presets
from splitd.calibration.study.measured import FEASIBLE_BATCHES, FEASIBLE_MODELS, study_measured
from splitd.calibration.study.pool import study_roofline
from splitd.calibration.study.prose import SET_TITLES
from splitd.calibration.study.reality import CHECKED_MODELS, ShareCheck, check_shares
from splitd.calibration.study.report import write_report
from splitd.calibration.study.settings import Cost, LatencySource, Processors, StudySettings
from splitd.calibration.study.subjects import PAPER_MODELS

__all__ = [
    "CHECKED_MODELS",
    "FEASIBLE_BATCHES",
    "FEASIBLE_MODELS",
    "PAPER_MODELS",
    "SET_TITLES",
    "CandidateSet",
    "Cost",
    "Gains",
    "Grid",
    "LatencySource",
    "ModelResult",
    "Processors",
    "ShareCheck",
    "Study",
    "StudySettings",
    "check_shares",
    "find_preset",
    "load_presets",
    "means",
    "study_document",
    "study_measured",
    "study_roofline",
    "write_report",
]
