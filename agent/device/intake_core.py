"""The intake without its socket: requests and the time go in, batches and exactly one answer per request come out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from splitd.agent.client import Answer, decode_request, encode_answer, encode_error, request_id_of
from splitd.agent.configuration import IntakeConfig
from splitd.agent.device.batcher import Batcher, Job
from splitd.errors import DeadlineError, InputError, LinkError, SplitdError

BYTES_PER_MB = 1_000_000
_STOPPING = "the agent is stopping; ask again when it has restarted"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one caller is to be told about one request."""

    caller: bytes
    request_id: int
    outcome: Answer | SplitdError

    def frames(self) -> Sequence[bytes | memoryview]:
        """Return the message for the socket: the caller's routing id, then the answer's or the error's frames."""
        if isinstance(self.outcome, Answer):
            return [self.caller, *encode_answer(self.outcome)]
        return [self.caller, *encode_error(self.request_id, self.outcome)]


class IntakeCore:
    """The requests of all applications, from their acceptance to their answer. Not thread-safe; times are monotonic.

    A request is accepted or refused as it comes. A refused one is told so; an accepted one is open until the first of
    `finish`, its deadline (`expire`) and `close`, which makes its one delivery. Whatever comes for it later is dropped.
    """

    def __init__(self, config: IntakeConfig) -> None:
        self.accepted = 0
        self.refused = 0
        self.expired = 0
        self._limit_bytes = config.max_request_mb * BYTES_PER_MB
        self._deadline_ms = config.deadline_ms
        self._batcher = Batcher(config.max_batch, config.max_wait_ms / 1000, config.max_queue)
        self._open: dict[tuple[bytes, int], Job] = {}
        self._deliveries: deque[Delivery] = deque()
        self._draining = False

    @property
    def open_requests(self) -> int:
        """How many accepted requests have no answer yet."""
        return len(self._open)

    @property
    def queued(self) -> int:
        """How many requests wait to be put into a batch."""
        return len(self._batcher)

    def on_request(self, now_s: float, caller: bytes, frames: list[bytes]) -> None:
        """Take in one message of a caller: accept it, or tell the caller why not."""
        try:
            self._accept(now_s, caller, frames)
        except SplitdError as error:
            self.refused += 1
            self._deliveries.append(Delivery(caller, request_id_of(frames), error))
        else:
            self.accepted += 1

    def take_batch(self, now_s: float) -> list[Job] | None:
        """Return the next batch if one is ready, else None."""
        return self._batcher.take(now_s)

    def batch_ready_s(self) -> float | None:
        """Return when the next batch is ready at the latest; None while nothing waits."""
        return self._batcher.ready_at_s()

    def finish(self, job: Job, outcome: Answer | SplitdError) -> None:
        """Answer a job, unless it has its answer."""
        # The job itself, not its key: after its deadline a caller may use the id again.
        if self._open.get(job.key) is not job:
            return
        del self._open[job.key]
        self._batcher.discard(job.key)
        self._deliveries.append(Delivery(job.caller, job.request.request_id, outcome))

    def expire(self, now_s: float) -> None:
        """Answer what is past its deadline."""
        for job in [job for job in self._open.values() if job.deadline_s <= now_s]:
            self.expired += 1
            waited_ms = (now_s - job.received_s) * 1000
            self.finish(job, DeadlineError(f"no answer within {waited_ms:.0f} ms; raise the deadline or send less"))

    def next_expiry_s(self) -> float | None:
        """Return the first deadline of the open requests; None while none is open."""
        return min((job.deadline_s for job in self._open.values()), default=None)

    def drain(self) -> None:
        """Refuse every request from now on; open ones go on."""
        self._draining = True

    def close(self) -> None:
        """Answer what is still open with an error, and refuse everything from now on."""
        self.drain()
        for job in list(self._open.values()):
            self.finish(job, LinkError(_STOPPING))

    def take_deliveries(self) -> list[Delivery]:
        """Return what callers are to be told, oldest first; each is returned once."""
        deliveries = list(self._deliveries)
        self._deliveries.clear()
        return deliveries

    def _accept(self, now_s: float, caller: bytes, frames: list[bytes]) -> None:
        # libzmq has bounded each frame, not their sum: a message of many frames goes no further than here.
        if sum(map(len, frames)) > self._limit_bytes:
            raise InputError(f"a request has at most {self._limit_bytes:.0f} bytes (intake.max_request_mb)")
        request = decode_request(frames)
        if self._draining:
            raise LinkError(_STOPPING)
        job = Job(caller, request, now_s, now_s + (request.deadline_ms or self._deadline_ms) / 1000)
        if job.key in self._open:
            raise InputError(f"request {request.request_id} is open already; give each request its own id")
        self._batcher.add(job)
        self._open[job.key] = job
