"""The server's queue: requests in order of arrival, with an estimate of how long a new one would wait.

`Backlog` is the queue as plain data, sans-IO, its time an argument; `WorkQueue` puts a lock around it, so that the
endpoint's thread may fill it and the worker's empty it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from splitd.errors import OverloadError
from splitd.ownership import guarded

T = TypeVar("T")
# The share of this much time in which the processor was busy is the load: long enough to hold several requests of a
# large network, short enough that an agent sees within a few decisions that others have come or gone.
LOAD_WINDOW_S = 5.0


@dataclass(frozen=True)
class Queued(Generic[T]):
    """One request that waits: when it came (monotonic seconds) and how long it will probably compute."""

    item: T
    queued_s: float
    expected_s: float


class Backlog(Generic[T]):
    """Bounded first-in, first-out, of which one item at a time is running. Times are seconds on any one clock."""

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length
        self._waiting: deque[Queued[T]] = deque()
        self._running: tuple[float, float] | None = None  # since when, and how long it is expected to take
        self._busy: deque[tuple[float, float]] = deque()  # from when until when, within the last LOAD_WINDOW_S

    def add(self, now_s: float, item: T, expected_s: float) -> None:
        """Let an item wait; raises OverloadError when as many wait as may."""
        if len(self._waiting) >= self._max_length:
            raise OverloadError(f"the server has {self._max_length} requests waiting (limits.max_queue)")
        self._waiting.append(Queued(item, now_s, expected_s))

    def take(self, now_s: float) -> Queued[T] | None:
        """Take the item that has waited longest, which is running from now on; None when none waits."""
        if not self._waiting:
            return None
        queued = self._waiting.popleft()
        self._running = (now_s, queued.expected_s)
        return queued

    def finish(self, now_s: float) -> None:
        """Note that the running item is done."""
        if self._running is not None:
            self._busy.append((self._running[0], now_s))
            self._running = None
        self._forget(now_s)

    def delay_s(self, now_s: float) -> float:
        """Return how long an item that came now would wait; one that runs longer than expected counts as done."""
        waiting_s = sum(queued.expected_s for queued in self._waiting)
        if self._running is None:
            return waiting_s
        started_s, expected_s = self._running
        return waiting_s + max(0.0, started_s + expected_s - now_s)

    def running_s(self, now_s: float) -> float:
        """Return for how long the present item has been running; 0 when none is."""
        return 0.0 if self._running is None else now_s - self._running[0]

    def load(self, now_s: float) -> float:
        """Return the share of the last LOAD_WINDOW_S in which an item was running, 0 to 1."""
        self._forget(now_s)
        since_s = now_s - LOAD_WINDOW_S
        busy_s = sum(end_s - max(start_s, since_s) for start_s, end_s in self._busy)
        if self._running is not None:
            busy_s += now_s - max(self._running[0], since_s)
        return min(1.0, busy_s / LOAD_WINDOW_S)

    def is_idle(self) -> bool:
        """Tell whether nothing waits and nothing runs."""
        return not self._waiting and self._running is None

    def __len__(self) -> int:
        return len(self._waiting)

    def _forget(self, now_s: float) -> None:
        while self._busy and self._busy[0][1] < now_s - LOAD_WINDOW_S:
            self._busy.popleft()


class WorkQueue(Generic[T]):
    """A thread-safe Backlog. The worker brackets each item with `get` and `done`."""

    def __init__(self, max_length: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._changed = threading.Condition()
        self._backlog: Backlog[T] = guarded(Backlog(max_length), self._changed, "the backlog")
        self._clock = clock

    def put(self, item: T, expected_s: float) -> None:
        """Add an item; raises OverloadError when the queue is full."""
        with self._changed:
            self._backlog.add(self._clock(), item, expected_s)
            self._changed.notify_all()

    def get(self, timeout_s: float) -> Queued[T] | None:
        """Take the next item and mark it as running; None if none comes in time."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._backlog), timeout_s)
            return self._backlog.take(self._clock())

    def done(self) -> None:
        """Mark the running item as finished."""
        with self._changed:
            self._backlog.finish(self._clock())
            self._changed.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Wait until nothing waits or runs any more; return whether that came in time."""
        with self._changed:
            return self._changed.wait_for(self._backlog.is_idle, timeout_s)

    def delay_s(self) -> float:
        """Return how long an item that came now would wait."""
        with self._changed:
            return self._backlog.delay_s(self._clock())

    def running_s(self) -> float:
        """Return for how long the present item has been running; 0 when none is."""
        with self._changed:
            return self._backlog.running_s(self._clock())

    def load(self) -> float:
        """Return the share of the last seconds in which an item was running, 0 to 1."""
        with self._changed:
            return self._backlog.load(self._clock())

    def __len__(self) -> int:
        with self._changed:
            return len(self._backlog)
