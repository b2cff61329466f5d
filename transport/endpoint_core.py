"""The server's side of the protocol for all its devices. Sans-IO; the time is an argument.

The shell (`splitd.transport.endpoint`) hands over received frames with the sender's routing id, sends what is in the
outboxes, and passes on the complete requests that `on_frames` returns.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from splitd.errors import OverloadError, WireError
from splitd.transport import handshake, wire
from splitd.transport.assembly import Assembly, arrival_times
from splitd.transport.client_record import ClientRecord, OpenProbe, OpenTransfer
from splitd.transport.credits import Receipts, SendWindow
from splitd.transport.limits import MAX_TENSOR_BYTES, PROTOCOL_VERSION, EndpointLimits
from splitd.transport.messages import (
    Ack,
    Buffer,
    Bye,
    Cancel,
    Chunk,
    ErrorReply,
    Hello,
    Message,
    Ping,
    Pong,
    Probe,
    ProbeReport,
    Refuse,
    Report,
    ServerLoad,
    ServerTimings,
    TensorMeta,
    Welcome,
)
from splitd.transport.observations import Arrival
from splitd.transport.outgoing import Outgoing, outgoing


@dataclass(slots=True)
class EndpointCounters:
    """What was refused or dropped so far, for status and metrics."""

    hellos: int = 0
    refused: int = 0
    stale_messages: int = 0
    wire_errors: int = 0
    overloads: int = 0
    abandoned_transfers: int = 0
    lost_clients: int = 0


@dataclass(frozen=True, slots=True)
class CompleteRequest:
    """All chunks of one request, checked against each other."""

    key: tuple[bytes, int, int]
    client: str
    cut: int
    deadline_s: float | None
    tensors: tuple[TensorMeta, ...]
    chunks: tuple[tuple[Chunk, ...], ...]
    arrivals: tuple[Arrival, ...]


def random_epoch() -> int:
    """Return a number that no former connection of this server is likely to have had."""
    return secrets.randbits(32) | 1


class EndpointCore:
    """The state of all devices. Not thread-safe: the shell holds its lock around every call.

    `on_gone` is called with (routing id, epoch, request id) of a request that nobody waits for any more.
    """

    def __init__(
        self,
        *,
        model_digest: str,
        cut_names_hash: str,
        limits: EndpointLimits,
        welcome: Callable[[], dict[str, Any]],
        load: Callable[[], ServerLoad],
        on_gone: Callable[[tuple[bytes, int, int]], None],
        new_epoch: Callable[[], int] = random_epoch,
    ) -> None:
        self.clients: dict[bytes, ClientRecord] = {}
        self.counters = EndpointCounters()
        self.strays: list[tuple[bytes, Outgoing]] = []  # messages to peers that are not (yet) clients
        self._model_digest = model_digest
        self._cut_names_hash = cut_names_hash
        self._limits = limits
        self._welcome = welcome
        self._load = load
        self._on_gone = on_gone
        self._new_epoch = new_epoch

    # What comes in

    def on_frames(self, now_s: float, routing_id: bytes, frames: Sequence[Buffer]) -> CompleteRequest | None:
        """Handle one message; return the request that it completes, if it does."""
        try:
            envelope = wire.decode(frames)
        except WireError as error:
            self._on_broken(routing_id, frames, error)
            return None
        if isinstance(envelope.message, Hello):
            self._on_hello(now_s, routing_id, envelope.request_id, envelope.message)
            return None
        client = self.clients.get(routing_id)
        if client is None or envelope.epoch != client.epoch:
            self._on_stale(routing_id, client, envelope)
            return None
        client.heard_s = now_s
        try:
            return self._on_message(now_s, client, envelope)
        except WireError as error:
            self._on_broken(routing_id, frames, error)
            return None

    def on_tick(self, now_s: float) -> None:
        """Drop what has been silent for too long: devices, unfinished transfers, requests past their deadline."""
        for client in list(self.clients.values()):
            if now_s - client.heard_s > self._limits.client_idle_s:
                self.forget(client.routing_id)
                continue
            for request_id, transfer in list(client.transfers.items()):
                self._expire(now_s, client, request_id, transfer)

    def forget(self, routing_id: bytes) -> None:
        """Free all that is kept for a device that has gone."""
        client = self.clients.pop(routing_id, None)
        if client is not None:
            self.counters.lost_clients += 1
            for request_id in client.running_bytes:
                self._on_gone((routing_id, client.epoch, request_id))

    # What goes out

    def may_reply(self, key: tuple[bytes, int, int]) -> bool:
        """Return whether the device still waits for this request."""
        client = self.clients.get(key[0])
        return client is not None and client.epoch == key[1] and key[2] in client.running_bytes

    def queue_answer(self, key: tuple[bytes, int, int], items: Sequence[Outgoing]) -> None:
        """Queue the messages of an answer and free the request; nothing happens if nobody waits for it."""
        if not self.may_reply(key):
            return
        client = self.clients[key[0]]
        del client.running_bytes[key[2]]
        if client.outbox.n_bytes > self._limits.max_reply_bytes:
            self.counters.overloads += 1  # it does not read its answers: a stopped peer must not fill our memory
            self.forget(client.routing_id)
            return
        for item in items:
            client.outbox.put(item)

    def report(self, now_s: float, arrivals: Sequence[Arrival], timings: ServerTimings) -> Report:
        """Return the report that precedes an answer sent now."""
        held_s = max(0.0, now_s - max(arrival.t_s for arrival in arrivals))
        return Report(held_s, timings, arrival_times(list(arrivals)))

    def may_send(self, client: ClientRecord, item: Outgoing) -> bool:
        """Return whether the device's credits allow this message now."""
        return item.credit_bytes == 0 or client.window.has_room(item.credit_bytes)

    def on_sent(self, client: ClientRecord, item: Outgoing) -> None:
        """Note that the socket took a message."""
        client.window.add(item.credit_bytes)

    def say_bye(self, reason: str) -> None:
        """Tell all devices that the server closes."""
        for client in self.clients.values():
            client.outbox.put_control(outgoing(Bye(reason), epoch=client.epoch))

    # Inside

    def _on_hello(self, now_s: float, routing_id: bytes, nonce: int, hello: Hello) -> None:
        self.counters.hellos += 1
        self.forget(routing_id)
        refuse = handshake.refusal(hello, model_digest=self._model_digest, cut_names_hash=self._cut_names_hash)
        if refuse is None and len(self.clients) >= self._limits.max_clients:
            refuse = Refuse("overload", f"the server has {len(self.clients)} devices already, its configured limit")
        if refuse is not None:
            self._refuse(routing_id, refuse, epoch=0, request_id=nonce)
            return
        client = ClientRecord(
            routing_id=routing_id,
            name=hello.name,
            version=hello.version,
            epoch=self._new_epoch(),
            heard_s=now_s,
            window=SendWindow(self._limits.window_bytes),
            receipts=Receipts(self._limits.ack_every_bytes),
        )
        self.clients[routing_id] = client
        max_request_bytes = min(self._limits.max_pending_bytes_per_client, MAX_TENSOR_BYTES)
        welcome = Welcome(self._limits.window_bytes, max_request_bytes, self._welcome())
        client.outbox.put_control(outgoing(welcome, epoch=client.epoch, request_id=nonce))

    def _on_stale(self, routing_id: bytes, client: ClientRecord | None, envelope: wire.Envelope) -> None:
        """Drop what was meant for a former connection or server; a device that we do not know must say HELLO."""
        self.counters.stale_messages += 1
        if client is None and not isinstance(envelope.message, Bye):
            self._refuse(routing_id, Refuse("hello", "the server does not know this device; say HELLO"), envelope.epoch)

    def _on_broken(self, routing_id: bytes, frames: Sequence[Buffer], error: WireError) -> None:
        """Answer a broken message: another version is told so, anyone else loses its place."""
        self.counters.wire_errors += 1
        version = wire.peek_version(frames)
        client = self.clients.get(routing_id)
        if version is not None and version != PROTOCOL_VERSION:
            self._refuse(routing_id, wire.version_refusal(version), 0, wire.peek_request_id(frames) or 0)
        else:
            refuse = Refuse("wire", f"the server received a broken message: {error}")
            self._refuse(routing_id, refuse, 0 if client is None else client.epoch)
        self.forget(routing_id)

    def _refuse(self, routing_id: bytes, refuse: Refuse, epoch: int, request_id: int = 0) -> None:
        self.counters.refused += 1
        self.strays.append((routing_id, outgoing(refuse, epoch=epoch, request_id=request_id)))

    def _on_message(self, now_s: float, client: ClientRecord, envelope: wire.Envelope) -> CompleteRequest | None:
        message = envelope.message
        if isinstance(message, Chunk):
            return self._on_chunk(now_s, client, envelope, message)
        if isinstance(message, Ping):
            load = self._load()
            self._send(client, Pong(message.sequence, load.queue_s, load.load))
        elif isinstance(message, Ack):
            client.window.acknowledge(message.received_bytes)
        elif isinstance(message, Cancel):
            self._on_cancel(client, envelope.request_id)
        elif isinstance(message, Probe):
            self._on_probe(now_s, client, envelope, message)
        elif isinstance(message, Bye):
            self.forget(client.routing_id)
        else:
            raise WireError(f"a device does not send {type(message).__name__}")
        return None

    def _on_chunk(
        self, now_s: float, client: ClientRecord, envelope: wire.Envelope, chunk: Chunk
    ) -> CompleteRequest | None:
        if chunk.is_result or chunk.model_digest != self._model_digest:
            raise WireError("a chunk of another model, or a result")
        client.receipts.add(len(chunk.payload))
        request_id = envelope.request_id
        complete = None
        try:
            transfer = self._transfer(now_s, client, request_id, chunk)
            if transfer is not None:
                transfer.assembly.add(chunk, Arrival(now_s, envelope.n_bytes))
                transfer.last_s = now_s
                self._check_memory(client)
                complete = self._complete(client, request_id, transfer)
        except OverloadError as error:
            self.counters.overloads += 1
            self._fail_transfer(client, request_id, OverloadError.code, str(error))
        if client.receipts.is_due(at_the_end=chunk.chunk_index + 1 == chunk.chunk_count):
            self._send(client, Ack(client.receipts.tell()))
        return complete

    def _transfer(self, now_s: float, client: ClientRecord, request_id: int, chunk: Chunk) -> OpenTransfer | None:
        """Return the transfer that a chunk belongs to, a new one if need be; None if it is to be ignored."""
        if request_id in client.refused_ids:
            return None
        if request_id in client.running_bytes:
            raise WireError("more chunks for a complete request")
        transfer = client.transfers.get(request_id)
        if transfer is None:
            if client.open_requests >= self._limits.max_open_requests_per_client:
                raise OverloadError(f"{client.open_requests} requests of this device are open already")
            deadline_s = None if chunk.deadline_ms is None else now_s + chunk.deadline_ms / 1e3
            transfer = client.transfers[request_id] = OpenTransfer(Assembly(chunk), deadline_s, now_s)
        return transfer

    def _check_memory(self, client: ClientRecord) -> None:
        held_bytes = client.pending_bytes
        if held_bytes <= self._limits.max_pending_bytes // self._limits.max_clients:
            return  # its fair share, which nobody can take away; saves the sum below for almost every chunk
        if held_bytes > self._limits.max_pending_bytes_per_client:
            raise OverloadError(f"this device's requests hold {held_bytes} bytes, over the server's limit")
        if sum(other.pending_bytes for other in self.clients.values()) > self._limits.max_pending_bytes:
            raise OverloadError("the requests of all devices together are over the server's memory limit")

    def _complete(self, client: ClientRecord, request_id: int, transfer: OpenTransfer) -> CompleteRequest | None:
        assembly = transfer.assembly
        if not assembly.is_complete:
            return None
        chunks = assembly.chunks()
        del client.transfers[request_id]
        client.running_bytes[request_id] = assembly.pending_bytes
        return CompleteRequest(
            key=(client.routing_id, client.epoch, request_id),
            client=client.name,
            cut=assembly.cut,
            deadline_s=transfer.deadline_s,
            tensors=assembly.tensors,
            chunks=chunks,
            arrivals=tuple(assembly.arrivals),
        )

    def _on_cancel(self, client: ClientRecord, request_id: int) -> None:
        client.refuse_request(request_id)
        client.outbox.take_back(request_id)
        if client.running_bytes.pop(request_id, None) is not None:
            self._on_gone((client.routing_id, client.epoch, request_id))

    def _on_probe(self, now_s: float, client: ClientRecord, envelope: wire.Envelope, probe: Probe) -> None:
        """Time one message of a probe; the newest probe is the only one that is kept."""
        client.receipts.add(len(probe.payload))
        if probe.count > self._limits.max_probe_messages:
            raise WireError(f"a probe of {probe.count} messages")
        if client.probe is None or client.probe_id != envelope.request_id:
            client.probe, client.probe_id = OpenProbe(), envelope.request_id
        client.probe.arrivals.append(Arrival(now_s, envelope.n_bytes))
        last = probe.index + 1 == probe.count
        if client.receipts.is_due(at_the_end=last):
            self._send(client, Ack(client.receipts.tell()))
        if last:
            self._send(client, ProbeReport(0.0, arrival_times(client.probe.arrivals)), client.probe_id)
            client.probe = None

    def _expire(self, now_s: float, client: ClientRecord, request_id: int, transfer: OpenTransfer) -> None:
        if transfer.deadline_s is not None and now_s > transfer.deadline_s:
            self._fail_transfer(client, request_id, "deadline", "the request was not complete by its deadline")
        elif now_s - transfer.last_s > self._limits.transfer_idle_s:
            self.counters.abandoned_transfers += 1
            self._fail_transfer(client, request_id, "wire", "the transfer stopped before its last chunk")

    def _fail_transfer(self, client: ClientRecord, request_id: int, code: str, message: str) -> None:
        client.refuse_request(request_id)
        self._send(client, ErrorReply(code, message), request_id)

    def _send(self, client: ClientRecord, message: Message, request_id: int = 0) -> None:
        client.outbox.put_control(outgoing(message, epoch=client.epoch, request_id=request_id))
