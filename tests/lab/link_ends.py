"""The two ends of a link as processes: a server that answers with a few bytes, a device that reports its predictions.

    python -m tests.lab.link_ends server ADDRESS
    python -m tests.lab.link_ends device ADDRESS     reads JSON requests, one a line, and answers each with a line

Everything that estimates is the daemon's own: session, prober, estimator. What the estimator was told can be saved, to
be told to it again later (`tests.support.recorded_link`).
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from splitd.transport.device.requests import RequestMeta
from splitd.transport.device.session import Session
from splitd.transport.estimate.prober import Prober
from splitd.transport.server.endpoint import Endpoint
from splitd.transport.server.incoming import IncomingRequest
from splitd.transport.wire.messages import Hello, ServerLoad, ServerTimings, TensorMeta
from tests.sessions import send_raw, wait_state
from tests.support.recorded_link import Recorder

MODEL, CUTS = "ab" * 16, "cd" * 16
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Sent:
    """One transfer: what was predicted (round trip and transfer; None while unknown), and what it took, in seconds."""

    n_bytes: int
    idle_s: float
    predicted_s: float | None
    measured_s: float
    rate_bytes_per_s: float | None


def serve(address: str) -> None:
    """Answer every request at once; never returns."""
    requests: queue.SimpleQueue[IncomingRequest] = queue.SimpleQueue()
    endpoint = Endpoint(
        address,
        lambda: {"name": "lab", "version": "1"},
        model_digest=MODEL,
        cut_names_hash=CUTS,
        on_request=requests.put,
        load=ServerLoad,
    )
    endpoint.start()
    say("ready")
    while True:
        requests.get().reply([np.zeros(8, np.uint8)], ServerTimings(0.0, 0.0, 0.0))


def drive(address: str) -> None:
    """Carry out requests: {"n_bytes": […], "pause_s": …} sends each size once, {} only tells the link.

    With "save_to" in it, a request also writes what the estimator has been told so far.
    """
    recorder = Recorder()
    session = Session(address, Hello(MODEL, CUTS, "1", "lab"), prober=Prober(), estimator=recorder)
    session.start()
    wait_state(session, "ready", timeout_s=PATIENCE_S)
    last_s = time.monotonic()
    say("ready")
    for line in sys.stdin:
        order = json.loads(line)
        sent = []
        for n_bytes in order.get("n_bytes", ()):
            time.sleep(order["pause_s"])
            idle_s = time.monotonic() - last_s
            recorder.asked(session.clock(), n_bytes, idle_s)
            sent.append(asdict(send(session, n_bytes, idle_s)))
            last_s = time.monotonic()
        if "save_to" in order:
            recorder.save(Path(order["save_to"]))
        link = session.link()
        say(json.dumps({"sent": sent, "state": link.state, "rate": link.up.p50 if link.up else None}))
    session.close()


def send(session: Session, n_bytes: int, idle_s: float) -> Sent:
    """Send one tensor of random bytes, and compare its time with what was predicted just before."""
    estimate = session.link()
    transfer = estimate.transfer_s(n_bytes, "up", idle_s)
    predicted_s = None if transfer is None or estimate.rtt_s is None else transfer.p50 + estimate.rtt_s.p50
    array = np.random.default_rng(n_bytes).integers(0, 256, n_bytes, np.uint8)
    deadline_s = session.clock() + PATIENCE_S
    with session.open(RequestMeta(1, (TensorMeta(array.shape, "uint8"),), deadline_s)) as exchange:
        send_raw(exchange, array)
        up = exchange.result(PATIENCE_S).up
    return Sent(up.n_bytes, idle_s, predicted_s, up.elapsed_s, estimate.up.p50 if estimate.up else None)


def say(line: str) -> None:
    """Print a line for the other end of the pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Driver:
    """The device process, asked from a test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, *n_bytes: int, pause_s: float = 0.0, **more: object) -> dict[str, object]:
        """Send some tensors; return what the device reports."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"n_bytes": n_bytes, "pause_s": pause_s, **more}) + "\n")
        self._process.stdin.flush()
        report: dict[str, object] = json.loads(self._process.stdout.readline())
        return report

    def send(self, *n_bytes: int, pause_s: float = 0.0) -> list[Sent]:
        """Send some tensors; return each one's prediction and time."""
        return [Sent(**sent) for sent in self.ask(*n_bytes, pause_s=pause_s)["sent"]]  # type: ignore[attr-defined]

    def save(self, path: Path) -> None:
        """Save what the device's estimator has been told."""
        self.ask(save_to=str(path))


@contextlib.contextmanager
def both_ends(server: list[str], device: list[str], address: str) -> Iterator[Driver]:
    """Run server and device under the given command prefixes."""
    root = Path(__file__).parents[2]
    with contextlib.ExitStack() as stack:
        started = []
        for prefix, role in ((server, "server"), (device, "device")):
            argv = [*prefix, sys.executable, "-m", "tests.lab.link_ends", role, address]
            ends = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
            process = stack.enter_context(ends)
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "ready", f"the {role} did not start"
            started.append(process)
        yield Driver(started[1])


if __name__ == "__main__":
    {"server": serve, "device": drive}[sys.argv[1]](sys.argv[2])
