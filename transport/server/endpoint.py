"""The server's socket for all devices: one I/O thread around `EndpointCore`, and answers from any other thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import zmq

from splitd.errors import LinkError, OverloadError, StateError, UsageError
from splitd.ownership import confined, guarded
from splitd.transport.server.bundle_offer import BundleOffer
from splitd.transport.server.client_record import ClientRecord
from splitd.transport.server.endpoint_core import EndpointCore, EndpointCounters
from splitd.transport.server.incoming import IncomingRequest
from splitd.transport.server.router import Router
from splitd.transport.server.transfer_desk import CompleteRequest, RequestKey
from splitd.transport.wire import (
    AllowList,
    Array,
    Chunk,
    EndpointLimits,
    ErrorReply,
    KeyPair,
    Outgoing,
    ServerLoad,
    ServerTimings,
    TensorMeta,
    WakeUp,
    outgoing,
    raw_chunks,
)

_log = logging.getLogger(__name__)

_MAX_BATCH = 256
# Also how often connections are checked: within it, a hostile one may fill memory at the speed of the network.
_TICK_MS = 100
# A device's pipe is full although it has credits left: look again soon (ROUTER has no per-peer poll).
_BLOCKED_TICK_MS = 5


class Endpoint:
    """Listens at `bind` (`tcp://host:port`, port `*` for any) and hands complete requests to `on_request`.

    `welcome` gives the JSON document for a device that says hello, `load` the present load for pongs; both, and
    `on_request`, are called in the I/O thread and must return quickly. With `keys`, only devices on `allow` may
    connect. `offer` is given to devices that have no network yet, and belongs to the endpoint from now on.
    """

    def __init__(
        self,
        bind: str,
        welcome: Callable[[], dict[str, Any]],
        *,
        model_digest: str,
        cut_names_hash: str,
        on_request: Callable[[IncomingRequest], None],
        load: Callable[[], ServerLoad],
        keys: KeyPair | None = None,
        allow: AllowList | None = None,
        limits: EndpointLimits | None = None,
        offer: BundleOffer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if (keys is None) != (allow is None):
            raise UsageError("keys and allow list go together")
        self._limits = limits or EndpointLimits()
        self._model_digest = model_digest
        self._on_request = on_request
        self._clock = clock
        self._lock = threading.RLock()
        core = EndpointCore(
            model_digest=model_digest,
            cut_names_hash=cut_names_hash,
            limits=self._limits,
            welcome=welcome,
            load=load,
            on_gone=self._on_gone,
            offer=None if offer is None else offer.offer,
        )
        self._core = guarded(core, self._lock, "endpoint core")
        self._requests: dict[RequestKey, IncomingRequest] = guarded({}, self._lock, "endpoint requests")
        self._wakeup = WakeUp()
        self._closing: str | None = None
        self._blocked = False
        router = Router(bind, keys, allow, self._limits)
        self.address = router.address
        self._router = confined(router, "endpoint socket")
        self._offer = None if offer is None else confined(offer, "offered bundle")
        self._thread = threading.Thread(target=self._run, name="splitd-endpoint", daemon=True)

    def start(self) -> None:
        """Begin to serve; the socket listens since construction."""
        self._thread.start()

    def close(self, reason: str = "the server closes") -> None:
        """Send what is queued, say good-bye to all devices and stop the thread."""
        with self._lock:
            self._closing = reason
        self._wakeup.set()
        if self._thread.ident is not None:
            self._thread.join()
        else:
            self._free()
        self._wakeup.close()

    def counters(self) -> EndpointCounters:
        """Return what was refused or dropped so far."""
        with self._lock:
            return replace(self._core.counters)

    def clients(self) -> tuple[str, ...]:
        """Return the names of the devices that are connected."""
        with self._lock:
            return tuple(client.name for client in self._core.clients.values())

    # The two answers (incoming.Answerer)

    def send_reply(self, request: IncomingRequest, outputs: Sequence[Array], timings: ServerTimings) -> None:
        """Queue the report and the outputs of one request."""
        if not outputs or sum(output.nbytes for output in outputs) > self._limits.max_reply_bytes:
            raise OverloadError(f"an answer must be 1..{self._limits.max_reply_bytes} bytes of at least one tensor")
        items = [item for index, output in enumerate(outputs) for item in self._encode(request, output, index, outputs)]
        with self._lock:
            report = self._core.report(self._clock(), request.arrivals, timings)
            head = outgoing(report, epoch=request.key[1], request_id=request.request_id)
            self._finish(request, [head, *items])
        self._wakeup.set()

    def send_error(self, request: IncomingRequest, code: str, message: str) -> None:
        """Queue a typed error."""
        item = outgoing(ErrorReply(code, message), epoch=request.key[1], request_id=request.request_id)
        with self._lock:
            self._finish(request, [item])
        self._wakeup.set()

    def _encode(
        self, request: IncomingRequest, output: Array, index: int, outputs: Sequence[Array]
    ) -> Sequence[Outgoing]:
        meta = TensorMeta(output.shape, output.dtype.name)
        return [
            outgoing(
                Chunk(
                    model_digest=self._model_digest,
                    deadline_ms=None,
                    cut=request.cut,
                    tensor_index=index,
                    tensor_count=len(outputs),
                    tensor=meta,
                    codec=chunk.codec,
                    flags=chunk.flags,
                    chunk_index=chunk_index,
                    chunk_count=chunk_count,
                    first_element=part.first_element,
                    n_elements=part.n_elements,
                    payload=bytes(chunk.payload),
                    is_result=True,
                ),
                epoch=request.key[1],
                request_id=request.request_id,
            )
            for chunk, part, chunk_index, chunk_count in raw_chunks(output)
        ]

    def _finish(self, request: IncomingRequest, items: list[Outgoing]) -> None:
        self._core.queue_answer(request.key, items)
        self._requests.pop(request.key, None)

    # The I/O thread

    def _run(self) -> None:
        try:
            while self._closing is None:
                self._turn()
            with self._lock:
                self._core.say_bye(self._closing)
                self._flush()
        finally:
            self._free()

    def _free(self) -> None:
        self._router.close()
        if self._offer is not None:
            self._offer.close()

    def _turn(self) -> None:
        self._poll()
        self._wakeup.clear()
        self._take_messages()
        with self._lock:
            self._core.counters.cut_off_connections = self._router.guard.cut_off
            self._core.on_tick(self._clock())
            self._blocked = not self._flush()

    def _poll(self) -> None:
        poller = zmq.Poller()
        poller.register(self._wakeup, zmq.POLLIN)
        for socket in self._router.sockets:
            poller.register(socket, zmq.POLLIN)
        poller.poll(_BLOCKED_TICK_MS if self._blocked else _TICK_MS)
        self._router.answer_zap()
        self._router.watch_connections()

    def _take_messages(self) -> None:
        for _ in range(_MAX_BATCH):
            message = self._router.receive()
            if message is None:
                return
            routing_id, frames = message
            now_s = self._clock()  # before anything else: the arrival time is a measurement
            with self._lock:
                complete = self._core.on_frames(now_s, routing_id, frames)
                request = None if complete is None else self._admit(complete)
            if request is not None:
                self._on_request(request)

    def _admit(self, complete: CompleteRequest) -> IncomingRequest:
        request = IncomingRequest(
            self,
            key=complete.key,
            client=complete.client,
            cut=complete.cut,
            deadline_s=complete.deadline_s,
            tensors=complete.tensors,
            chunks=complete.chunks,
            arrivals=complete.arrivals,
        )
        self._requests[complete.key] = request
        return request

    def _on_gone(self, key: RequestKey) -> None:
        request = self._requests.pop(key, None)
        if request is not None:
            request.is_cancelled = True

    def _flush(self) -> bool:
        """Send what credits and sockets allow; return False if a socket was full."""
        strays, self._core.strays = self._core.strays, []
        for routing_id, item in strays:
            self._router.send_or_drop(routing_id, item.frames)
        is_clear = True
        for client in list(self._core.clients.values()):
            try:
                is_clear &= self._flush_client(client)
            except LinkError:
                self._core.forget(client.routing_id)
        return is_clear

    def _flush_client(self, client: ClientRecord) -> bool:
        is_full = False

        def send(item: Outgoing) -> bool:
            nonlocal is_full
            if not self._core.may_send(client, item):
                return False
            if not self._router.send(client.routing_id, item.frames):
                is_full = True
                return False
            self._core.on_sent(client, item)
            return True

        client.outbox.flush(send)
        return not is_full and (self._offer is None or self._flush_file(client, self._offer))

    def _flush_file(self, client: ClientRecord, offer: BundleOffer) -> bool:
        """Read and send what is due of the offered file, at most a window; return False if the socket was full.

        Read here and not ahead: a part comes from the page cache in some ten microseconds.
        """
        files = self._core.files
        while (due := files.due(client)) is not None:
            try:
                payload = offer.read(due.offset, due.n_bytes)
            except StateError as error:
                _log.error("%s", error)
                files.give_up(client, ErrorReply(error.code, str(error)))
                return True
            if not self._router.send(client.routing_id, files.part(client, due, payload).frames):
                return False
            files.on_sent(client, due)
        return True
