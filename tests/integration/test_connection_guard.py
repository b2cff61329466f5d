"""A server against peers that speak ZeroMQ's own protocol to harm it: endless messages, and too many connections."""

from __future__ import annotations

import contextlib
import socket

import numpy as np
import pytest

from splitd.transport.wire.limits import MIB, EndpointLimits
from tests.integration.test_session import ask, endpoint, noise, ready, session

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)  # ZMTP 3.0, RFC 23
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
PART_WITH_MORE_TO_COME = b"\x01\xff" + b"x" * 255


def connect(address: str) -> socket.socket:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return socket.create_connection((host, int(port)))


def shake_hands(connection: socket.socket) -> None:
    connection.sendall(GREETING)
    assert len(connection.recv(64, socket.MSG_WAITALL)) == 64
    connection.sendall(b"\x04" + bytes([len(READY)]) + READY)
    assert connection.recv(2, socket.MSG_WAITALL)[0] == 4


def flood(connection: socket.socket, n_bytes: int) -> None:
    block = PART_WITH_MORE_TO_COME * 1024
    for _ in range(n_bytes // len(block)):
        connection.sendall(block)


def read_to_the_end(connection: socket.socket) -> None:
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(1000):
            pass


def test_a_message_that_never_ends_is_cut_off_and_others_are_served() -> None:
    limits = EndpointLimits(max_unfinished_bytes=8 * MIB)
    with endpoint(limits=limits) as server, session(server.address) as device, connect(server.address) as attacker:
        ready(device)
        shake_hands(attacker)
        attacker.settimeout(2.0)
        with pytest.raises(OSError, match=r"reset|Broken pipe|timed out"):  # nobody reads it any more, or it is closed
            flood(attacker, 4096 * MIB)
        assert server.counters().cut_off_connections == 1
        np.testing.assert_array_equal(ask(device, noise(3 * MIB)), noise(3 * MIB))


def test_a_busy_honest_device_is_never_cut_off() -> None:
    limits = EndpointLimits(max_unfinished_bytes=8 * MIB)
    with endpoint(limits=limits) as server, session(server.address) as device:
        ready(device)
        for _ in range(5):
            ask(device, noise(20 * MIB))
        assert server.counters().cut_off_connections == 0
        assert device.status().reconnects == 0


def test_connections_over_the_limit_are_closed_at_once() -> None:
    with endpoint(limits=EndpointLimits(max_connections=4)) as server, session(server.address) as device:
        ready(device)
        crowd = [connect(server.address) for _ in range(20)]
        for connection in crowd:
            read_to_the_end(connection)  # the first three only after the handshake's time is up
        np.testing.assert_array_equal(ask(device, noise(1000)), noise(1000))
        assert server.counters().cut_off_connections >= 17
        for connection in crowd:
            connection.close()
