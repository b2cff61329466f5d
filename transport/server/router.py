"""A server's ZeroMQ socket, and the answers to its key questions (ZAP). Used by one thread only."""

from __future__ import annotations

import contextlib

import zmq
from zmq.utils.monitor import parse_monitor_message

from splitd.errors import ConfigError, LinkError
from splitd.transport.server.connection_guard import ConnectionGuard
from splitd.transport.wire import (
    HANDSHAKE_TIMEOUT_S,
    HIGH_WATER_MARK,
    MAX_CHUNK_BYTES,
    AllowList,
    Buffer,
    EndpointLimits,
    KeyPair,
    zap_reply,
)

_ZAP_ADDRESS = "inproc://zeromq.zap.01"
_ZAP_DOMAIN = b"splitd"
_WATCHED = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
# Connections that died without a word are closed by libzmq, or their descriptors would pile up.
_DEAD_AFTER_MS = 30_000


class Router:
    """One ROUTER socket that listens at `bind`; raises ConfigError if it cannot."""

    def __init__(self, bind: str, keys: KeyPair | None, allow: AllowList | None, limits: EndpointLimits) -> None:
        self.guard = ConnectionGuard(limits.max_connections, limits.max_unfinished_bytes)
        self._allow = allow
        self._context = zmq.Context()  # one of its own: a context has one ZAP handler
        self._zap: zmq.Socket[bytes] | None = None
        self._socket = self._context.socket(zmq.ROUTER)
        self._set_options(bind, keys)
        self._monitor = self._socket.get_monitor_socket(_WATCHED)
        try:
            self._socket.bind(bind)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError([f"bind: cannot listen at {bind}: {error.strerror}"]) from error
        self.address = str(self._socket.getsockopt_string(zmq.LAST_ENDPOINT)).rstrip("\0")

    @property
    def sockets(self) -> tuple[zmq.Socket[bytes], ...]:
        """What to poll for reading."""
        watched = (self._socket, self._monitor)
        return watched if self._zap is None else (*watched, self._zap)

    def receive(self) -> tuple[bytes, list[bytes]] | None:
        """Return sender and frames of one message; None if there is none now."""
        try:
            routing_id = self._socket.recv(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return None
        self.guard.on_message(int(routing_id.get(zmq.SRCFD)))
        return routing_id.bytes, self._socket.recv_multipart()  # the rest of the message is here already

    def send(self, routing_id: bytes, frames: tuple[Buffer, ...]) -> bool:
        """Send one message; return False if the device's queue is full. Raises LinkError if it has gone."""
        try:
            self._socket.send_multipart((routing_id, *frames), zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            raise LinkError(f"the device has gone: {error.strerror}") from error
        return True

    def send_or_drop(self, routing_id: bytes, frames: tuple[Buffer, ...]) -> None:
        """Send one message to a peer that is owed nothing."""
        with contextlib.suppress(LinkError):
            self.send(routing_id, frames)

    def watch_connections(self) -> None:
        """Take in which connections came and went, and cut off those that exceed a limit."""
        while True:
            try:
                event = parse_monitor_message(self._monitor.recv_multipart(zmq.DONTWAIT))
            except zmq.Again:
                break
            if event["event"] == zmq.EVENT_ACCEPTED:
                self.guard.on_accepted(event["value"])
            else:
                self.guard.on_closed(event["value"])
        self.guard.check()

    def answer_zap(self) -> None:
        """Decide about the devices that are connecting."""
        while self._zap is not None and self._allow is not None:
            try:
                request = self._zap.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self._zap.send_multipart(zap_reply(request, self._allow))

    def close(self) -> None:
        """Free the sockets; what was queued for devices gets a short time to leave."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=100)
        if self._zap is not None:
            self._zap.close(linger=0)
        self._context.term()

    def _set_options(self, bind: str, keys: KeyPair | None) -> None:
        socket = self._socket
        socket.router_mandatory = 1  # a device that has gone is an error, not silence
        socket.sndhwm = socket.rcvhwm = HIGH_WATER_MARK
        socket.maxmsgsize = MAX_CHUNK_BYTES
        socket.handshake_ivl = int(HANDSHAKE_TIMEOUT_S * 1e3)
        socket.heartbeat_ivl = _DEAD_AFTER_MS // 3
        socket.heartbeat_timeout = _DEAD_AFTER_MS
        socket.ipv6 = "[" in bind
        if keys is not None:
            self._zap = self._context.socket(zmq.REP)
            self._zap.bind(_ZAP_ADDRESS)
            socket.zap_domain = _ZAP_DOMAIN
            socket.curve_server = 1
            socket.curve_publickey = keys.public
            socket.curve_secretkey = keys.secret
