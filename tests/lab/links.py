"""Two namespaces, `device` and `server`, and the link between them.

`VethLink` shapes in the kernel and is exact and fast, but knows only rates. `TunLink` sends each packet through a
relay process, which adds delay, loss, outages and rate traces, up to some ten megabytes a second.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tests.lab import tunrelay
from tests.lab.netns import INTERFACE, Namespace, namespace
from tests.lab.shaper import QUEUE_BYTES, Conditions

DEVICE_ADDRESS, SERVER_ADDRESS = "10.77.0.1", "10.77.0.2"
BURST_BYTES = 70_000  # one GSO packet is up to 65 536 B: tbf drops what does not fit into its burst
TUN_QUEUE_PACKETS = 5000
ROOT = Path(__file__).parents[2]


class VethLink:
    """A veth pair with a token bucket at each end."""

    def __init__(self, device: Namespace, server: Namespace) -> None:
        self.device = device
        self.server = server

    def set_rates(self, up_bytes_per_s: float, down_bytes_per_s: float, queue_bytes: int = QUEUE_BYTES) -> None:
        """Set both rates (bytes/s, Ethernet headers included), also in mid-transfer."""
        for end, rate in ((self.device, up_bytes_per_s), (self.server, down_bytes_per_s)):
            bits = f"{round(rate * 8)}bit"
            tbf = ["tbf", "rate", bits, "burst", str(BURST_BYTES), "limit", str(queue_bytes + BURST_BYTES)]
            end.run("tc", "qdisc", "replace", "dev", INTERFACE, "root", *tbf)


class TunLink:
    """A pair of TUN devices and the relay between them."""

    def __init__(self, device: Namespace, server: Namespace, relay: subprocess.Popen[str]) -> None:
        self.device = device
        self.server = server
        self._relay = relay

    def set(self, up: Conditions, down: Conditions | None = None) -> None:
        """Change the link, also in mid-transfer; `down` is like `up` unless given. In force on return."""
        request = {"up": asdict(up), "down": asdict(down or up)}
        assert self._relay.stdin is not None
        self._relay.stdin.write(json.dumps(request) + "\n")
        self._relay.stdin.flush()
        self._expect("ok")

    def _expect(self, answer: str) -> None:
        assert self._relay.stdout is not None
        line = self._relay.stdout.readline().strip()
        assert line == answer, f"the relay said {line!r} instead of {answer!r}"


@contextlib.contextmanager
def veth_link() -> Iterator[VethLink]:
    """Two namespaces joined by a veth pair, unshaped until `set_rates`."""
    with _two_namespaces() as (device, server):
        peer = ["peer", "name", INTERFACE, "netns", server.name]
        device.run("ip", "link", "add", "name", INTERFACE, "type", "veth", *peer)
        _configure(device, server)
        yield VethLink(device, server)


@contextlib.contextmanager
def tun_link(*, offload: bool = False) -> Iterator[TunLink]:
    """Two namespaces joined by a TUN relay, which passes everything on until `set`; `offload`: see the relay."""
    with _two_namespaces() as (device, server):
        argv = [sys.executable, "-m", tunrelay.__name__, device.name, server.name, *(["offload"] if offload else [])]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as relay:
            link = TunLink(device, server, relay)
            link._expect("ready")
            _configure(device, server)
            yield link


@contextlib.contextmanager
def _two_namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    with namespace("device", DEVICE_ADDRESS) as device, namespace("server", SERVER_ADDRESS) as server:
        yield device, server


def _configure(device: Namespace, server: Namespace) -> None:
    for end in (device, server):
        end.run("ip", "address", "add", f"{end.address}/30", "dev", INTERFACE)
        end.run("ip", "link", "set", INTERFACE, "up", "txqueuelen", str(TUN_QUEUE_PACKETS))
