"""Where a daemon stands, for people and for `splitctl wait`: starting, calibrating, ready or degraded, stopping."""

from __future__ import annotations

import threading
import time
from typing import Any

from splitd.agent.runtime.service import StoppedError


class Phase:
    """The state with its one-line explanation; thread-safe."""

    def __init__(self) -> None:
        self._now = ("starting", "starting")
        self._started_s = time.monotonic()
        self._stopping = threading.Event()

    @property
    def state(self) -> str:
        """The state's name."""
        return self._now[0]

    @property
    def text(self) -> str:
        """What people read."""
        return self._now[1]

    def set(self, state: str, text: str) -> None:
        """Change the state, unless the daemon is stopping."""
        if not self._stopping.is_set():
            self._now = (state, text)

    def calibrating(self, share: float, doing: str) -> None:
        """Note the progress of a calibration; raises StoppedError when the daemon is to stop."""
        self.check()
        self.set("calibrating", f"calibrating, {share:.0%}: {doing}")

    def check(self) -> None:
        """Raise StoppedError when the daemon is to stop."""
        if self._stopping.is_set():
            raise StoppedError("told to stop")

    def stop(self) -> None:
        """Enter the last state."""
        self.set("stopping", "finishing what is in flight")
        self._stopping.set()

    def view(self) -> dict[str, Any]:
        """Return the state for the status document."""
        state, text = self._now
        return {"state": state, "state_text": text, "uptime_s": time.monotonic() - self._started_s}
