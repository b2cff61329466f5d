"""A real endpoint in a process of its own: `python -m tests.echo_server ADDRESS [DIGEST]`, for tests that kill it.

It prints its address when it listens, and answers each request with the bytes it received, in one uint8 tensor. A
request for cut HOLD is never answered.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from splitd.transport.server.endpoint import Endpoint
from splitd.transport.server.incoming import IncomingRequest
from splitd.transport.wire.messages import ServerLoad, ServerTimings

MODEL = "ab" * 16
CUTS = "cd" * 16
HOLD = 99


def answer(request: IncomingRequest) -> None:
    """Send back what came."""
    if request.cut != HOLD:
        payload = b"".join(bytes(chunk.payload) for chunks in request.chunks for chunk in chunks)
        request.reply([np.frombuffer(payload, np.uint8)], ServerTimings(0.0, 0.0, 0.0))


def spawn(address: str = "tcp://127.0.0.1:*", digest: str = MODEL) -> tuple[subprocess.Popen[str], str]:
    """Start a server process; return it and the address at which it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.echo_server", address, digest],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def main() -> None:
    """Serve until killed."""
    address, digest = sys.argv[1:]
    requests: queue.SimpleQueue[IncomingRequest] = queue.SimpleQueue()
    endpoint = Endpoint(
        address,
        lambda: {"name": "echo", "version": "1", "started": time.time()},
        model_digest=digest,
        cut_names_hash=CUTS,
        on_request=requests.put,
        load=ServerLoad,
    )
    endpoint.start()
    sys.stdout.write(f"{endpoint.address}\n")
    sys.stdout.flush()
    while True:
        answer(requests.get())


if __name__ == "__main__":
    main()
