"""The documents that the server's control socket serves."""

from __future__ import annotations

import os
from dataclasses import asdict

from splitd import __version__
from splitd.agent.client import LoadView, ServerStatus
from splitd.agent.configuration import ServerConfig
from splitd.agent.runtime import Phase, configured_model, device_view, executor_views, loaded_model
from splitd.agent.server.parts import ServerParts
from splitd.calibration.measure import Selection

IDLE = LoadView(clients=0, queued=0, queue_s=0.0, load=0.0, requests=0, failed=0)


def starting(config: ServerConfig, phase: Phase, selection: Selection | None) -> ServerStatus:
    """Return the state at a glance before the server is ready; the selection is None until it is loaded."""
    engine = selection.engine if selection else None
    return ServerStatus(
        version=__version__,
        pid=os.getpid(),
        state=phase.state,
        state_text=phase.text,
        uptime_s=phase.uptime_s,
        model=loaded_model(config.model, engine) if engine else configured_model(config.model),
        device=device_view(config.device, engine),
        executors=executor_views(selection) if selection else (),
        bind=config.bind,
        load=IDLE,
        counters={},
    )


def status(server: ServerParts) -> ServerStatus:
    """Return the state at a glance."""
    answered, failed = server.ledger.totals()
    load = LoadView(
        clients=len(server.endpoint.clients()),
        queued=len(server.queue),
        queue_s=server.queue.delay_s(),
        load=server.queue.load(),
        requests=answered,
        failed=failed,
    )
    known = starting(server.config, server.phase, server.selection)
    return known.model_copy(update={"load": load, "counters": asdict(server.endpoint.counters())})
