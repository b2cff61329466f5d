"""One request of a device, from its first chunk to its answer."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from splitd.errors import DeadlineError, UsageError
from splitd.transport.device.requests import Reply, RequestEnd, RequestMeta
from splitd.transport.wire import (
    MAX_DEADLINE_MS,
    Chunk,
    EncodedLike,
    Hello,
    Outgoing,
    PlanLike,
    outgoing,
)


class Carrier(Protocol):
    """What an exchange needs of its session."""

    hello: Hello

    def clock(self) -> float:
        """Return the time in seconds."""

    def send_item(self, item: Outgoing, deadline_s: float | None) -> None:
        """Queue one chunk as soon as the credits allow."""

    def wait_outcome(self, request_id: int, deadline_s: float | None) -> RequestEnd:
        """Wait for the end of a request."""

    def close_request(self, request_id: int) -> None:
        """Forget a request."""


class Exchange:
    """One request under way. A context manager: leaving it forgets the request and tells the server.

    Chunks may be sent from several threads; the tensors' chunks may be mixed.
    """

    def __init__(self, carrier: Carrier, request: RequestMeta, request_id: int, epoch: int) -> None:
        self.request = request
        self.request_id = request_id
        self._carrier = carrier
        self._epoch = epoch
        self._is_closed = False

    def __enter__(self) -> Exchange:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def send(self, chunk: EncodedLike, tensor_index: int, plan: PlanLike, index: int, count: int) -> None:
        """Send chunk `index` of `count` of one tensor; blocks on byte credits, at most up to the deadline.

        The payload is copied unless it is `bytes`, so its buffer may be used again at once. Raises LinkError if the
        server is lost, RemoteError if it has refused the request, DeadlineError, and WireError for a chunk that does
        not fit the request.
        """
        self._check_open()
        request = self.request
        message = Chunk(
            model_digest=self._carrier.hello.model_digest,
            deadline_ms=self._deadline_ms(),
            cut=request.cut,
            tensor_index=tensor_index,
            tensor_count=len(request.tensors),
            tensor=request.tensors[tensor_index],
            codec=int(chunk.codec),
            flags=int(chunk.flags),
            chunk_index=index,
            chunk_count=count,
            first_element=plan.first_element,
            n_elements=plan.n_elements,
            payload=bytes(chunk.payload),
        )
        self._carrier.send_item(outgoing(message, epoch=self._epoch, request_id=self.request_id), request.deadline_s)

    def result(self, timeout_s: float | None = None) -> Reply:
        """Wait for the answer, at most `timeout_s` and at most up to the request's deadline.

        Raises LinkError when the server is lost (finish locally), RemoteError for the server's typed error, and
        DeadlineError.
        """
        self._check_open()
        limits_s = [self._carrier.clock() + timeout_s] if timeout_s is not None else []
        if self.request.deadline_s is not None:
            limits_s.append(self.request.deadline_s)
        outcome = self._carrier.wait_outcome(self.request_id, min(limits_s, default=None))
        if isinstance(outcome, Reply):
            return outcome
        raise outcome

    def close(self) -> None:
        """Forget the request; a server that is still at it is told."""
        if not self._is_closed:
            self._is_closed = True
            self._carrier.close_request(self.request_id)

    def _check_open(self) -> None:
        if self._is_closed:
            raise UsageError("the exchange is closed")

    def _deadline_ms(self) -> int | None:
        if self.request.deadline_s is None:
            return None
        left_s = self.request.deadline_s - self._carrier.clock()
        if left_s <= 0.0:
            raise DeadlineError("the deadline passed before the request was sent")
        return min(MAX_DEADLINE_MS, max(1, int(left_s * 1e3)))
