"""The server's queue: requests in order of arrival, with an estimate of how long a new one would wait."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from splitd.errors import OverloadError

T = TypeVar("T")
LOAD_WINDOW_S = 5.0  # the share of this much time in which the processor was busy is the load


@dataclass(frozen=True)
class Work(Generic[T]):
    """One request that waits: when it came (monotonic seconds) and how long it will probably compute."""

    item: T
    queued_s: float
    expected_s: float


class WorkQueue(Generic[T]):
    """Bounded first-in, first-out; thread-safe. The worker brackets each item with `get` and `done`."""

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length
        self._waiting: deque[Work[T]] = deque()
        self._changed = threading.Condition()
        self._running: tuple[float, float] | None = None
        self._busy: deque[tuple[float, float]] = deque()

    def put(self, item: T, expected_s: float) -> None:
        """Add a request; raises OverloadError when the queue is full."""
        with self._changed:
            if len(self._waiting) >= self._max_length:
                raise OverloadError(f"the server has {self._max_length} requests waiting (limits.max_queue)")
            self._waiting.append(Work(item, time.monotonic(), expected_s))
            self._changed.notify()

    def get(self, timeout_s: float) -> Work[T] | None:
        """Take the next request and mark it as running; None if none comes in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, timeout_s):
                return None
            work = self._waiting.popleft()
            self._running = (time.monotonic(), work.expected_s)
            return work

    def done(self) -> None:
        """Mark the running request as finished."""
        with self._changed:
            if self._running is not None:
                self._busy.append((self._running[0], time.monotonic()))
                self._running = None

    def delay_s(self) -> float:
        """Return how long a request that came now would wait."""
        with self._changed:
            waiting_s = sum(work.expected_s for work in self._waiting)
            if self._running is None:
                return waiting_s
            started_s, expected_s = self._running
            return waiting_s + max(0.0, started_s + expected_s - time.monotonic())

    def running_s(self) -> float:
        """Return for how long the present request has been running; 0 when none is."""
        running = self._running
        return 0.0 if running is None else time.monotonic() - running[0]

    def load(self) -> float:
        """Return the share of the last seconds in which the processor was busy, 0 to 1."""
        now_s = time.monotonic()
        since_s = now_s - LOAD_WINDOW_S
        with self._changed:
            while self._busy and self._busy[0][1] < since_s:
                self._busy.popleft()
            busy_s = sum(end_s - max(start_s, since_s) for start_s, end_s in self._busy)
            if self._running is not None:
                busy_s += now_s - max(self._running[0], since_s)
        return min(1.0, busy_s / LOAD_WINDOW_S)

    def __len__(self) -> int:
        return len(self._waiting)
