"""A TCP relay that shapes what passes through it to a rate trace; needs no root. Runs as a process of its own.

    python -m splitd.agent.demo.relay LISTEN_PORT SERVER_PORT DELAY_S  < trace rows, then commands

Each direction is a transmission line: n bytes occupy it for n / rate seconds, then reach the other end `DELAY_S` later.
Nothing is sent in bursts. The socket buffers are small, so the sender feels the line's speed. Standard input carries
one JSON document per line: `{"times_s": …, "rates_bytes_per_s": …, "duration_s": …}` starts a trace from its beginning.
"""

from __future__ import annotations

import json
import queue
import socket
import sys
import threading
import time

from splitd.agent.simulation import Trace, steps

QUANTUM_S = 0.002  # how much line time is sent at once: fine enough that the receiver sees the rate, not our sleeps
MIN_QUANTUM_BYTES = 512
MAX_QUANTUM_BYTES = 16_384
BUFFER_BYTES = 32_768  # what the line itself holds; more would hide the rate from the sender
OUTAGE_POLL_S = 0.01
DOWN_FACTOR = 4.0  # cellular downlinks are several times as fast as their uplinks


class TransmissionLine:
    """The clock of one direction: tells when a piece of data has passed."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._free_s = 0.0

    def pass_bytes(self, clock: TraceClock, n_bytes: int) -> float:
        """Wait until the line has transmitted `n_bytes`; return the monotonic time at which it did."""
        while (rate := clock.rate() * self._factor) == 0:
            time.sleep(OUTAGE_POLL_S)
        now_s = time.monotonic()
        self._free_s = max(self._free_s, now_s - QUANTUM_S) + n_bytes / rate
        if self._free_s > now_s:
            time.sleep(self._free_s - now_s)
        return self._free_s

    def quantum(self, clock: TraceClock) -> int:
        """Return how many bytes to take at once at the present rate."""
        return int(min(MAX_QUANTUM_BYTES, max(MIN_QUANTUM_BYTES, clock.rate() * self._factor * QUANTUM_S)))


class TraceClock:
    """The trace and when it was started."""

    def __init__(self, trace: Trace) -> None:
        self._now = (trace, time.monotonic())

    def restart(self, trace: Trace) -> None:
        """Follow `trace` from its beginning, from now on."""
        self._now = (trace, time.monotonic())

    def rate(self) -> float:
        """Return the present rate in bytes/s."""
        trace, started_s = self._now
        return trace.rate_at(time.monotonic() - started_s)


def _pump(source: socket.socket, sink: socket.socket, clock: TraceClock, factor: float, delay_s: float) -> None:
    """Move bytes one way until either end closes."""
    line = TransmissionLine(factor)
    in_flight: queue.Queue[tuple[float, bytes]] = queue.Queue(maxsize=4096)
    threading.Thread(target=_deliver, args=(in_flight, sink, delay_s), daemon=True).start()
    try:
        while data := source.recv(line.quantum(clock)):
            in_flight.put((line.pass_bytes(clock, len(data)), data))
    except OSError:
        pass  # a reset is passed on as a close
    in_flight.put((0.0, b""))


def _deliver(in_flight: queue.Queue[tuple[float, bytes]], sink: socket.socket, delay_s: float) -> None:
    while True:
        sent_s, data = in_flight.get()
        if not data:
            break
        wait_s = sent_s + delay_s - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        try:
            sink.sendall(data)
        except OSError:
            break
    for how in (socket.SHUT_WR, socket.SHUT_RD):
        try:
            sink.shutdown(how)
        except OSError:
            return


def _serve(listener: socket.socket, server_port: int, clock: TraceClock, delay_s: float) -> None:
    while True:
        device, _ = listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", server_port), timeout=5)
        except OSError:
            device.close()
            continue
        server.settimeout(None)
        for end in (device, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink, factor in ((device, server, 1.0), (server, device, DOWN_FACTOR)):
            threading.Thread(target=_pump, args=(source, sink, clock, factor, delay_s), daemon=True).start()


def main() -> None:
    """Serve until standard input ends."""
    listen_port, server_port, delay_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    clock = TraceClock(steps("open", (3600.0, 1e9)))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    listener.bind(("127.0.0.1", listen_port))
    listener.listen()
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=_serve, args=(listener, server_port, clock, delay_s), daemon=True).start()
    for text in sys.stdin:
        row = json.loads(text)
        clock.restart(Trace("trace", tuple(row["times_s"]), tuple(row["rates_bytes_per_s"]), row["duration_s"]))


if __name__ == "__main__":
    main()
