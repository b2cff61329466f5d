"""Bounds what libzmq does not: a server's connections, and the bytes of a message that never ends.

libzmq limits the size of a frame, but not the number of frames of one message: an unfinished multipart message grew to
1.9 GB under a limit of 64 MiB. The kernel knows how many bytes each connection has received (tcp_info(7)); a connection
that has received much since its last complete message is cut off.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct

# offsetof(struct tcp_info, tcpi_bytes_received) in linux/tcp.h
_BYTES_RECEIVED = struct.Struct("<Q")
_BYTES_RECEIVED_AT = 128


class ConnectionGuard:
    """Knows connections by libzmq's descriptors, which it only ever duplicates."""

    def __init__(self, max_connections: int, max_unfinished_bytes: int) -> None:
        self.cut_off = 0
        self._max_connections = max_connections
        self._max_unfinished_bytes = max_unfinished_bytes
        self._baseline: dict[int, int] = {}
        self._spoke: set[int] = set()

    def __len__(self) -> int:
        return len(self._baseline)

    def on_accepted(self, fd: int) -> None:
        """Watch a new connection, or cut it off if there are too many."""
        if len(self._baseline) >= self._max_connections:
            self._cut_off(fd)
        else:
            self._baseline[fd] = 0

    def on_closed(self, fd: int) -> None:
        """Forget a connection."""
        self._baseline.pop(fd, None)

    def on_message(self, fd: int) -> None:
        """Note that a complete message came over a connection."""
        self._spoke.add(fd)

    def check(self) -> None:
        """Cut off who has sent too much without completing a message; call this several times a second."""
        for fd, baseline in list(self._baseline.items()):
            received = _received_bytes(fd)
            if received is None:
                del self._baseline[fd]  # closed meanwhile; the event is on its way
            elif fd in self._spoke:
                self._baseline[fd] = received
            elif received - baseline > self._max_unfinished_bytes:
                self._cut_off(fd)
        self._spoke.clear()

    def _cut_off(self, fd: int) -> None:
        self.cut_off += 1
        self._baseline.pop(fd, None)
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as connection:
            connection.shutdown(socket.SHUT_RDWR)


def _received_bytes(fd: int) -> int | None:
    try:
        with socket.socket(fileno=os.dup(fd)) as connection:
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    except OSError:
        return None
    received: int = _BYTES_RECEIVED.unpack_from(info, _BYTES_RECEIVED_AT)[0]
    return received
