"""`splitd agent` or `splitd server` with a stamp at the beginning and the end of what a request passes.

    python -m tests.benchmarks.stamped OUT.json agent --config agent.yaml

The stamps are written to OUT.json when the daemon ends: {name: [[began_s, ended_s], ...]}. `time.perf_counter` is the
system's monotonic clock on Linux, so stamps of several processes go together. A stamp costs 0.3 µs; nothing traces.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

Stamps = dict[str, list[tuple[float, float]]]

PLACES = {
    "agent": {
        "request": "splitd.agent.device.intake_core:IntakeCore.on_request",
        "run": "splitd.agent.device.pipeline:Pipeline._run",
        "decide": "splitd.agent.device.steering:Steering.decide",
        "offload": "splitd.agent.device.offload:Offload.run",
        "prepared": "splitd.agent.device.inputs:Inputs.prepared",
        "to_input": "splitd.calibration.chain.engine:Engine.to_input",
        "head": "splitd.calibration.chain.engine:Engine.head",
        "tail": "splitd.calibration.chain.engine:Engine.tail",
        "sent": "splitd.transport.device.session:Session.send_item",
        "waited": "splitd.transport.device.session:Session.wait_outcome",
        "finish": "splitd.agent.device.intake_core:IntakeCore.finish",
        "frames": "splitd.agent.device.intake_core:Delivery.frames",
        "learn": "splitd.agent.device.pipeline:Pipeline._learn",
    },
    "server": {
        "admit": "splitd.agent.server.admission:Admission.take",
        "work": "splitd.agent.server.worker:Worker.work",
        "arrays": "splitd.agent.server.worker:arrays_of",
        "tail": "splitd.calibration.chain.engine:Engine.tail",
        "reply": "splitd.transport.server.endpoint:Endpoint.send_reply",
    },
}


def stamp(place: str, into: list[tuple[float, float]]) -> None:
    """Put a stand-in at `module:attribute.path` that notes when each call began and ended."""
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner: Any = functools.reduce(getattr, owners, importlib.import_module(module))
    call: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(call)
    def stamped(*args: Any, **kwargs: Any) -> Any:
        began_s = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            into.append((began_s, time.perf_counter()))

    setattr(owner, name, stamped)


def main() -> int:
    """Run the daemon until it is told to stop, then write its stamps."""
    out, kind = Path(sys.argv[1]), sys.argv[2]
    stamps: Stamps = defaultdict(list)
    for name, place in PLACES[kind].items():
        stamp(place, stamps[name])
    cli = importlib.import_module("splitd.agent.commands.cli")
    sys.argv[1:] = sys.argv[2:]
    try:
        return int(cli.main() or 0)
    finally:
        out.write_text(json.dumps(stamps))


if __name__ == "__main__":
    sys.exit(main())
