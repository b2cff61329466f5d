"""Measures this machine: which executor is fastest and right, heads, tails, codecs; keeps what it found."""

from splitd.calibration.measure.bench import Bench
from splitd.calibration.measure.environment import profile_key
from splitd.calibration.measure.obtain import CalibrationSettings, Obtained, obtain_profile
from splitd.calibration.measure.profiler import calibrate
from splitd.calibration.measure.proof import MAX_KL, MAX_RELATIVE_ERROR, Proof, prove
from splitd.calibration.measure.selection import Selection, SelectionSettings
from splitd.calibration.measure.trials import Trial, TrialReport

__all__ = [
    "MAX_KL",
    "MAX_RELATIVE_ERROR",
    "Bench",
    "CalibrationSettings",
    "Obtained",
    "Proof",
    "Selection",
    "SelectionSettings",
    "Trial",
    "TrialReport",
    "calibrate",
    "obtain_profile",
    "profile_key",
    "prove",
]
