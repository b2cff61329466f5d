"""One device's side of the protocol: handshake, liveness, credits, requests. Sans-IO; the time is an argument.

The shell (`session.py`) reports what happens to the connection, hands over received frames, sends what is in `outbox`,
and replaces the socket when `take_reset` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from splitd.errors import LinkError, OverloadError, WireError
from splitd.transport import wire
from splitd.transport.device.greeter import Greeter, random_id
from splitd.transport.device.pinger import Pinger
from splitd.transport.device.probing import Probing
from splitd.transport.device.requests import Reply, RequestMeta, RequestTable
from splitd.transport.device.session_state import (
    WELCOMED_STATES,
    Event,
    ServerInfo,
    SessionCounters,
    SessionState,
    follow,
)
from splitd.transport.estimate import LinkEstimator, Prober
from splitd.transport.wire import (
    Ack,
    Buffer,
    Bye,
    Cancel,
    Chunk,
    ErrorReply,
    Hello,
    Message,
    Outbox,
    Outgoing,
    Ping,
    Pong,
    ProbeReport,
    Receipts,
    Refuse,
    Report,
    SendWindow,
    ServerLoad,
    SessionLimits,
    Welcome,
    outgoing,
)


class SessionCore:
    """The state of one session. Not thread-safe: the shell holds its lock around every call."""

    def __init__(
        self,
        hello: Hello,
        limits: SessionLimits,
        estimator: LinkEstimator,
        new_id: Callable[[], int] = random_id,
        prober: Prober | None = None,
    ) -> None:
        self.state = SessionState.CONNECTING
        self.error: str | None = None
        self.epoch = 0
        self.server: ServerInfo | None = None
        self.server_load: ServerLoad | None = None
        self.server_load_s = 0.0
        self.counters = SessionCounters()
        self.outbox = Outbox()
        self.window = SendWindow(limits.window_bytes)
        self.requests = RequestTable(limits.max_result_bytes)
        self._greeter = Greeter(hello, limits, new_id)
        self._limits = limits
        self._estimator = estimator
        # From a random start, so that no id of this session was one of a former session's: a late answer finds nobody.
        self._next_request_id = new_id()
        self._receipts = Receipts(limits.ack_every_bytes)
        self._pinger = Pinger(limits)
        self._probing = Probing(estimator, prober or Prober())
        self.is_connected = False
        self._was_ready = False  # welcomed at least once, so that the next welcome is a reconnection
        self._wants_reset = False
        self._handlers: dict[type[Message], Callable[[float, wire.Envelope, Any], None]] = {
            Pong: self._on_pong,
            Ack: self._on_ack,
            Report: self._on_report,
            Chunk: self._on_chunk,
            ErrorReply: self._on_error,
            ProbeReport: self._on_probe_report,
        }

    # What the application asks for

    def open(self, meta: RequestMeta) -> int:
        """Begin a request and return its id; raises LinkError unless welcomed, OverloadError at the limit."""
        if self.state not in WELCOMED_STATES:
            raise LinkError(f"the server is {self.state.value}: {self.error or 'no handshake yet'}")
        if len(self.requests) >= self._limits.max_open_requests:
            raise OverloadError(f"{len(self.requests)} requests are under way already")
        self.requests.open(self._new_id(), meta)
        return self._next_request_id

    def queue_chunk(self, item: Outgoing) -> None:
        """Queue one chunk for which the window has room; a probe that still waits gives way."""
        # A probe fills the window (up to 1 MB): what of it has not left yet would delay the batch by that much.
        if (probe_id := self._probing.flight_id) is not None and (waiting := self.outbox.take_back(probe_id)):
            self.window.take_back(waiting)
            self._probing.abandon()
        self._queue(item)

    def close_request(self, request_id: int, now_s: float) -> None:
        """Forget a request; the server is told if it has not ended yet.

        One that is given up was slower than its caller could believe, be it on the way there or back: what was known
        of the rates no longer holds.
        """
        if request_id not in self.requests:
            return
        if self.requests.outcome(request_id) is None and self.state in WELCOMED_STATES:
            # Also when the answer was late on its way back: otherwise one that dies there teaches nothing, and the next
            # batch is sent at the same rate, again and again.
            self._estimator.on_probe_failed(now_s)
            self.window.take_back(self.outbox.take_back(request_id))
            self._send(Cancel(), request_id)
        self.requests.drop(request_id)

    def say_bye(self, reason: str) -> None:
        """Tell the server that this end closes, and end all requests."""
        if self.state in WELCOMED_STATES:
            self.outbox.clear()  # nobody waits for these chunks any more, and BYE must not stand behind them
            self._send(Bye(reason))
        self.requests.fail_all(LinkError(f"the session was closed: {reason}"))

    # What happens to the connection

    def on_connected(self, now_s: float) -> None:
        """Handle a finished ZeroMQ handshake: introduce ourselves."""
        self.is_connected = True
        self._say_hello(now_s)

    def on_disconnected(self, now_s: float, reason: str) -> None:
        """Handle a broken or impossible connection; ZeroMQ tries again by itself."""
        # Who said BYE hangs up next; its reason says more than that the connection broke.
        known = self.error if self.is_connected and self.state is SessionState.DOWN else None
        self.is_connected = False
        self._lose(now_s, known or reason)

    def on_key_refused(self, now_s: float, reason: str) -> None:
        """Handle a handshake that the server refused because of our key."""
        self.is_connected = False
        self._refused(now_s, reason)
        self._greeter.stop()  # there is no connection to say HELLO over; ZeroMQ tries again by itself

    def on_frames(self, now_s: float, frames: Sequence[Buffer]) -> None:
        """Handle one received message; a broken one costs the connection."""
        try:
            self._dispatch(now_s, wire.decode(frames))
        except WireError as error:
            # Who breaks the format once is another program or a broken one; a new connection starts from nothing.
            self.counters.wire_errors += 1
            self._lose(now_s, f"the server broke the protocol: {error}", reset=True)

    def on_sent(self, now_s: float, item: Outgoing) -> None:
        """Note that the socket took a message."""
        if item.is_bulk:
            self._pinger.on_bulk()
            self.requests.on_sent(item.request_id, now_s, item.n_bytes)
            if item.request_id in self.requests:
                self._probing.on_data(now_s, is_up=True)
            else:
                self._probing.on_sent(item.request_id, now_s, item.n_bytes)

    def on_tick(self, now_s: float) -> None:
        """Do what time demands: HELLO again, ping, doubt, give up."""
        if now_s >= self._greeter.due_s:
            self._say_hello(now_s)
        if now_s >= self._greeter.expires_s:
            self._lose(now_s, f"no answer to our HELLO within {self._limits.hello_timeout_s:g} s", reset=True)
        if self.state in WELCOMED_STATES:
            self._watch(now_s)
        if self.state in WELCOMED_STATES:  # asked again: `_watch` may have given the server up
            self._measure(now_s)

    def next_wake_s(self, now_s: float) -> float:
        """Return when `on_tick` has something to do next, if nothing else happens."""
        # At least once a ping interval: silence is noticed by looking, nothing arrives to tell of it.
        wake_s = min(self._greeter.due_s, self._greeter.expires_s, now_s + self._limits.ping_interval_s)
        if self.state not in WELCOMED_STATES:
            return wake_s
        return min(wake_s, self._pinger.next_s, self._probing.next_look_s(now_s))

    def take_reset(self) -> bool:
        """Return once True when the shell must replace the socket."""
        wanted, self._wants_reset = self._wants_reset, False
        return wanted

    # Inside

    def _dispatch(self, now_s: float, envelope: wire.Envelope) -> None:
        message = envelope.message
        # The nonce, not the epoch, tells a HELLO's answer: there is no epoch yet, and a refusal has none at all.
        if isinstance(message, Welcome | Refuse) and self._greeter.is_answer(envelope.request_id):
            self._on_hello_answer(now_s, envelope.epoch, message)
        elif self.state not in WELCOMED_STATES or envelope.epoch != self.epoch:
            self.counters.stale_messages += 1  # of a server that was killed, or of the connection before this one
        else:
            self._pinger.heard_s = now_s  # any message is a sign of life: pongs may stand behind results
            self._follow(now_s, Event.HEARD)
            self._on_message(now_s, envelope)

    def _on_hello_answer(self, now_s: float, epoch: int, answer: Welcome | Refuse) -> None:
        if isinstance(answer, Refuse):
            self._refused(now_s, answer.message)
            return
        self.epoch = epoch
        self.error = None
        self.server = ServerInfo.of(answer)
        self.window = SendWindow(self._window_bytes(now_s, answer.window_bytes))
        self._receipts = Receipts(self._limits.ack_every_bytes)
        self._pinger.restart(now_s)
        self.counters.reconnects += self._was_ready
        self._was_ready = True
        self._follow(now_s, Event.WELCOMED)

    def _on_message(self, now_s: float, envelope: wire.Envelope) -> None:
        message = envelope.message
        if isinstance(message, Bye):
            self._lose(now_s, f"the server said good-bye: {message.reason}")
            # If the connection outlives the BYE, nothing else says HELLO again over it.
            self._greeter.again_at(now_s + self._limits.refused_retry_s)
        elif isinstance(message, Refuse):
            self._forgotten(now_s, message.message)
        else:
            handler = self._handlers.get(type(message))
            if handler is None:
                raise WireError(f"a server does not send {type(message).__name__}")
            handler(now_s, envelope, message)

    def _on_pong(self, now_s: float, _envelope: wire.Envelope, pong: Pong) -> None:
        self.server_load = pong.load
        self.server_load_s = now_s
        self._estimator.on_ping(now_s, self._pinger.pong(now_s, pong.sequence))

    def _on_ack(self, _now_s: float, _envelope: wire.Envelope, ack: Ack) -> None:
        self.window.acknowledge(ack.received_bytes)

    def _on_report(self, now_s: float, envelope: wire.Envelope, report: Report) -> None:
        if self._is_ours(envelope):
            self.requests.on_report(envelope.request_id, now_s, report, envelope.n_bytes)

    def _on_chunk(self, now_s: float, envelope: wire.Envelope, chunk: Chunk) -> None:
        if not chunk.is_result:
            raise WireError("a server does not send DATA")
        self._pinger.on_bulk()
        self._probing.on_data(now_s, is_up=False)
        # Acknowledged even if nobody waits for it: the server's window counts bytes, not requests.
        self._receipts.add(len(chunk.payload))
        reply = None
        if self._is_ours(envelope):
            reply = self.requests.on_result(envelope.request_id, now_s, chunk, envelope.n_bytes)
        last = chunk.chunk_index + 1 == chunk.chunk_count
        if self._receipts.is_due(at_the_end=last):
            self._send(Ack(self._receipts.tell()))
        if reply is not None:
            self._learn(now_s, reply)

    def _on_error(self, _now_s: float, envelope: wire.Envelope, error: ErrorReply) -> None:
        if self._is_ours(envelope):
            self.window.take_back(self.outbox.take_back(envelope.request_id))
            self.requests.on_error(envelope.request_id, error)

    def _on_probe_report(self, now_s: float, envelope: wire.Envelope, report: ProbeReport) -> None:
        self._probing.on_report(envelope.request_id, now_s, report)

    def _measure(self, now_s: float) -> None:
        """Ping, and probe the link while it is idle."""
        self._probing.expire(now_s)
        # Nothing unacknowledged: a ping now meets no bytes of ours on the link, and its pong is a clean round trip.
        quiet = self.window.in_flight_bytes == 0
        if self._pinger.is_due(now_s, quiet=quiet):
            self._send(Ping(self._pinger.ping(now_s, quiet=quiet)))
        idle = quiet and self.state is SessionState.READY and not self.requests.is_busy
        if idle and not self._pinger.is_timing(now_s):  # a probe would spoil that round trip
            for message in self._probing.due(now_s, self._new_id()):
                self._queue(outgoing(message, epoch=self.epoch, request_id=self._next_request_id))
        self.counters.probes = self._probing.sent
        self.counters.failed_probes = self._probing.failed

    def _queue(self, item: Outgoing) -> None:
        self.window.add(item.credit_bytes)
        self.outbox.put(item)

    def _new_id(self) -> int:
        self._next_request_id += 1
        return self._next_request_id

    def _is_ours(self, envelope: wire.Envelope) -> bool:
        known = envelope.request_id in self.requests
        self.counters.late_messages += not known
        return known

    def _learn(self, now_s: float, reply: Reply) -> None:
        self._estimator.on_transfer(now_s, reply.up)
        self._estimator.on_transfer(now_s, reply.down)
        if self.server is not None:
            self.window.limit_bytes = self._window_bytes(now_s, self.server.window_bytes)

    def _window_bytes(self, now_s: float, server_window_bytes: int) -> int:
        """Return how many bytes may be under way: half a second's worth, within this end's and the server's limits.

        More would queue in socket buffers, where nothing overtakes: pings and cancellations would wait behind it.
        """
        rate_bytes_per_s = self._estimator.uplink_rate(now_s)
        wanted = self._limits.first_window_bytes
        if rate_bytes_per_s is not None:
            wanted = max(self._limits.min_window_bytes, int(rate_bytes_per_s * self._limits.window_s))
        return min(wanted, self._limits.window_bytes, server_window_bytes)

    def _watch(self, now_s: float) -> None:
        silence_s = self._pinger.silence_s(now_s, self.window.in_flight_bytes)
        if silence_s >= self._limits.down_after_s:
            self._lose(now_s, f"the server has been silent for {now_s - self._pinger.heard_s:.1f} s", reset=True)
        elif silence_s >= self._limits.suspect_after_s and self.state is SessionState.READY:
            self.error = f"the server has been silent for {now_s - self._pinger.heard_s:.1f} s"
            self._follow(now_s, Event.SILENT)

    def _say_hello(self, now_s: float) -> None:
        self.outbox.clear()  # what is queued carries an epoch that no longer is
        self.outbox.put_control(self._greeter.say(now_s))

    def _refused(self, now_s: float, reason: str) -> None:
        self.error = reason
        self._follow(now_s, Event.REFUSED)
        self._end_epoch(reason)
        self._greeter.again_at(now_s + self._limits.refused_retry_s)

    def _forgotten(self, now_s: float, reason: str) -> None:
        self.error = reason
        self._follow(now_s, Event.FORGOTTEN)
        self._end_epoch(reason)
        self._say_hello(now_s)

    def _lose(self, now_s: float, reason: str, *, reset: bool = False) -> None:
        """End the epoch; with `reset` the connection itself is not trusted any more."""
        # Bytes in a dead connection's buffers would arrive when it comes to life again; a new socket has none.
        self._wants_reset = self._wants_reset or reset
        self.is_connected = self.is_connected and not reset
        self.error = reason
        self._follow(now_s, Event.LOST)
        self._end_epoch(reason)

    def _end_epoch(self, reason: str) -> None:
        self.epoch = 0
        self._greeter.stop()
        self.outbox.clear()
        self._probing.abandon()
        self.window = SendWindow(self._limits.window_bytes)  # unacknowledged bytes of a lost epoch stay so for ever
        self.requests.fail_all(LinkError(f"the server was lost: {reason}"))

    def _follow(self, now_s: float, event: Event) -> None:
        before, self.state = self.state, follow(self.state, event)
        if self.state is SessionState.READY and before is not SessionState.READY:
            self.error = None
            if before is not SessionState.SUSPECT:  # a silence that ends leaves the connection, and TCP's window, as is
                self._estimator.on_up(now_s)
        elif before in WELCOMED_STATES and self.state not in WELCOMED_STATES:
            self._estimator.on_down(now_s)

    def _send(self, message: Message, request_id: int = 0) -> None:
        self.outbox.put_control(outgoing(message, epoch=self.epoch, request_id=request_id))
