"""Batching, sans-IO: jobs go in with their time, batches of one kind come out. No socket, no thread, no clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from splitd.agent.client import Request
from splitd.errors import InputError, OverloadError


@dataclass(frozen=True)
class Job:
    """One accepted request; times are monotonic seconds. Equal only to itself."""

    caller: bytes
    request: Request
    received_s: float
    deadline_s: float

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.request.items)

    @property
    def key(self) -> tuple[bytes, int]:
        """What tells one open request from another."""
        return self.caller, self.request.request_id


@dataclass
class Batcher:
    """A bounded first-in, first-out queue that hands out batches.

    A batch holds consecutive jobs of one kind, at most `max_batch` samples. It is ready when it is full, when a job of
    another kind waits behind it, or when its first job has waited `max_wait_s` (0: whoever asks gets
    what has come).
    """

    max_batch: int
    max_wait_s: float
    max_queue: int
    _queue: deque[Job] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, job: Job) -> None:
        """Accept a job.

        Raises:
            InputError: It is larger than any batch may be.
            OverloadError: The queue is full.
        """
        if job.size > self.max_batch:
            raise InputError(f"a request holds at most {self.max_batch} inputs (intake.max_batch); this one {job.size}")
        if len(self._queue) >= self.max_queue:
            raise OverloadError(f"{self.max_queue} requests are waiting already (intake.max_queue); try again later")
        self._queue.append(job)

    def take(self, now_s: float) -> list[Job] | None:
        """Return the next batch if one is ready at `now_s`, else None."""
        batch, closed = self._front()
        if not batch or (not closed and now_s < batch[0].received_s + self.max_wait_s):
            return None
        for _ in batch:
            self._queue.popleft()
        return batch

    def ready_at_s(self) -> float | None:
        """Return when the front batch is ready at the latest; None when nothing waits."""
        return self._queue[0].received_s + self.max_wait_s if self._queue else None

    def discard(self, key: tuple[bytes, int]) -> None:
        """Forget a waiting job, if it is still waiting."""
        if self._queue:
            self._queue = deque(job for job in self._queue if job.key != key)

    def _front(self) -> tuple[list[Job], bool]:
        """Return the jobs of the front batch, and whether nothing more can join it."""
        batch: list[Job] = []
        samples = 0
        for job in self._queue:
            if batch and job.request.kind != batch[0].request.kind:
                return batch, True
            if samples + job.size > self.max_batch:
                return batch, True
            batch.append(job)
            samples += job.size
        return batch, samples == self.max_batch
