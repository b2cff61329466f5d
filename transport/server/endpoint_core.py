"""The server's side of the protocol for all its devices. Sans-IO; the time is an argument.

The shell (`endpoint.py`) hands over received frames with the sender's routing id, sends what is in the outboxes, and
passes on the complete requests that `on_frames` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from splitd.errors import OverloadError, WireError
from splitd.transport import wire
from splitd.transport.estimate import Arrival
from splitd.transport.server.client_record import ClientRecord, OpenProbe
from splitd.transport.server.file_desk import FileDesk
from splitd.transport.server.reception import Reception, random_epoch
from splitd.transport.server.transfer_desk import CompleteRequest, RequestKey, TransferDesk
from splitd.transport.wire import (
    PROTOCOL_VERSION,
    Ack,
    Buffer,
    Bye,
    Cancel,
    Chunk,
    EndpointLimits,
    ErrorReply,
    GetFile,
    Hello,
    Message,
    Offer,
    Outgoing,
    Ping,
    Pong,
    Probe,
    ProbeReport,
    Refuse,
    Report,
    ServerLoad,
    ServerTimings,
    arrival_times,
    outgoing,
)


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
    cut_off_connections: int = 0  # counted by the shell


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
        on_gone: Callable[[RequestKey], None],
        offer: Offer | None = None,
        new_epoch: Callable[[], int] = random_epoch,
    ) -> None:
        self.clients: dict[bytes, ClientRecord] = {}
        self.counters = EndpointCounters()
        self.strays: list[tuple[bytes, Outgoing]] = []  # messages to peers that are not (yet) clients
        self._model_digest = model_digest
        self._reception = Reception(
            self,
            model_digest=model_digest,
            cut_names_hash=cut_names_hash,
            offer=offer,
            limits=limits,
            welcome=welcome,
            new_epoch=new_epoch,
        )
        self._desk = TransferDesk(self.clients, limits)
        self.files = FileDesk(offer, limits)
        self._limits = limits
        self._load = load
        self._on_gone = on_gone

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
        client.heard_s = now_s  # any message counts: on a slow link pings stand behind chunks
        try:
            return self._on_message(now_s, client, envelope)
        except WireError as error:
            self._on_broken(routing_id, frames, error)
            return None

    def on_tick(self, now_s: float) -> None:
        """Drop what has been silent for too long: devices, unfinished transfers, requests past their deadline."""
        for client in list(self.clients.values()):
            if now_s - client.heard_s > self._limits.client_idle_s or self.files.is_stuck(now_s, client):
                self.forget(client.routing_id)
                continue
            for request_id, error in self._desk.expired(now_s, client):
                self.counters.abandoned_transfers += 1
                self._end_transfer(client, request_id, error)

    def forget(self, routing_id: bytes) -> None:
        """Free all that is kept for a device that has gone."""
        client = self.clients.pop(routing_id, None)
        if client is not None:
            self.counters.lost_clients += 1
            for request_id in client.running_bytes:
                self._on_gone((routing_id, client.epoch, request_id))

    # What goes out

    def queue_answer(self, key: RequestKey, items: Sequence[Outgoing]) -> None:
        """Queue the messages of an answer and free the request; nothing happens if nobody waits for it."""
        client = self.clients.get(key[0])
        # The epoch too: after another HELLO over the same connection the answer belongs to nobody.
        if client is None or client.epoch != key[1] or client.running_bytes.pop(key[2], None) is None:
            return
        if client.outbox.n_bytes > self._limits.max_reply_bytes:
            self.counters.overloads += 1  # it does not read its answers: a stopped peer must not fill our memory
            self.forget(client.routing_id)
            return
        for item in items:
            client.outbox.put(item)

    def report(self, now_s: float, arrivals: Sequence[Arrival], timings: ServerTimings) -> Report:
        """Return the report that precedes an answer sent now."""
        # The device takes this off its own time, so that no clock is compared with another machine's.
        held_s = max(0.0, now_s - max(arrival.t_s for arrival in arrivals))
        return Report(held_s, timings, arrival_times(list(arrivals)))

    def may_send(self, client: ClientRecord, item: Outgoing) -> bool:
        """Return whether the device's credits allow this message now."""
        # Control messages cost no credits: a device that is slow to acknowledge would otherwise get no pong.
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
        self.forget(routing_id)  # a second HELLO begins anew: what was under way before belongs to another epoch
        answer = self._reception.receive(now_s, routing_id, nonce, hello)
        if isinstance(answer, Refuse):
            self._refuse(routing_id, answer, epoch=0, request_id=nonce)
        else:
            self.clients[routing_id] = answer

    def _on_stale(self, routing_id: bytes, client: ClientRecord | None, envelope: wire.Envelope) -> None:
        """Drop what was meant for a former connection or server; a device that we do not know must say HELLO."""
        self.counters.stale_messages += 1
        # Who says BYE wants no answer.
        if client is None and not isinstance(envelope.message, Bye):
            self._refuse(routing_id, Refuse("hello", "the server does not know this device; say HELLO"), envelope.epoch)

    def _on_broken(self, routing_id: bytes, frames: Sequence[Buffer], error: WireError) -> None:
        """Answer a broken message: another version is told so, anyone else loses its place."""
        self.counters.wire_errors += 1
        # The prefix of a header is the same in all versions, so that another version can be told what is wrong.
        version = wire.peek_version(frames)
        client = self.clients.get(routing_id)
        if version is not None and version != PROTOCOL_VERSION:
            self._refuse(routing_id, wire.version_refusal(version), 0, wire.peek_request_id(frames) or 0)
        else:
            # With its epoch, so that the device believes it; 0 for a stranger, who has none.
            refuse = Refuse("wire", f"the server received a broken message: {error}")
            self._refuse(routing_id, refuse, 0 if client is None else client.epoch)
        self.forget(routing_id)

    def _refuse(self, routing_id: bytes, refuse: Refuse, epoch: int, request_id: int = 0) -> None:
        self.counters.refused += 1
        self.strays.append((routing_id, outgoing(refuse, epoch=epoch, request_id=request_id)))

    def _on_message(self, now_s: float, client: ClientRecord, envelope: wire.Envelope) -> CompleteRequest | None:
        message = envelope.message
        if not client.may_say(message):
            raise WireError(f"a device that said this HELLO does not send {type(message).__name__}")
        if isinstance(message, Chunk):
            return self._on_chunk(now_s, client, envelope, message)
        if isinstance(message, Ping):
            self._send(client, Pong(message.sequence, self._load()))
        elif isinstance(message, Ack):
            self.files.on_ack(now_s, client, message)
        elif isinstance(message, GetFile):
            self.files.take(now_s, client, envelope.request_id, message)
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
        # Acknowledged also when refused below: the device's window counts bytes sent, and would never open again.
        client.receipts.add(len(chunk.payload))
        complete = None
        try:
            complete = self._desk.take(client, envelope.request_id, chunk, Arrival(now_s, envelope.n_bytes))
        except OverloadError as error:
            self.counters.overloads += 1
            self._end_transfer(client, envelope.request_id, ErrorReply(error.code, str(error)))
        if client.receipts.is_due(at_the_end=chunk.chunk_index + 1 == chunk.chunk_count):
            self._send(client, Ack(client.receipts.tell()))
        return complete

    def _on_cancel(self, client: ClientRecord, request_id: int) -> None:
        client.refuse_request(request_id)  # its chunks that are still under way would open it again
        client.outbox.take_back(request_id)
        if client.running_bytes.pop(request_id, None) is not None:
            self._on_gone((client.routing_id, client.epoch, request_id))

    def _on_probe(self, now_s: float, client: ClientRecord, envelope: wire.Envelope, probe: Probe) -> None:
        """Time one message of a probe; the newest probe is the only one that is kept."""
        client.receipts.add(len(probe.payload))
        # Each message costs an arrival in memory and in the report; a probe of the prober has eight.
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

    def _end_transfer(self, client: ClientRecord, request_id: int, error: ErrorReply) -> None:
        client.refuse_request(request_id)
        self._send(client, error, request_id)

    def _send(self, client: ClientRecord, message: Message, request_id: int = 0) -> None:
        client.outbox.put_control(outgoing(message, epoch=client.epoch, request_id=request_id))
