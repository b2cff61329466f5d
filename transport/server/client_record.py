"""What a server keeps about one device: its epoch, its credits, its unfinished transfers. Sans-IO."""

from __future__ import annotations

from dataclasses import dataclass, field

from splitd.transport.estimate import Arrival
from splitd.transport.wire import Ack, Assembly, Bye, GetFile, Message, Outbox, Ping, Receipts, SendWindow

# Ids of requests that were refused in mid-transfer and whose remaining chunks are to be ignored.
_MAX_REFUSED_IDS = 256


@dataclass(slots=True)
class OpenTransfer:
    """A request of which not all chunks have come."""

    assembly: Assembly
    deadline_s: float | None
    last_s: float


@dataclass(slots=True)
class OpenProbe:
    """A probe of which not all messages have come."""

    arrivals: list[Arrival] = field(default_factory=list)


@dataclass(slots=True)
class OpenFile:
    """A range of the offered file that a device wants; all before `next_offset` has been sent."""

    request_id: int
    next_offset: int
    end: int
    last_s: float  # when the device last took something


@dataclass(slots=True)
class ClientRecord:
    """One welcomed device; `routing_id` is ZeroMQ's name of its connection."""

    routing_id: bytes
    name: str
    version: str
    epoch: int
    heard_s: float
    window: SendWindow
    receipts: Receipts
    outbox: Outbox = field(default_factory=Outbox)
    transfers: dict[int, OpenTransfer] = field(default_factory=dict)
    running_bytes: dict[int, int] = field(default_factory=dict)  # complete requests without an answer, by id
    refused_ids: dict[int, None] = field(default_factory=dict)
    probe: OpenProbe | None = None
    probe_id: int = 0
    is_newcomer: bool = False  # it has no network: it may fetch the offered file, and nothing else
    file: OpenFile | None = None
    file_bytes: int = 0  # asked for in this epoch

    @property
    def open_requests(self) -> int:
        """Requests that hold memory: unfinished ones and those without an answer."""
        return len(self.transfers) + len(self.running_bytes)

    @property
    def pending_bytes(self) -> int:
        """Memory that this device's requests hold."""
        unfinished = sum(transfer.assembly.pending_bytes for transfer in self.transfers.values())
        return unfinished + sum(self.running_bytes.values())

    def may_say(self, message: Message) -> bool:
        """Return whether the message fits the HELLO: either a network and requests, or neither and the file."""
        return isinstance(message, Ping | Ack | Bye) or self.is_newcomer == isinstance(message, GetFile)

    def refuse_request(self, request_id: int) -> None:
        """Free a request's memory and ignore whatever still comes for it."""
        self.transfers.pop(request_id, None)
        self.refused_ids[request_id] = None
        while len(self.refused_ids) > _MAX_REFUSED_IDS:
            del self.refused_ids[next(iter(self.refused_ids))]
