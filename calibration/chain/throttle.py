"""A slower device, emulated: after each piece of work the processor idles, so that it ran at a share of its speed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from splitd.errors import UsageError


class Throttle:
    """Makes the work inside `with throttle:` take 1/share times as long, by idling when the block ends.

    A block that was busy for t seconds is followed by t·(1/share - 1) seconds of sleep. What a sleep overshoots (a
    scheduler tick, 0.1 ms each) is taken off the next one, so a chain of short segments keeps the share exactly.
    Blocks nest and run in several threads at once; only the outermost block of a thread idles.

    Args:
        share: 0 < share <= 1, the share of full speed; None or 1 means full speed and costs nothing.
        sync: waits for the device to finish; it runs before the clock is read, so queued GPU work counts as busy.
        clock, sleep: seconds, and how to let them pass.

    Raises:
        UsageError: `share` is out of range.
    """

    def __init__(
        self,
        share: float | None,
        *,
        sync: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if share is not None and not 0 < share <= 1:
            raise UsageError(f"throttle: {share} is not a share of full speed; give a number above 0, at most 1")
        self.share = 1.0 if share is None else share
        self._sync = sync
        self._clock = clock
        self._sleep = sleep
        self._state = _ThreadState()

    @property
    def slowdown(self) -> float:
        """How many times as long throttled work takes: 1/share."""
        return 1.0 / self.share

    @property
    def active(self) -> bool:
        """True if work is slowed down at all."""
        return self.share < 1.0

    def __enter__(self) -> Throttle:
        state = self._state
        if state.depth == 0:
            state.started_s = self._clock()
        state.depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        state = self._state
        state.depth -= 1
        if self.active and state.depth == 0 and kind is None:
            self._idle(state)

    def _idle(self, state: _ThreadState) -> None:
        if self._sync is not None:
            self._sync()
        finished_s = self._clock()
        idle_s = (finished_s - state.started_s) * (self.slowdown - 1.0) - state.overslept_s
        if idle_s > 0:
            self._sleep(idle_s)
        state.overslept_s = self._clock() - finished_s - idle_s


class _ThreadState(threading.local):
    """What one thread is in the middle of."""

    depth: int = 0
    started_s: float = 0.0
    overslept_s: float = 0.0
