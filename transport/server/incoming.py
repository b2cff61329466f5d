"""A request as the server's daemon sees it, and the two ways to answer it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from splitd.transport.estimate import Arrival
from splitd.transport.wire import Array, Chunk, ServerTimings, TensorMeta


class Answerer(Protocol):
    """What takes answers: the endpoint."""

    def send_reply(self, request: IncomingRequest, outputs: Sequence[Array], timings: ServerTimings) -> None:
        """Send the outputs and the report."""

    def send_error(self, request: IncomingRequest, code: str, message: str) -> None:
        """Send a typed error."""


class IncomingRequest:
    """One complete request. Answer it once, from any thread, with `reply` or `fail`; a second answer is ignored.

    `client` names the device, `cut` the cut whose live tensors these are; `tensors` are their shapes and dtypes and
    `chunks` their encoded chunks in order (codec, flags, first_element, n_elements, payload). `deadline_s` is absolute
    on this machine's monotonic clock; None: whenever. `received_s` is when the last chunk came.
    """

    def __init__(
        self,
        answerer: Answerer,
        *,
        key: tuple[bytes, int, int],
        client: str,
        cut: int,
        deadline_s: float | None,
        tensors: tuple[TensorMeta, ...],
        chunks: tuple[tuple[Chunk, ...], ...],
        arrivals: tuple[Arrival, ...],
    ) -> None:
        self.client = client
        self.cut = cut
        self.deadline_s = deadline_s
        self.tensors = tensors
        self.chunks = chunks
        self.arrivals = arrivals
        self.key = key  # routing id, epoch, request id
        self.is_cancelled = False  # the device no longer waits, or has gone: computing would be in vain
        self._answerer = answerer

    @property
    def request_id(self) -> int:
        """The device's number for this request."""
        return self.key[2]

    @property
    def received_s(self) -> float:
        """When the last chunk arrived, on this machine's monotonic clock."""
        return max(arrival.t_s for arrival in self.arrivals)

    def reply(self, outputs: Sequence[Array], timings: ServerTimings) -> None:
        """Answer with result tensors of any shape and dtype of the wire format, at least one.

        Raises OverloadError if they exceed the endpoint's limit and WireError if one cannot cross; the request is still
        open then and wants a `fail`.
        """
        self._answerer.send_reply(self, outputs, timings)

    def fail(self, code: str, message: str) -> None:
        """Answer with a typed error; `code` is the stable name of an error class."""
        self._answerer.send_error(self, code, message)
