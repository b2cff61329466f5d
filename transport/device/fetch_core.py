"""What a device without a network says to its server until it has the server's file. Sans-IO; the time is an argument.

    connected ──HELLO──▶ OFFER ──ask──▶ parts in order, up to the end
        ▲                  │               │
        └── link broken, BYE, silence: HELLO again over the next connection, `ask` for the rest ──┘

The shell (`fetch.py`) reports what happens to the connection, hands over received frames, writes the parts that come,
sends what is in `outbox`, and replaces the socket when `take_reset` says so. Trouble with the link is waited out. What
waiting does not mend is raised: LinkError if the server refuses, WireError if it breaks the protocol, RemoteError if it
gives up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from splitd.errors import LinkError, RemoteError, WireError
from splitd.transport import wire
from splitd.transport.device.greeter import Greeter, random_id
from splitd.transport.wire import (
    FILE_PART_BYTES,
    Ack,
    Buffer,
    Bye,
    ErrorReply,
    FilePart,
    GetFile,
    Hello,
    Message,
    Offer,
    Outbox,
    Ping,
    Pong,
    Receipts,
    Refuse,
    SessionLimits,
    Welcome,
    outgoing,
)

_FULL, _FORGOTTEN = "overload", "hello"  # the refusals that pass


class FetchCore:
    """One device that fetches. `server` names the server in messages. Used by one thread."""

    def __init__(self, server: str, hello: Hello, limits: SessionLimits, new_id: Callable[[], int] = random_id) -> None:
        self.outbox = Outbox()
        self.offer: Offer | None = None  # the one that opened the present epoch; None: there is no epoch
        self.trouble: str | None = None  # why nothing comes at present, for people
        self.heard_s = -math.inf  # when the server last said anything in an epoch
        self._server = server
        self._limits = limits
        self._new_id = new_id
        self._greeter = Greeter(hello, limits, new_id)
        self._receipts = Receipts(limits.ack_every_bytes)
        self._epoch = self._request_id = self._next_offset = self._end = 0
        self._ping_s = math.inf
        self._pings = 0
        self._wants_reset = False

    # What the shell asks for

    def ask(self, offset: int) -> None:
        """Ask for the offered file from `offset` on; once in an epoch."""
        if self.offer is None:
            return  # the link broke meanwhile; the next offer will be asked for
        self._request_id, self._next_offset, self._end = self._new_id(), offset, self.offer.n_bytes
        self._send(GetFile(self.offer.file_digest, offset, self._end - offset), self._request_id)

    def greet(self, now_s: float) -> None:
        """Begin another epoch over the same connection."""
        self._end_epoch()
        self.outbox.put_control(self._greeter.say(now_s))

    def say_bye(self, reason: str) -> None:
        """Tell the server that this end closes."""
        if self.offer is not None:
            self._send(Bye(reason))

    # What happens to the connection

    def on_connected(self, now_s: float) -> None:
        """Handle a finished ZeroMQ handshake: introduce ourselves."""
        self.greet(now_s)

    def on_disconnected(self, reason: str) -> None:
        """Handle a broken or impossible connection, or a refused key; ZeroMQ tries again by itself."""
        self._lose(reason)

    def on_frames(self, now_s: float, frames: Sequence[Buffer]) -> Offer | FilePart | None:
        """Handle one message; return an offer, which wants an `ask`, or the part that continues the file.

        Raises WireError, LinkError or RemoteError for what trying again would not mend.
        """
        try:
            return self._dispatch(now_s, wire.decode(frames))
        except WireError as error:
            raise WireError(f"{self._server} broke the protocol: {error}") from error

    def on_tick(self, now_s: float) -> None:
        """Do what time demands: HELLO again, ping, give up waiting."""
        if now_s >= self._greeter.due_s:
            self.greet(now_s)
        if now_s >= self._greeter.expires_s:
            self._lose(f"{self._server} does not answer our HELLO", reset=True)
        if self.offer is not None and now_s - self.heard_s >= self._patience_s:
            self._lose(f"{self._server} has been silent for {now_s - self.heard_s:.1f} s", reset=True)
        if now_s >= self._ping_s:
            self._ping_s = now_s + self._limits.ping_interval_s
            self._pings += 1
            self._send(Ping(self._pings))

    def next_wake_s(self) -> float:
        """Return when `on_tick` has something to do next, if nothing else happens."""
        silent_s = self.heard_s + self._patience_s if self.offer is not None else math.inf
        return min(self._greeter.due_s, self._greeter.expires_s, self._ping_s, silent_s)

    def take_reset(self) -> bool:
        """Return once True when the shell must replace the socket."""
        wanted, self._wants_reset = self._wants_reset, False
        return wanted

    # Inside

    @property
    def _patience_s(self) -> float:
        # On the slowest link that counts as alive nothing is heard while one part crosses.
        return self._limits.down_after_s + FILE_PART_BYTES / self._limits.min_rate_bytes_per_s

    def _dispatch(self, now_s: float, envelope: wire.Envelope) -> Offer | FilePart | None:
        message = envelope.message
        if isinstance(message, Offer | Welcome | Refuse) and self._greeter.is_answer(envelope.request_id):
            return self._on_answer(now_s, envelope.epoch, message)
        if self.offer is None or envelope.epoch != self._epoch:
            return None  # of a connection before this one
        self.heard_s = now_s
        if isinstance(message, FilePart):
            return self._on_part(envelope.request_id, message)
        self._on_other(now_s, envelope.request_id, message)
        return None

    def _on_answer(self, now_s: float, epoch: int, answer: Offer | Welcome | Refuse) -> Offer | None:
        if isinstance(answer, Refuse):
            self._on_refuse(now_s, answer)
            return None
        if isinstance(answer, Welcome):
            raise WireError("WELCOME in answer to a HELLO without a network")
        self.offer, self._epoch, self.trouble = answer, epoch, None
        self._receipts = Receipts(self._limits.ack_every_bytes)
        self.heard_s = now_s
        self._ping_s = now_s + self._limits.ping_interval_s
        return answer

    def _on_part(self, request_id: int, part: FilePart) -> FilePart:
        end = part.offset + len(part.payload)
        if request_id != self._request_id or part.offset != self._next_offset or end > self._end:
            raise WireError(f"bytes {part.offset} to {end} of a file, wanted {self._next_offset} to {self._end}")
        self._next_offset = end
        self._receipts.add(len(part.payload))
        if self._receipts.is_due(at_the_end=end == self._end):
            self._send(Ack(self._receipts.tell()))
        return part

    def _on_other(self, now_s: float, request_id: int, message: Message) -> None:
        if isinstance(message, Bye):
            self._lose(f"{self._server} said good-bye: {message.reason}")
            # If the connection outlives the BYE, nothing else says HELLO again over it.
            self._greeter.again_at(now_s + self._limits.refused_retry_s)
        elif isinstance(message, Refuse):
            self._on_refuse(now_s, message)
        elif isinstance(message, ErrorReply):
            raise RemoteError(message.code, f"{self._server} cannot go on with request {request_id}: {message.message}")
        elif not isinstance(message, Pong):
            raise WireError(f"{type(message).__name__} for a device without a network")

    def _on_refuse(self, now_s: float, refuse: Refuse) -> None:
        if refuse.code not in {_FULL, _FORGOTTEN}:
            raise LinkError(f"{self._server} refuses to give its network away ({refuse.code}): {refuse.message}")
        self._lose(refuse.message)
        self._greeter.again_at(now_s if refuse.code == _FORGOTTEN else now_s + self._limits.refused_retry_s)

    def _lose(self, reason: str, *, reset: bool = False) -> None:
        self._end_epoch()
        self.trouble = reason
        self._wants_reset = self._wants_reset or reset

    def _end_epoch(self) -> None:
        self.offer = None
        self._greeter.stop()
        self._ping_s = math.inf
        self.outbox.clear()  # what is queued carries an epoch that no longer is

    def _send(self, message: Message, request_id: int = 0) -> None:
        self.outbox.put_control(outgoing(message, epoch=self._epoch, request_id=request_id))
