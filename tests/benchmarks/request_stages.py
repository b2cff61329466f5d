"""Where a request's time goes, from `Client.infer` to its return: real daemons and sockets, one thread per network.

    python -m tests.benchmarks.request_stages [--requests 1000] [--pin output] [--network quick_network:make]

Prints the median of each stage, in the order in which a request passes them, in microseconds. `--pin` is a cut, or a
cut and a codec (`blocks.0/raw`).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from splitd.agent.client import client as client_module
from tests.benchmarks.quick_network import SIDE_PIXELS
from tests.benchmarks.stamped import Stamps, stamp
from tests.support.daemons import Daemon, Pair

QUICK = {
    "name": "tests.benchmarks.quick_network:make",
    "weights": "random:1",
    "image_size": SIDE_PIXELS,
    "preprocessing": "imagenet",
}
WARM_UP = 100
# A moment in a request: the stamp, 0 for when it began and 1 for when it ended, and what the time up to there was.
LOCAL = (
    ("encode", 1, "client: request to frames"),
    ("request", 0, "sockets, agent's thread awake"),
    ("request", 1, "agent: frames to request"),
    ("run", 0, "hand-off to the pipeline"),
    ("decide", 0, "what the batch is"),
    ("decide", 1, "look at the link, decide"),
    ("prepared", 0, "towards the inputs"),
    ("prepared", 1, "prepare the images"),
    ("to_input", 1, "uint8 to the network's input"),
    ("tail", 0, "towards the network"),
    ("tail", 1, "the network"),
    ("finish", 1, "answer made"),
    ("frames", 0, "hand-off to the socket"),
    ("decode", 0, "answer to frames, sockets, client awake"),
    ("decode", 1, "client: frames to answer"),
)
OFFLOADED = (
    *LOCAL[:6],
    ("sent", 0, "prepare, head, encode"),
    ("sent", 1, "chunks handed to the session"),
    ("server.admit", 0, "session, link, endpoint"),
    ("server.work", 0, "admission, queue, worker awake"),
    ("server.arrays", 1, "decode"),
    ("server.tail", 1, "the tail"),
    ("server.reply", 1, "reply queued"),
    ("waited", 1, "endpoint, link, session, pipeline awake"),
    ("finish", 1, "answer made"),
    *LOCAL[-3:],
)


@dataclass(frozen=True)
class Run:
    """The stamps of all processes, and when each request began and ended, all in seconds on one clock."""

    stamps: Stamps
    requests: tuple[tuple[float, float], ...]

    def total_s(self) -> float:
        """Return the median time of a request."""
        return median(end - start for start, end in self.requests)

    def durations_s(self, name: str) -> list[float]:
        """Return how long each call took that began while or after a request ran and before the next began."""
        first_s = self.requests[0][0]
        return [end - start for start, end in self.stamps.get(name, []) if start >= first_s]

    def stages(self, moments: Sequence[tuple[str, int, str]]) -> list[tuple[str, float]]:
        """Return the stages that were passed with the median seconds of each; they add up to about the total."""
        passed: dict[str, list[float]] = {}
        for start_s, end_s in self.requests:
            before_s = start_s
            for name, which, about in moments:
                at_s = self._at(name, which, start_s, end_s)
                if at_s is not None:
                    passed.setdefault(about, []).append(at_s - before_s)
                    before_s = at_s
            passed.setdefault("return", []).append(end_s - before_s)
        return [(about, median(times)) for about, times in passed.items() if len(times) > len(self.requests) / 2]

    def _at(self, name: str, which: int, start_s: float, end_s: float) -> float | None:
        calls = self.stamps.get(name, [])
        index = bisect_left(calls, start_s, key=itemgetter(0))
        return calls[index][which] if index < len(calls) and calls[index][0] < end_s else None


class StampedDaemon(Daemon):
    """A daemon that writes its stamps when it ends."""

    def command(self) -> tuple[str, ...]:
        """Return the command line that starts it."""
        out = str(self.log.with_suffix(".json"))
        return (sys.executable, "-m", "tests.benchmarks.stamped", out, self.kind, "--config", str(self.path))


def make_pair(folder: Path, model: dict[str, object] = QUICK, daemon: type[Daemon] = Daemon) -> Pair:
    """Return an agent and a server with one thread each and nothing slowed down; they are not started yet."""
    shared = {"model": model, "device": {"threads": 1, "executor": "onnxruntime"}}
    return Pair(folder, agent=shared, server=shared, daemon=daemon)


@contextmanager
def started(pair: Pair, pin: str) -> Iterator[Pair]:
    """Start both, stay at `pin` (a cut, or a cut and a codec), and stop them at the end."""
    try:
        pair.start()
        cut, _, codec = pin.partition("/")
        pair.agent.control.post("pin", cut=cut, codec=codec or None)
        yield pair
    finally:
        pair.stop()


def measure(pin: str, requests: int, model: dict[str, object] = QUICK) -> Run:
    """Send images of the right size one after the other through stamped daemons."""
    own: Stamps = {"encode": [], "decode": []}
    stamp(f"{client_module.__name__}:encode_request", own["encode"])
    stamp(f"{client_module.__name__}:decode_reply", own["decode"])
    times: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="splitd-bench-") as folder:
        with started(make_pair(Path(folder), model, StampedDaemon), pin) as pair, pair.client() as client:
            image = some_image()
            for number in range(WARM_UP + requests):
                began_s = time.perf_counter()
                client.infer(image)
                if number >= WARM_UP:
                    times.append((began_s, time.perf_counter()))
        theirs = _stamps_of(pair.agent, "") | _stamps_of(pair.server, "server.")
    return Run(own | theirs, tuple(times))


def some_image() -> npt.NDArray[np.uint8]:
    """Return an image of the right size, without any structure."""
    return np.random.default_rng(0).integers(0, 256, (SIDE_PIXELS, SIDE_PIXELS, 3), np.uint8)


def _stamps_of(daemon: Daemon, prefix: str) -> Stamps:
    """Return what a stamped daemon wrote when it ended."""
    stamps: Stamps = json.loads(daemon.log.with_suffix(".json").read_text())
    return {prefix + name: calls for name, calls in stamps.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--pin", default="output")
    parser.add_argument("--model", default=QUICK["name"])
    asked = parser.parse_args()
    run = measure(asked.pin, asked.requests, {**QUICK, "name": asked.model})
    rows = [
        *((seconds, about) for about, seconds in run.stages(LOCAL if asked.pin == "output" else OFFLOADED)),
        (run.total_s(), "median of the whole request"),
        (median(run.durations_s("learn")), "learning, after the answer"),
    ]
    sys.stdout.writelines(f"{seconds * 1e6:8.0f}  {about}\n" for seconds, about in rows)


if __name__ == "__main__":
    main()
