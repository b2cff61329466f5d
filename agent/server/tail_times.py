"""How long a tail takes here: as calibrated, times what the processor's speed is now."""

from __future__ import annotations

import threading

from splitd.agent.decide import SpeedFactor
from splitd.calibration.profile import LatencyProfile
from splitd.ownership import guarded


class TailTimes:
    """Thread-safe: the endpoint's thread asks for each request that comes, the worker tells what each one took."""

    def __init__(self, profile: LatencyProfile) -> None:
        self.profile = profile
        self._lock = threading.RLock()
        self._speed = guarded(SpeedFactor(), self._lock, "the processor's speed factor")

    def expected_s(self, now_s: float, cut: int, batch: int) -> float:
        """Return how long the tail from `cut` will probably compute for `batch` samples, seconds."""
        with self._lock:
            return self.profile.tail_s(cut, batch) * self._speed.estimate(now_s).p50

    def replace_profile(self, profile: LatencyProfile) -> None:
        """Plan with another profile from now on; what was learnt of the processor's speed belonged to the old one."""
        with self._lock:
            self.profile = profile
            self._speed = guarded(SpeedFactor(), self._lock, "the processor's speed factor")

    def observe(self, now_s: float, measured_s: float, cut: int, batch: int) -> None:
        """Take in what one tail took."""
        with self._lock:
            self._speed.observe(now_s, measured_s, self.profile.tail_s(cut, batch))
