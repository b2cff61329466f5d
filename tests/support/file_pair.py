"""A fetching device and a server's core joined in memory, on a simulated clock, with a file of noise."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import xxhash

from splitd.transport.device.fetch_core import FetchCore
from splitd.transport.server.client_record import ClientRecord
from splitd.transport.server.endpoint_core import EndpointCore
from splitd.transport.wire.handshake import newcomer
from splitd.transport.wire.limits import EndpointLimits, SessionLimits
from splitd.transport.wire.messages import Buffer, FilePart, Offer, ServerLoad
from splitd.transport.wire.outgoing import Outgoing

MODEL = "ab" * 16
ROUTING_ID = b"newcomer"


def noise(n_bytes: int, seed: int = 3) -> bytes:
    """Bytes that no codec and no mistake makes by chance."""
    return np.random.default_rng(seed).bytes(n_bytes)


def offer_of(content: bytes, name: str = "net") -> Offer:
    """What a server says about a file."""
    return Offer(xxhash.xxh3_128_hexdigest(content), MODEL, len(content), name)


def new_core(offer: Offer | None, limits: EndpointLimits | None = None) -> EndpointCore:
    """A server's core with this offer; its epochs are 100, 101, ..."""
    epochs = itertools.count(100)
    return EndpointCore(
        model_digest=MODEL,
        cut_names_hash="cd" * 16,
        limits=limits or EndpointLimits(),
        welcome=dict,
        load=ServerLoad,
        on_gone=lambda _key: None,
        offer=offer,
        new_epoch=lambda: next(epochs),
    )


class FilePair:
    """`exchange` carries everything both ways until nothing is left; what the device gets is in `received`."""

    def __init__(self, content: bytes, limits: EndpointLimits | None = None) -> None:
        ids = itertools.count(1000)
        self.content = content
        self.now_s = 50.0
        self.server = new_core(offer_of(content), limits)
        self.device = FetchCore("the server", newcomer("1", "device"), SessionLimits(), lambda: next(ids))
        self.received = bytearray()
        self.most_in_flight_bytes = 0
        self.budget = 10**9  # messages to the device before the link breaks

    def connect(self) -> None:
        """Begin a connection and fetch until everything has come, or the link breaks."""
        self.device.on_connected(self.now_s)
        self.exchange()

    def break_link(self) -> None:
        """Lose the connection and what was under way."""
        self.device.on_disconnected("cut")
        self.server.forget(ROUTING_ID)

    def exchange(self) -> None:
        """Carry messages until nobody has anything to say."""
        while self._to_server() + self._to_device():
            pass

    def _to_server(self) -> int:
        return _drain(self.device.outbox.flush, lambda frames: self.server.on_frames(self.now_s, ROUTING_ID, frames))

    def _to_device(self) -> int:
        strays, self.server.strays = self.server.strays, []
        for _, item in strays:
            self._deliver(item)
        client = self.server.clients.get(ROUTING_ID)
        return len(strays) + (0 if client is None else self._from(client))

    def _from(self, client: ClientRecord) -> int:
        count = _drain(client.outbox.flush, self._take)
        while (due := self.server.files.due(client)) is not None:
            payload = self.content[due.offset : due.offset + due.n_bytes]
            self.server.files.on_sent(client, due)
            self.most_in_flight_bytes = max(self.most_in_flight_bytes, client.window.in_flight_bytes)
            self._deliver(self.server.files.part(client, due, payload))
            count += 1
        return count

    def _deliver(self, item: Outgoing) -> None:
        self._take(item.frames)

    def _take(self, frames: Sequence[Buffer]) -> None:
        if self.budget == 0:
            return
        self.budget -= 1
        event = self.device.on_frames(self.now_s, frames)
        if isinstance(event, Offer):
            self.device.ask(len(self.received))
        elif isinstance(event, FilePart):
            assert event.offset == len(self.received)
            self.received += event.payload


def _drain(flush, take) -> int:  # type: ignore[no-untyped-def]
    items: list[Outgoing] = []
    flush(lambda item: items.append(item) is None)
    for item in items:
        take(item.frames)
    return len(items)
