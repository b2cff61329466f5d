"""The edge server's daemon: finishes what devices send, one request at a time, and tells them how busy it is."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splitd import __version__
from splitd.agent.configuration import ServerConfig, load_config, reloaded
from splitd.agent.decide import SpeedFactor
from splitd.agent.runtime import (
    Phase,
    Routes,
    ServerMetrics,
    calibration_settings,
    crossing,
    device_view,
    model_view,
    open_engine,
)
from splitd.agent.server.queue import Work, WorkQueue
from splitd.calibration.chain import Engine, Live
from splitd.calibration.measure import obtain_profile
from splitd.calibration.profile import LatencyProfile
from splitd.errors import DeadlineError, LinkError, OverloadError, SplitdError, WireError
from splitd.transport.server import Endpoint, IncomingRequest
from splitd.transport.wire import AllowList, EndpointLimits, ServerLoad, ServerTimings, load_pair, names_hash

log = logging.getLogger(__name__)

POLL_S = 0.2
DRAIN_S = 10.0
HANG_S = 60.0  # no tail takes this long; a worker that does is stuck
MIB = 1 << 20


class ServerDaemon:
    """See splitd.agent.runtime.service.Daemon."""

    def __init__(self, path: Path, config: ServerConfig) -> None:
        self._path = path
        self._config = config
        self._phase = Phase()
        self._metrics = ServerMetrics()
        self._queue: WorkQueue[IncomingRequest] = WorkQueue(config.limits.max_queue)
        self._stopping = threading.Event()
        self._worker = threading.Thread(target=self._work, name="worker", daemon=True)
        self._allow: AllowList | None = None
        self._endpoint: Endpoint | None = None
        self._engine: Engine | None = None
        self._profile: LatencyProfile | None = None
        self._speed = SpeedFactor()
        self._answered = 0
        self._failed = 0

    def start(self) -> None:
        """Load, calibrate, listen."""
        config = self._config
        self._phase.set("starting", f"loading {config.model.name}")
        self._engine = engine = open_engine(config)
        self._phase.check()
        engine.verify()
        obtained = obtain_profile(
            engine.model,
            engine.partition,
            calibration_settings(config),
            state_dir=config.calibration.state_dir,
            progress=self._phase.calibrating,
        )
        self._profile = obtained.profile
        self._endpoint = self._open_endpoint(engine)
        self._worker.start()
        self._endpoint.start()
        self._phase.set("ready", f"listening on {config.bind}, profile {obtained.source}")

    def stop(self) -> None:
        """Finish what is queued, then close."""
        self._phase.stop()
        end_s = time.monotonic() + DRAIN_S
        while len(self._queue) and self._worker.is_alive() and time.monotonic() < end_s:
            time.sleep(0.02)
        self._stopping.set()
        if self._worker.ident is not None:
            self._worker.join(DRAIN_S)
        if self._endpoint is not None:
            self._endpoint.close()

    def reload(self) -> str:
        """Read the file and the allow list again; they and the log level change now, the rest at a restart."""
        fresh = load_config(self._path, ServerConfig)
        if self._allow is not None:
            self._allow.reload()
        message, self._config = reloaded(self._config, fresh, live=("log_level",))
        return message if self._allow is None else f"{message}; {len(self._allow)} devices may connect"

    def alive(self) -> bool:
        """Tell whether the worker gets on."""
        return self._queue.running_s() < HANG_S

    def summary(self) -> str:
        """Return the state in one line."""
        return self._phase.text

    def routes(self) -> Routes:
        """Return what the control socket serves."""
        return Routes(
            views={"status": self._status},
            changes={"reload": lambda _body: {"message": self.reload()}},
            metrics=self._metrics.render,
        )

    def _open_endpoint(self, engine: Engine) -> Endpoint:
        config = self._config
        keys = load_pair(config.keys.secret_file) if config.keys else None
        if config.keys and config.keys.allow_file:
            self._allow = AllowList(file=config.keys.allow_file)
        limits = EndpointLimits(
            max_clients=config.limits.max_clients,
            max_pending_bytes_per_client=int(config.limits.max_memory_mb_per_client * MIB),
        )
        return Endpoint(
            config.bind,
            self._welcome,
            model_digest=engine.model.digest,
            cut_names_hash=names_hash(engine.names),
            keys=keys,
            allow=self._allow,
            limits=limits,
            on_request=self._on_request,
            load=self._load,
        )

    def _welcome(self) -> dict[str, Any]:
        assert self._profile is not None  # noqa: S101  (the endpoint opens after calibration)
        return {"name": socket.gethostname(), "version": __version__, "profile": self._profile.to_json()}

    def _load(self) -> ServerLoad:
        return ServerLoad(self._queue.delay_s(), self._queue.load())

    def _on_request(self, request: IncomingRequest) -> None:
        """Queue a complete request; called in the endpoint's thread."""
        try:
            self._check(request)
            self._queue.put(request, self._expected_s(request))
        except SplitdError as error:
            self._fail(request, error)

    def _check(self, request: IncomingRequest) -> None:
        engine, limits = self._engine, self._config.limits
        if engine is None or not 0 <= request.cut < engine.last:
            raise WireError(f"there is no cut {request.cut}")
        if not 0 < self._batch_of(request) <= limits.max_batch:
            raise OverloadError(f"a batch of {self._batch_of(request)}; this server takes 1 to {limits.max_batch}")

    def _expected_s(self, request: IncomingRequest) -> float:
        return self._calibrated_s(request) * self._speed.estimate(time.monotonic()).p50

    def _calibrated_s(self, request: IncomingRequest) -> float:
        return self._profile.tail_s(request.cut, self._batch_of(request)) if self._profile else 0.0

    def _work(self) -> None:
        while not self._stopping.is_set():
            work = self._queue.get(POLL_S)
            if work is None:
                continue
            try:
                self._answer(work)
            except SplitdError as error:
                self._fail(work.item, error)
            except Exception as error:
                log.exception("request failed")
                self._fail(work.item, SplitdError(f"internal error: {error}"))
            finally:
                self._queue.done()

    def _answer(self, work: Work[IncomingRequest]) -> None:
        engine, request = self._engine, work.item
        assert engine is not None  # noqa: S101  (the worker starts after loading)
        if request.is_cancelled:
            raise LinkError("the device no longer waits for this")
        begun_s = time.monotonic()
        queue_s = begun_s - work.queued_s
        if request.deadline_s is not None and begun_s >= request.deadline_s:
            raise DeadlineError(f"the deadline passed while the request waited {queue_s * 1000:.0f} ms")
        live = self._to_live(engine, request)
        decoded_s = time.monotonic()
        outputs = engine.tail(request.cut, live)
        done_s = time.monotonic()
        timings = ServerTimings(queue_s, decoded_s - begun_s, done_s - decoded_s, self._queue.load())
        request.reply(outputs, timings)
        self._answered += 1
        self._speed.observe(done_s, done_s - decoded_s, self._calibrated_s(request))
        self._metrics.requests.labels(engine.names[request.cut], "answered").inc()
        self._metrics.compute.observe(done_s - decoded_s)
        self._metrics.queue.observe(queue_s)

    def _to_live(self, engine: Engine, request: IncomingRequest) -> Live:
        most = self._config.limits.max_batch
        if request.cut == 0:
            batch = crossing.decode_input(request.tensors, request.chunks, engine.preprocessing, most)
            return engine.to_input(batch)
        arrays = crossing.decode(request.tensors, request.chunks)
        crossing.check_shapes(arrays, engine.partition.batch_shapes(request.cut, self._batch_of(request)))
        return engine.from_arrays(arrays)

    def _batch_of(self, request: IncomingRequest) -> int:
        return crossing.batch_of(request.tensors, request.chunks, self._config.limits.max_batch)

    def _fail(self, request: IncomingRequest, error: SplitdError) -> None:
        self._failed += 1
        log.warning("a request fails: %s: %s", error.code, error)
        self._metrics.requests.labels(str(request.cut), error.code).inc()
        request.fail(error.code, str(error))

    def _status(self, _query: Mapping[str, str]) -> dict[str, Any]:
        config, engine = self._config, self._engine
        return {
            "daemon": "server",
            "version": __version__,
            "pid": os.getpid(),
            **self._phase.view(),
            "bind": config.bind,
            "model": model_view(config.model, engine),
            "device": device_view(config.device, engine),
            "load": {
                "clients": len(self._endpoint.clients()) if self._endpoint else 0,
                "queued": len(self._queue),
                "queue_s": self._queue.delay_s(),
                "load": self._queue.load(),
                "requests": self._answered,
                "failed": self._failed,
            },
        }
