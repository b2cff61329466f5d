"""Relay packets between TUN devices in two network namespaces, with the delay, loss and rate of an emulated link.

    python -m tests.lab.tunrelay NAMESPACE_A NAMESPACE_B [offload]

With `offload` the kernel hands over TCP segments in lumps of up to 64 KB, as network cards take them: fifty megabytes a
second are then within this program's reach, but losses and the queue's end hit whole lumps.

It opens the TUN device `lab0` in each, prints `ready`, and then reads one JSON document a line from stdin:
{"up": {…}, "down": {…}} with the fields of `Conditions` (up is from A to B), answering each with `ok` once it holds.
It ends when stdin does. Kernels often lack netem; every kernel with a VPN client has TUN.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import select
import struct
import sys
import time
from pathlib import Path

from tests.lab.netns import INTERFACE, enter
from tests.lab.shaper import Conditions, Shaper

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001
IFF_VNET_HDR = 0x4000  # ten bytes before each packet say how to cut it into segments; the relay passes them on
TUNSETOFFLOAD = 0x400454D0
TUN_F_CSUM_TSO4 = 0x03
PACKET_BYTES = 65536 + 10
READS_A_TURN = 64  # then the packets that are due get their turn


class Direction:
    """Packets read from one TUN device, shaped, written to the other."""

    def __init__(self, source: int, sink: int, seed: int) -> None:
        self.source = source
        self._sink = sink
        self.shaper = Shaper(seed)

    def take_in(self) -> None:
        """Read what the source has."""
        for _ in range(READS_A_TURN):
            try:
                packet = os.read(self.source, PACKET_BYTES)
            except BlockingIOError:
                return
            self.shaper.offer(time.monotonic(), packet)

    def give_out(self) -> None:
        """Write what is due; a device that takes no more loses it, as a real one would."""
        for packet in self.shaper.due(time.monotonic()):
            with contextlib.suppress(BlockingIOError):
                os.write(self._sink, packet)


def main() -> None:
    """Run the relay as the module docstring says."""
    ends = [_open_tun(name, offload="offload" in sys.argv[3:]) for name in sys.argv[1:3]]
    up, down = Direction(ends[0], ends[1], seed=1), Direction(ends[1], ends[0], seed=2)
    _answer("ready")
    while True:
        now_s = time.monotonic()
        wait_s = min(up.shaper.wait_s(now_s), down.shaper.wait_s(now_s))
        ready, _, _ = select.select([*ends, sys.stdin], [], [], None if math.isinf(wait_s) else wait_s)
        if sys.stdin in ready and not _obey(sys.stdin.readline(), up, down):
            return
        for direction in (up, down):
            if direction.source in ready:
                direction.take_in()
            direction.give_out()


def _obey(line: str, up: Direction, down: Direction) -> bool:
    if not line:
        return False
    request = json.loads(line)
    for direction, fields in ((up, request["up"]), (down, request["down"])):
        trace = tuple((start_s, rate) for start_s, rate in fields.pop("trace"))
        direction.shaper.set(time.monotonic(), Conditions(trace=trace, **fields))
    _answer("ok")
    return True


def _answer(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def _open_tun(namespace: str, *, offload: bool) -> int:
    enter(namespace)
    descriptor = os.open(Path("/dev/net/tun"), os.O_RDWR | os.O_NONBLOCK)
    flags = IFF_TUN_NO_PI | (IFF_VNET_HDR if offload else 0)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", INTERFACE.encode(), flags))
    if offload:
        fcntl.ioctl(descriptor, TUNSETOFFLOAD, TUN_F_CSUM_TSO4)
    return descriptor


if __name__ == "__main__":
    main()
