"""What it costs to wake another thread, and to get the interpreter back from one that computes in Python.

    python -m tests.benchmarks.handoffs

Prints medians in microseconds: a condition and an eventfd, from `notify` until the other thread runs; a small message
through a Unix ZeroMQ socket and back; and how late a thread runs after a sleep of one millisecond, alone and while
another thread runs Python code, at several switch intervals.
"""

from __future__ import annotations

import os
import select
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from statistics import median

import zmq

ROUNDS = 1000
SLEEP_S = 1e-3
PAUSE_S = 3e-4  # long enough for the other thread to sleep
INTERVALS_S = (5e-3, 5e-4, 5e-5)


def wake_s(wake: Callable[[], None], wait: Callable[[], None]) -> float:
    """Return the median seconds from before `wake` until `wait` has returned in another thread."""
    woken, began_s, times = threading.Event(), [0.0], []

    def sleeper() -> None:
        for _ in range(ROUNDS):
            wait()
            times.append(time.perf_counter() - began_s[0])
            woken.set()

    thread = threading.Thread(target=sleeper)
    thread.start()
    for _ in range(ROUNDS):
        time.sleep(PAUSE_S)
        woken.clear()
        began_s[0] = time.perf_counter()
        wake()
        woken.wait()
    thread.join()
    return median(times)


def by_condition() -> float:
    """Wake by a condition."""
    changed, calls = threading.Condition(), [0]

    def wake() -> None:
        with changed:
            calls[0] += 1
            changed.notify()

    def wait() -> None:
        with changed:
            changed.wait_for(lambda: calls[0] > 0)
            calls[0] -= 1

    return wake_s(wake, wait)


def by_eventfd() -> float:
    """Wake by an eventfd, from a poll."""
    descriptor = os.eventfd(0, os.EFD_NONBLOCK)
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)

    def wait() -> None:
        poller.poll()
        with suppress(BlockingIOError):
            os.eventfd_read(descriptor)

    try:
        return wake_s(lambda: os.eventfd_write(descriptor, 1), wait)
    finally:
        os.close(descriptor)


def through_sockets() -> float:
    """Send a message through a Unix socket to another thread and back."""
    with (
        tempfile.TemporaryDirectory() as folder,
        zmq.Context() as near,
        zmq.Context() as far,
        near.socket(zmq.DEALER) as client,
        far.socket(zmq.ROUTER) as server,
    ):
        server.bind(f"ipc://{folder}/socket")
        client.connect(f"ipc://{folder}/socket")

        def echo() -> None:
            for _ in range(ROUNDS):
                server.send_multipart(server.recv_multipart())

        thread = threading.Thread(target=echo)
        thread.start()
        times = []
        for _ in range(ROUNDS):
            time.sleep(PAUSE_S)
            began_s = time.perf_counter()
            client.send(b"x" * 1000)
            client.recv()
            times.append(time.perf_counter() - began_s)
        thread.join()
    return median(times)


def late_s() -> float:
    """Return how late this thread runs after a sleep."""
    times = []
    for _ in range(ROUNDS // 4):
        began_s = time.perf_counter()
        time.sleep(SLEEP_S)
        times.append(time.perf_counter() - began_s - SLEEP_S)
    return median(times)


def late_beside_a_busy_thread_s(interval_s: float) -> float:
    """Return the same while another thread computes in Python."""
    before_s, ended = sys.getswitchinterval(), threading.Event()
    sys.setswitchinterval(interval_s)

    def compute() -> None:
        while not ended.is_set():
            sum(range(100))

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        return late_s()
    finally:
        ended.set()
        thread.join()
        sys.setswitchinterval(before_s)


def main() -> None:
    """Print the table."""
    rows = [
        ("a condition", by_condition()),
        ("an eventfd", by_eventfd()),
        ("a message through a Unix socket and back", through_sockets()),
        ("late after a sleep, alone", late_s()),
        *((f"beside Python code, interval {s * 1e6:.0f} us", late_beside_a_busy_thread_s(s)) for s in INTERVALS_S),
    ]
    sys.stdout.writelines(f"{seconds * 1e6:8.0f}  {about}\n" for about, seconds in rows)


if __name__ == "__main__":
    main()
