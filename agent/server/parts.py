"""What a ready server consists of: what its view shows and its changes change."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from splitd.agent.configuration import ServerConfig
from splitd.agent.runtime import Phase, ServerMetrics
from splitd.agent.server.admission import Admitted
from splitd.agent.server.ledger import Ledger
from splitd.agent.server.queue import WorkQueue
from splitd.agent.server.tail_times import TailTimes
from splitd.agent.server.worker import Worker
from splitd.calibration.chain import Engine
from splitd.calibration.measure import Selection
from splitd.transport.server import Endpoint
from splitd.transport.wire import AllowList


@dataclass
class ServerParts:
    """All of them exist and work.

    `path` is the configuration file and `config` what is in force of it, `allow` the devices that may connect (None:
    without keys anyone may). `opened` closes what was opened: the worker, the endpoint.
    """

    path: Path
    config: ServerConfig
    phase: Phase
    metrics: ServerMetrics
    selection: Selection
    profile_source: str
    times: TailTimes
    queue: WorkQueue[Admitted]
    ledger: Ledger
    worker: Worker
    endpoint: Endpoint
    allow: AllowList | None
    opened: contextlib.ExitStack

    @property
    def engine(self) -> Engine:
        """What runs the tails."""
        return self.selection.engine
