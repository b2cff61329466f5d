"""A session core and an endpoint core joined in memory, on a simulated clock: the protocol without sockets."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from splitd.transport.device.requests import RequestMeta
from splitd.transport.device.session_core import SessionCore
from splitd.transport.estimate.link import LinkEstimator
from splitd.transport.estimate.prober import ProbeConfig, Prober
from splitd.transport.server.endpoint_core import EndpointCore
from splitd.transport.server.transfer_desk import CompleteRequest, RequestKey
from splitd.transport.wire import frames as wire
from splitd.transport.wire.limits import EndpointLimits, SessionLimits
from splitd.transport.wire.messages import Buffer, Chunk, Hello, Message, ServerLoad, ServerTimings, TensorMeta
from splitd.transport.wire.outgoing import Outgoing, outgoing
from splitd.transport.wire.raw_tensors import Array, raw_chunks

MODEL = "ab" * 16
CUTS = "cd" * 16
ROUTING_ID = b"device-1"
TIMINGS = ServerTimings(queue_s=0.01, decode_s=0.02, compute_s=0.03, load=0.5)


def hello(**changes: str) -> Hello:
    """A HELLO that fits the server of this module."""
    return Hello(**{"model_digest": MODEL, "cut_names_hash": CUTS, "version": "1", "name": "device", **changes})


def new_server(limits: EndpointLimits | None = None) -> tuple[EndpointCore, list[RequestKey]]:
    """An endpoint core, and the list of the requests that it reports as gone."""
    gone: list[RequestKey] = []
    epochs = itertools.count(100)
    core = EndpointCore(
        model_digest=MODEL,
        cut_names_hash=CUTS,
        limits=limits or EndpointLimits(),
        welcome=lambda: {"name": "server", "version": "2"},
        load=lambda: ServerLoad(0.25, 0.75),
        on_gone=gone.append,
        new_epoch=lambda: next(epochs),
    )
    return core, gone


def data_chunks(
    array: Array, *, cut: int = 3, deadline_ms: int | None = None, model_digest: str = MODEL, is_result: bool = False
) -> list[Chunk]:
    """The chunks of one tensor."""
    meta = TensorMeta(array.shape, array.dtype.name)
    return [
        Chunk(
            model_digest=model_digest,
            deadline_ms=deadline_ms,
            cut=cut,
            tensor_index=0,
            tensor_count=1,
            tensor=meta,
            codec=chunk.codec,
            flags=chunk.flags,
            chunk_index=index,
            chunk_count=count,
            first_element=part.first_element,
            n_elements=part.n_elements,
            payload=bytes(chunk.payload),
            is_result=is_result,
        )
        for chunk, part, index, count in raw_chunks(array)
    ]


def encoded(message: Message, epoch: int, request_id: int = 0) -> list[Buffer]:
    """The frames of a message."""
    return wire.encode(message, epoch=epoch, request_id=request_id)


class Pair:
    """One device and one server; `exchange` carries everything both ways until nothing is left."""

    def __init__(
        self,
        *,
        session_limits: SessionLimits | None = None,
        endpoint_limits: EndpointLimits | None = None,
        greeting: Hello | None = None,
        estimator: LinkEstimator | None = None,
        probe_share: float = 0.0,
    ) -> None:
        ids = itertools.count(1000)
        self.now_s = 50.0
        self.session = SessionCore(
            greeting or hello(),
            session_limits or SessionLimits(),
            estimator or LinkEstimator(),
            lambda: next(ids),
            Prober(ProbeConfig(share=probe_share)),
        )
        self.server, self.gone = new_server(endpoint_limits)
        self.complete: list[CompleteRequest] = []
        self.to_server: list[Sequence[Buffer]] = []
        self.to_device: list[Sequence[Buffer]] = []

    def connect(self) -> None:
        """Let the handshake happen."""
        self.session.on_connected(self.now_s)
        self.exchange()

    def pass_time(self, seconds: float) -> None:
        """Let time pass and both ends look at the clock; nothing is carried."""
        self.now_s += seconds
        self.session.on_tick(self.now_s)
        self.server.on_tick(self.now_s)

    def exchange(self) -> None:
        """Carry messages both ways until there are none."""
        while self.device_sends() + self.server_sends():
            pass

    def device_sends(self) -> int:
        """Carry what the device has to say; return how many messages."""
        sent: list[Outgoing] = []

        def send(item: Outgoing) -> bool:
            sent.append(item)
            self.session.on_sent(self.now_s, item)
            return True

        self.session.outbox.flush(send)
        for item in sent:
            complete = self.server.on_frames(self.now_s, ROUTING_ID, item.frames)
            if complete is not None:
                self.complete.append(complete)
        return len(sent)

    def server_sends(self) -> int:
        """Carry what the server has to say, as far as credits allow; return how many messages."""
        sent: list[Outgoing] = [item for _, item in self.server.strays]
        self.server.strays.clear()
        for client in self.server.clients.values():

            def send(item: Outgoing, client=client) -> bool:  # type: ignore[no-untyped-def]
                if not self.server.may_send(client, item):
                    return False
                self.server.on_sent(client, item)
                sent.append(item)
                return True

            client.outbox.flush(send)
        for item in sent:
            self.session.on_frames(self.now_s, item.frames)
        return len(sent)

    def open(self, array: Array, deadline_s: float | None = None) -> int:
        """Open a request and queue all its chunks, credits or not."""
        meta = TensorMeta(array.shape, array.dtype.name)
        request_id = self.session.open(RequestMeta(3, (meta,), deadline_s))
        for chunk in data_chunks(array):
            self.session.queue_chunk(outgoing(chunk, epoch=self.session.epoch, request_id=request_id))
        return request_id

    def answer(self, complete: CompleteRequest, array: Array) -> None:
        """Queue the server's reply."""
        report = self.server.report(self.now_s, complete.arrivals, TIMINGS)
        _, epoch, request_id = complete.key
        messages = [report, *data_chunks(array, is_result=True)]
        items = [outgoing(message, epoch=epoch, request_id=request_id) for message in messages]
        self.server.queue_answer(complete.key, items)


def activation(n_bytes: int = 300_000) -> Array:
    """Some float32 tensor."""
    return np.random.default_rng(1).standard_normal((1, 1, n_bytes // 4)).astype(np.float32)
