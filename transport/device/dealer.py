"""A device's ZeroMQ socket and what its monitor says. Used by one thread only."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

import zmq
from zmq.utils.monitor import parse_monitor_message

from splitd.errors import ConfigError
from splitd.transport.wire import (
    HANDSHAKE_TIMEOUT_S,
    HIGH_WATER_MARK,
    MAX_WELCOME_BYTES,
    Buffer,
    ClientKeys,
    SessionLimits,
)

_HANDSHAKE_FAILURES = {
    zmq.Event.HANDSHAKE_FAILED_AUTH,
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL,
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL,
}
_ATTEMPT_ENDS = _HANDSHAKE_FAILURES | {zmq.Event.CONNECTED}


class LinkEvent(Enum):
    """What can happen to a connection."""

    CONNECTED = auto()
    DISCONNECTED = auto()
    KEY_REFUSED = auto()


@dataclass(frozen=True, slots=True)
class LinkReport:
    """One event of the connection, with a sentence for people."""

    event: LinkEvent
    reason: str


class Dealer:
    """One DEALER socket that connects to `address` and goes on trying by itself; `reopen` starts from nothing."""

    def __init__(self, address: str, keys: ClientKeys | None, limits: SessionLimits) -> None:
        self._address = address
        self._keys = keys
        self._limits = limits
        self._context = zmq.Context()
        self._attempt_failed = False  # told already; the DISCONNECTED that follows a failed handshake is no news
        self.socket, self.monitor = self._open()

    def close(self, linger_s: float = 0.0) -> None:
        """Free the sockets; what was not sent within `linger_s` is dropped."""
        self._shut(linger_s)
        self._context.term()

    def reopen(self) -> None:
        """Replace the socket: whatever sits in the old connection's buffers never arrives."""
        self._shut()
        self.socket, self.monitor = self._open()

    def receive(self) -> list[bytes] | None:
        """Return the frames of one message; None if there is none now."""
        try:
            return self.socket.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return None

    def send(self, frames: tuple[Buffer, ...]) -> bool:
        """Send one message; return False if the socket cannot take it now."""
        try:
            # Payloads over zmq.COPY_THRESHOLD (64 KiB) are not copied; below that a copy is cheaper than a callback.
            self.socket.send_multipart(frames, zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return False
        return True

    def reports(self) -> Iterator[LinkReport]:
        """Yield what has happened to the connection since the last call."""
        while True:
            try:
                message = parse_monitor_message(self.monitor.recv_multipart(zmq.DONTWAIT))
            except zmq.Again:
                return
            report = self._explain(zmq.Event(message["event"]), message["value"])
            if report is not None and not self._attempt_failed:
                yield report
            if message["event"] in _ATTEMPT_ENDS:
                self._attempt_failed = message["event"] in _HANDSHAKE_FAILURES

    def _explain(self, event: zmq.Event, value: int) -> LinkReport | None:
        handlers: dict[zmq.Event, Callable[[], LinkReport]] = {
            zmq.Event.HANDSHAKE_SUCCEEDED: lambda: LinkReport(LinkEvent.CONNECTED, "connected"),
            zmq.Event.HANDSHAKE_FAILED_AUTH: lambda: LinkReport(LinkEvent.KEY_REFUSED, self._our_key_is_not_allowed()),
            zmq.Event.HANDSHAKE_FAILED_PROTOCOL: lambda: LinkReport(LinkEvent.KEY_REFUSED, self._securities_differ()),
            zmq.Event.HANDSHAKE_FAILED_NO_DETAIL: lambda: self._handshake_failed(value),
            zmq.Event.CLOSED: lambda: LinkReport(LinkEvent.DISCONNECTED, self._nobody_there()),
            zmq.Event.DISCONNECTED: lambda: LinkReport(LinkEvent.DISCONNECTED, f"{self._address} hung up"),
        }
        return handlers[event]() if event in handlers else None

    def _handshake_failed(self, error_number: int) -> LinkReport:
        """Tell a stopped server from one that hung up: libzmq gives EAGAIN for its own timeout."""
        if error_number == errno.EAGAIN:
            reason = f"{self._address} accepts the connection and then is silent: the server is stopped or overloaded"
            return LinkReport(LinkEvent.DISCONNECTED, reason)
        if self._keys is None:
            return LinkReport(LinkEvent.DISCONNECTED, f"{self._address} hung up during the handshake")
        return LinkReport(LinkEvent.KEY_REFUSED, self._server_key_is_wrong())

    def _nobody_there(self) -> str:
        return f"cannot connect to {self._address}: nothing listens there, or the network does not reach it"

    def _our_key_is_not_allowed(self) -> str:
        public = self._keys.own.public.decode() if self._keys else "(none)"
        return f"{self._address} does not allow this device's key {public}: add it to the server's allow list"

    def _server_key_is_wrong(self) -> str:
        expected = self._keys.server_public.decode() if self._keys else "(none)"
        return (
            f"{self._address} hung up during the CURVE handshake: its public key is probably not the configured "
            f"{expected}; compare with what `splitd keygen` printed on the server"
        )

    def _securities_differ(self) -> str:
        ours, theirs = ("with", "without") if self._keys else ("without", "with")
        return f"this device speaks {ours} CURVE keys, {self._address} {theirs}: configure keys on both ends or neither"

    def _open(self) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        limits = self._limits
        socket = self._context.socket(zmq.DEALER)
        socket.linger = 0
        socket.immediate = 1  # nothing is queued for a server that is not there: a restarted one must not get it
        socket.sndhwm = socket.rcvhwm = HIGH_WATER_MARK
        socket.maxmsgsize = MAX_WELCOME_BYTES
        socket.handshake_ivl = int(HANDSHAKE_TIMEOUT_S * 1e3)
        socket.connect_timeout = int(limits.connect_timeout_s * 1e3)
        socket.reconnect_ivl = int(limits.reconnect_s * 1e3)
        socket.reconnect_ivl_max = int(limits.reconnect_max_s * 1e3)
        socket.ipv6 = "[" in self._address
        if self._keys is not None:
            socket.curve_publickey = self._keys.own.public
            socket.curve_secretkey = self._keys.own.secret
            socket.curve_serverkey = self._keys.server_public
        monitor = socket.get_monitor_socket()
        try:
            socket.connect(self._address)
        except zmq.ZMQError as error:
            socket.disable_monitor()
            monitor.close(linger=0)
            socket.close(linger=0)
            self._context.term()
            raise ConfigError([f"server address {self._address}: {error.strerror}"]) from error
        return socket, monitor

    def _shut(self, linger_s: float = 0.0) -> None:
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=int(linger_s * 1e3))
