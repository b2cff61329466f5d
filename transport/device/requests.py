"""The requests that a device has under way, from the first chunk sent to the last chunk of the answer. Sans-IO."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from splitd.errors import RemoteError, SplitdError, UsageError, WireError
from splitd.transport.estimate import Arrival, Transfer
from splitd.transport.wire import (
    MAX_CUT,
    MAX_TENSORS,
    Array,
    Assembly,
    Chunk,
    ErrorReply,
    Report,
    ServerTimings,
    TensorMeta,
    as_arrivals,
    join_raw,
)


@dataclass(frozen=True, slots=True)
class RequestMeta:
    """What a request is about: the cut, the live tensors that cross, and until when an answer is of use.

    `deadline_s` is absolute on the session's clock; None: whenever.
    """

    cut: int
    tensors: tuple[TensorMeta, ...]
    deadline_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.cut <= MAX_CUT or not 1 <= len(self.tensors) <= MAX_TENSORS:
            raise UsageError(f"cut {self.cut} with {len(self.tensors)} tensors does not cross the link")


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request; times on the session's clock, in seconds.

    `up` and `down` are what the link estimate learnt from: the request's chunks and the answer's.
    """

    outputs: tuple[Array, ...]
    server: ServerTimings
    sent_first_s: float
    sent_last_s: float
    received_s: float
    up: Transfer
    down: Transfer


RequestEnd: TypeAlias = Reply | SplitdError


@dataclass(slots=True)
class _Request:
    meta: RequestMeta
    idle_before_s: float = 0.0
    sent_first_s: float | None = None
    sent_last_s: float = 0.0
    sent_bytes: int = 0
    report: Report | None = None
    answer: Assembly | None = None
    arrivals: list[Arrival] = field(default_factory=list)
    down_idle_s: float = 0.0
    outcome: RequestEnd | None = None


class RequestTable:
    """All requests of one session, by id; a request leaves the table when its outcome is taken or it is dropped."""

    def __init__(self, max_result_bytes: int) -> None:
        self._max_result_bytes = max_result_bytes
        self._requests: dict[int, _Request] = {}
        self._last_up_s: float | None = None
        self._last_down_s: float | None = None

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._requests

    def open(self, request_id: int, meta: RequestMeta) -> None:
        """Begin a request."""
        self._requests[request_id] = _Request(meta)

    def drop(self, request_id: int) -> None:
        """Forget a request; whatever still comes for it is late."""
        self._requests.pop(request_id, None)

    def outcome(self, request_id: int) -> RequestEnd | None:
        """Return how the request ended; None while it has not. A request that is not in the table was closed."""
        request = self._requests.get(request_id)
        return UsageError("the exchange is closed") if request is None else request.outcome

    @property
    def is_busy(self) -> bool:
        """True while a request waits for its outcome."""
        return any(request.outcome is None for request in self._requests.values())

    def on_sent(self, request_id: int, now_s: float, n_bytes: int) -> None:
        """Note that a chunk of `n_bytes` (headers included) went to the socket."""
        request = self._requests.get(request_id)
        if request is not None:
            if request.sent_first_s is None:
                request.sent_first_s = now_s
                request.idle_before_s = _since(self._last_up_s, now_s)
            request.sent_last_s = now_s
            request.sent_bytes += n_bytes
        self._last_up_s = now_s

    def on_report(self, request_id: int, now_s: float, report: Report, n_bytes: int) -> None:
        """Take in the server's report, the head of an answer."""
        request = self._unanswered(request_id)
        if request.report is not None:
            raise WireError("two reports for one request")
        if request.sent_first_s is None:
            raise WireError("a report for a request of which nothing was sent")
        request.report = report
        request.down_idle_s = _since(self._last_down_s, now_s)
        self._arrived(request, now_s, n_bytes)

    def on_result(self, request_id: int, now_s: float, chunk: Chunk, n_bytes: int) -> Reply | None:
        """Take in one chunk of an answer; return the reply when it is complete."""
        request = self._unanswered(request_id)
        if request.report is None:
            raise WireError("a result came before its report")
        if request.answer is None:
            request.answer = Assembly(chunk)
        self._arrived(request, now_s, n_bytes)
        request.answer.add(chunk, request.arrivals[-1])
        if request.answer.pending_bytes > self._max_result_bytes:
            raise WireError(f"an answer over the limit of {self._max_result_bytes} bytes")
        if not request.answer.is_complete:
            return None
        request.outcome = reply = _reply(request, request.report, request.answer, now_s)
        return reply

    def on_error(self, request_id: int, error: ErrorReply) -> None:
        """End a request in the error that the server reports."""
        self._unanswered(request_id).outcome = RemoteError(error.code, error.message)

    def fail_all(self, error: SplitdError) -> None:
        """End all unfinished requests in `error`."""
        for request in self._requests.values():
            if request.outcome is None:
                request.outcome = error

    def _unanswered(self, request_id: int) -> _Request:
        request = self._requests[request_id]
        if request.outcome is not None:
            raise WireError("a second answer to one request")
        return request

    def _arrived(self, request: _Request, now_s: float, n_bytes: int) -> None:
        request.arrivals.append(Arrival(now_s, n_bytes))
        self._last_down_s = now_s


def _since(earlier_s: float | None, now_s: float) -> float:
    return float("inf") if earlier_s is None else now_s - earlier_s


def _reply(request: _Request, report: Report, answer: Assembly, now_s: float) -> Reply:
    outputs = tuple(join_raw(meta, chunks) for meta, chunks in zip(answer.tensors, answer.chunks(), strict=True))
    sent_first_s = request.sent_first_s if request.sent_first_s is not None else now_s
    up = Transfer(
        direction="up",
        kind="data",
        started_s=sent_first_s,
        ended_s=max(sent_first_s, request.arrivals[0].t_s - report.held_s),
        idle_before_s=request.idle_before_s,
        n_bytes=request.sent_bytes,
        arrivals=as_arrivals(report.arrivals),
    )
    down = Transfer(
        direction="down",
        kind="data",
        started_s=request.arrivals[0].t_s,
        ended_s=now_s,
        idle_before_s=request.down_idle_s,
        n_bytes=sum(arrival.n_bytes for arrival in request.arrivals),
        arrivals=tuple(request.arrivals),
    )
    return Reply(outputs, report.timings, sent_first_s, request.sent_last_s, now_s, up, down)
