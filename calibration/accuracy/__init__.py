"""What a lossy codec does to the answers, and which codecs may therefore not be used at which cut."""

from splitd.calibration.accuracy.guard import AccuracySettings, Guard, obtain_guard

__all__ = ["AccuracySettings", "Guard", "obtain_guard"]
