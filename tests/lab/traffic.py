"""Small measured transfers between the two ends of a lab link."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from tests.lab.netns import Namespace

DEADLINE_S = 30.0
READ_BYTES = 65536
TCP_SHARE_OF_IP = 1448 / 1500  # payload of a full packet with timestamps
TCP_SHARE_OF_ETHERNET = 1448 / 1514


class Arrivals:
    """When how many bytes had arrived: (seconds, total bytes), from a transfer that runs in the background."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, int]] = []

    def rate_bytes_per_s(self, skip_bytes: int = 0) -> float:
        """Bytes over time between the first arrival after `skip_bytes` and the last."""
        marks = [mark for mark in self.marks if mark[1] > skip_bytes]
        (start_s, start_bytes), (end_s, end_bytes) = marks[0], marks[-1]
        return (end_bytes - start_bytes) / (end_s - start_s)

    def bytes_between(self, start_s: float, end_s: float) -> int:
        """What arrived in a span of monotonic time."""
        totals = [total for at_s, total in self.marks if start_s <= at_s < end_s]
        return totals[-1] - totals[0] if totals else 0


def tcp_transfer(source: Namespace, sink: Namespace, n_bytes: int) -> Arrivals:
    """Send `n_bytes` over one TCP connection and note their arrival."""
    with tcp_stream(source, sink, n_bytes) as arrivals:
        pass
    return arrivals


@contextlib.contextmanager
def tcp_stream(source: Namespace, sink: Namespace, n_bytes: int) -> Iterator[Arrivals]:
    """The same, running while the block does its work; the block's end waits for the transfer's."""
    with sink.entered():
        listener = socket.create_server((sink.address, 0))
    with source.entered():
        out = socket.create_connection(listener.getsockname(), timeout=DEADLINE_S)
    arrivals = Arrivals()
    with listener, out, listener.accept()[0] as into:
        into.settimeout(DEADLINE_S)
        sender = threading.Thread(target=lambda: out.sendall(bytes(n_bytes)))
        receiver = threading.Thread(target=_receive, args=(into, n_bytes, arrivals))
        sender.start()
        receiver.start()
        yield arrivals
        sender.join()
        receiver.join()
    assert arrivals.marks[-1][1] == n_bytes


def _receive(into: socket.socket, n_bytes: int, arrivals: Arrivals) -> None:
    total = 0
    while total < n_bytes and (chunk := into.recv(READ_BYTES)):
        total += len(chunk)
        arrivals.marks.append((time.monotonic(), total))


@contextlib.contextmanager
def udp_pair(one: Namespace, other: Namespace) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected UDP sockets, one at each end."""
    with one.entered():
        left = socket.socket(type=socket.SOCK_DGRAM)
    with other.entered():
        right = socket.socket(type=socket.SOCK_DGRAM)
    with left, right:
        left.bind((one.address, 0))
        right.bind((other.address, 0))
        left.connect(right.getsockname())
        right.connect(left.getsockname())
        yield left, right


def round_trips_s(one: Namespace, other: Namespace, count: int) -> list[float]:
    """Round trip times of `count` small datagrams, one after the other."""
    trips = []
    with udp_pair(one, other) as (left, right):
        left.settimeout(DEADLINE_S)
        right.settimeout(DEADLINE_S)
        for _ in range(count):
            start_s = time.monotonic()
            left.send(b"ping")
            right.send(right.recv(16))
            left.recv(16)
            trips.append(time.monotonic() - start_s)
    return trips


def delivered(source: Namespace, sink: Namespace, count: int, silence_s: float = 0.3) -> int:
    """How many of `count` small datagrams arrive before the sink has heard nothing for `silence_s`."""
    arrived = []
    with udp_pair(source, sink) as (left, right):
        right.settimeout(silence_s)
        receiver = threading.Thread(target=_receive_datagrams, args=(right, arrived))
        receiver.start()
        for _ in range(count):
            left.send(b"count me")
            time.sleep(0.0001)  # a burst would overflow the receiver's buffer: losses that the link did not make
        receiver.join()
    return len(arrived)


def _receive_datagrams(into: socket.socket, arrived: list[bytes]) -> None:
    with contextlib.suppress(TimeoutError):
        while datagram := into.recv(16):
            arrived.append(datagram)
