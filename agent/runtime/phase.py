"""Where a daemon stands, for people and for `splitctl wait`: starting, calibrating, ready or degraded, stopping."""

from __future__ import annotations

import threading
import time

from splitd.agent.client import DaemonState
from splitd.errors import SplitdError


class StoppedError(SplitdError):
    """Raised inside a daemon's start when it is told to stop before it was ready."""

    code = "stopped"


class Phase:
    """The state with its one-line explanation; thread-safe.

    `stop` is the one way to tell a daemon's start to end: whatever takes long there calls `check`, `starting`
    or `calibrating` between its steps.
    """

    def __init__(self) -> None:
        self._now: tuple[DaemonState, str] = ("starting", "starting")
        self._started_s = time.monotonic()
        self._stopping = threading.Event()

    @property
    def state(self) -> DaemonState:
        """The state's name."""
        return self._now[0]

    @property
    def text(self) -> str:
        """What people read."""
        return self._now[1]

    @property
    def uptime_s(self) -> float:
        """Seconds since the daemon was made."""
        return time.monotonic() - self._started_s

    def set(self, state: DaemonState, text: str) -> None:
        """Change the state, unless the daemon is stopping."""
        if not self._stopping.is_set():
            self._now = (state, text)

    def starting(self, doing: str) -> None:
        """Note what a start is at; raises StoppedError when the daemon is to stop."""
        self.check()
        self.set("starting", doing)

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
