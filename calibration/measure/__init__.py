"""Measures this machine: heads, tails, codecs, with generated or sample images, and keeps the profile."""

from splitd.calibration.measure.bench import Bench
from splitd.calibration.measure.environment import profile_key
from splitd.calibration.measure.obtain import CalibrationSettings, Obtained, obtain_profile
from splitd.calibration.measure.profiler import calibrate

__all__ = ["Bench", "CalibrationSettings", "Obtained", "calibrate", "obtain_profile", "profile_key"]
