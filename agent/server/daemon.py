"""The edge server's daemon: finishes what devices send, one request at a time, and tells them how busy it is."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from splitd import __version__
from splitd.agent.backends import BACKENDS
from splitd.agent.configuration import ServerConfig
from splitd.agent.runtime import (
    Phase,
    Routes,
    ServerMetrics,
    calibration_settings,
    open_selection,
    starting_routes,
)
from splitd.agent.server import views
from splitd.agent.server.admission import Admission, Admitted
from splitd.agent.server.ledger import Ledger
from splitd.agent.server.queue import WorkQueue
from splitd.agent.server.running import RunningServer
from splitd.agent.server.tail_times import TailTimes
from splitd.agent.server.worker import Worker
from splitd.calibration.chain import Engine
from splitd.calibration.measure import Selection, obtain_profile
from splitd.transport.server import BundleOffer, Endpoint
from splitd.transport.wire import AllowList, EndpointLimits, KeyPair, ServerLoad, load_pair, names_hash

MIB = 1 << 20


class ServerDaemon:
    """The server until it is ready. See splitd.agent.runtime.service.Daemon."""

    def __init__(self, path: Path, config: ServerConfig) -> None:
        self.phase = Phase()
        self._path = path
        self._config = config
        self._metrics = ServerMetrics()
        self._loaded: Selection | None = None  # only for the status; whoever runs the network is given it

    def start(self) -> RunningServer:
        """Load, calibrate, listen; what was opened is closed again when that fails half-way."""
        config, phase = self._config, self.phase
        phase.set("starting", f"loading {config.model.shown}")
        keys = _keys(config)  # a missing key file is noticed before minutes of calibration
        selection = self._loaded = open_selection(config)
        phase.check()
        engine = selection.engine
        engine.verify()
        selection.settle(phase.calibrating)
        obtained = obtain_profile(
            engine,
            calibration_settings(config),
            state_dir=config.calibration.state_dir,
            progress=phase.calibrating,
        )
        with contextlib.ExitStack() as opened:
            times, ledger = TailTimes(obtained.profile), Ledger(engine.names, self._metrics)
            queue: WorkQueue[Admitted] = WorkQueue(config.limits.max_queue)
            worker = Worker(engine, BACKENDS[config.compute.backend](engine), queue, times, ledger)
            admission = Admission(queue, times, ledger, max_batch=config.limits.max_batch)
            offer = _offer(config, engine)
            if offer is not None:
                opened.callback(offer.close)
            endpoint = _endpoint(config, engine, admission, keys, offer)
            opened.callback(endpoint.close)
            self._metrics.show_protocol(lambda: asdict(endpoint.counters()))
            worker.start()
            opened.callback(worker.stop)
            endpoint.start()
            running = RunningServer(
                path=self._path,
                config=config,
                phase=phase,
                metrics=self._metrics,
                selection=selection,
                profile_source=obtained.source,
                times=times,
                queue=queue,
                ledger=ledger,
                worker=worker,
                endpoint=endpoint,
                allow=keys.allow,
                opened=contextlib.ExitStack(),
            )
            opened.callback(running.improve().stop)  # the first to end: it must switch nothing that is being closed
            running.opened = opened.pop_all()
            return running

    def routes(self) -> Routes:
        """Return what the control socket serves until the server is ready."""
        status = {"status": lambda _query: views.starting(self._config, self.phase, self._loaded)}
        return starting_routes("server", self.phase, status, self._metrics.render)


class _Keys(NamedTuple):
    """The server's key pair and the devices that may connect; None where the configuration has no keys."""

    own: KeyPair | None
    allow: AllowList | None


def _keys(config: ServerConfig) -> _Keys:
    keys = config.keys
    if keys is None or keys.allow_file is None:
        return _Keys(None, None)
    return _Keys(load_pair(keys.secret_file), AllowList(file=keys.allow_file))


def _offer(config: ServerConfig, engine: Engine) -> BundleOffer | None:
    """Return the file that the server runs from, for devices that have none; None where it runs from a model."""
    path = config.model.bundle
    return None if path is None else BundleOffer(path, model_digest=engine.digest, name=engine.description.model)


def _endpoint(
    config: ServerConfig, engine: Engine, admission: Admission, keys: _Keys, offer: BundleOffer | None
) -> Endpoint:
    """Bind the socket for devices; raises ConfigError when the address cannot be had."""
    queue = admission.queue
    limits = EndpointLimits(
        max_clients=config.limits.max_clients,
        max_pending_bytes_per_client=int(config.limits.max_memory_mb_per_client * MIB),
    )
    known = {"name": socket.gethostname(), "version": __version__}
    return Endpoint(
        config.bind,
        lambda: {**known, "profile": admission.times.profile.to_json()},
        model_digest=engine.digest,
        cut_names_hash=names_hash(engine.names),
        keys=keys.own,
        allow=keys.allow,
        limits=limits,
        offer=offer,
        on_request=admission.take,
        load=lambda: ServerLoad(queue.delay_s(), queue.load()),
    )
