"""Messages on their way to a socket, with what must be known when they leave or are taken back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from splitd.transport.wire import frames as wire
from splitd.transport.wire.messages import Buffer, Chunk, FilePart, Message, Probe


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One encoded message.

    `is_bulk` marks chunks, probes and parts of files; `credit_bytes` is what they take from the send window. Sending
    the first two is timed.
    """

    frames: tuple[Buffer, ...]
    request_id: int = 0
    credit_bytes: int = 0
    is_bulk: bool = False

    @property
    def n_bytes(self) -> int:
        """Size on the wire, headers included."""
        return sum(len(frame) for frame in self.frames)


def outgoing(message: Message, *, epoch: int, request_id: int = 0) -> Outgoing:
    """Encode a message; raises WireError for one that the peer would refuse."""
    frames = tuple(wire.encode(message, epoch=epoch, request_id=request_id))
    if isinstance(message, Chunk | Probe | FilePart):
        return Outgoing(frames, request_id, len(message.payload), is_bulk=True)
    return Outgoing(frames, request_id)


class Outbox:
    """Outgoing messages: bulk in order, and control messages (pings, acknowledgements, cancellations) that overtake it.

    Without overtaking, a peer that is short of credits would look dead, because its pongs would wait behind chunks.
    """

    def __init__(self) -> None:
        self._control: deque[Outgoing] = deque()
        self._bulk: deque[Outgoing] = deque()

    def __len__(self) -> int:
        return len(self._control) + len(self._bulk)

    @property
    def n_bytes(self) -> int:
        """Bytes that wait here."""
        return sum(item.n_bytes for item in self._control) + sum(item.n_bytes for item in self._bulk)

    def put(self, item: Outgoing) -> None:
        """Append a bulk message."""
        self._bulk.append(item)

    def put_control(self, item: Outgoing) -> None:
        """Append a control message."""
        self._control.append(item)

    def clear(self) -> None:
        """Drop everything."""
        self._control.clear()
        self._bulk.clear()

    def take_back(self, request_id: int) -> int:
        """Drop the queued bulk messages of a request; return the credit bytes that they held."""
        dropped = sum(item.credit_bytes for item in self._bulk if item.request_id == request_id)
        self._bulk = deque(item for item in self._bulk if item.request_id != request_id)
        return dropped

    def flush(self, send: Callable[[Outgoing], bool]) -> bool:
        """Send, control first, until `send` returns False; return whether everything went."""
        return _flush(self._control, send) and _flush(self._bulk, send)


def _flush(queue: deque[Outgoing], send: Callable[[Outgoing], bool]) -> bool:
    while queue:
        if not send(queue[0]):
            return False
        queue.popleft()
    return True
