"""The device's daemon: takes images from local applications, splits each batch where it finishes soonest."""

from __future__ import annotations

import contextlib
import logging
import math
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from splitd import __version__
from splitd.agent.client import ChangeAnswer, PinBody
from splitd.agent.configuration import AgentConfig, PlannerSection, load_config, reloaded
from splitd.agent.decide import Decider
from splitd.agent.device import views
from splitd.agent.device.intake import Intake
from splitd.agent.device.offload import Offload
from splitd.agent.device.pipeline import Pipeline
from splitd.agent.device.steering import Steering, decider_config
from splitd.agent.recorder import RecordedDecider, RecordedEstimator, Recorder, take_snapshot
from splitd.agent.runtime import (
    AgentMetrics,
    History,
    Phase,
    Routes,
    View,
    accuracy_settings,
    calibration_settings,
    open_engine,
    starting_routes,
)
from splitd.calibration.accuracy import Guard, obtain_guard
from splitd.calibration.chain import Engine
from splitd.calibration.measure import Obtained, obtain_profile
from splitd.calibration.profile import CrossingKey, LatencyProfile, ProfilePair, pair_path
from splitd.errors import ConfigError, OverloadError, ProfileError, UsageError
from splitd.transport.device import Session
from splitd.transport.estimate import LinkEstimator, ProbeConfig, Prober
from splitd.transport.wire import ClientKeys, Hello, SessionLimits, load_pair, names_hash

log = logging.getLogger(__name__)

DRAIN_S = 10.0  # what is in flight when the agent is told to stop gets this long: as long as a request's own deadline
MB = 1_000_000


class AgentDaemon:
    """The agent until it is ready. See splitd.agent.runtime.service.Daemon."""

    def __init__(self, path: Path, config: AgentConfig) -> None:
        self.phase = Phase()
        self._path = path
        self._config = config
        self._history = History()
        self._metrics = AgentMetrics()
        self._loaded: Engine | None = None  # only for the status; whoever runs the network is given it

    def start(self) -> RunningAgent:
        """Load, calibrate, connect, accept requests; what was opened is closed again when that fails half-way."""
        config, phase = self._config, self.phase
        with contextlib.ExitStack() as opened:
            phase.set("starting", f"loading {config.model.name}")
            intake = Intake(config.intake)  # a taken socket is noticed before minutes of calibration
            opened.callback(intake.close)
            keys = _client_keys(config)  # and so is a missing key
            engine, obtained, guard = self._measure()
            recorder = _recorder(config)
            session = _session(config, engine, keys, recorder)
            steering = Steering(
                _decider(config, engine, obtained.profile, guard, recorder),
                session,
                partial(_save_profiles, config.calibration.state_dir),
            )
            if recorder is not None:
                opened.callback(recorder.close)
                recorder.start(partial(steering.inspect, partial(_put_snapshot, recorder)))
            opened.callback(session.close)
            offload = Offload(engine, session)
            pipeline = Pipeline(engine, intake, steering, offload, history=self._history, metrics=self._metrics)
            opened.callback(pipeline.stop)
            phase.check()
            session.start()
            pipeline.start()
            intake.start()
            phase.set("ready", f"profile {obtained.source}")
            return RunningAgent(
                path=self._path,
                config=config,
                phase=phase,
                history=self._history,
                metrics=self._metrics,
                engine=engine,
                obtained=obtained,
                session=session,
                steering=steering,
                intake=intake,
                pipeline=pipeline,
                save_recording=_no_recording if recorder is None else partial(_save_recording, config, recorder),
                opened=opened.pop_all(),
            )

    def routes(self) -> Routes:
        """Return what the control socket serves until the agent is ready."""
        shown: dict[str, View] = {
            "status": lambda _query: views.starting(self._config, self.phase, self._loaded),
            "history": partial(views.history, self._history),
        }
        return starting_routes("agent", self.phase, shown, self._metrics.render)

    def _measure(self) -> tuple[Engine, Obtained, Guard]:
        """Load the network, prove that it can be split, measure times and accuracy: minutes, the first time."""
        config = self._config
        engine = self._loaded = open_engine(config)
        self.phase.check()
        engine.verify()
        obtained = calibrate(config, engine, self.phase, fresh=False)
        guard = obtain_guard(
            engine.model,
            engine.partition,
            accuracy_settings(config),
            state_dir=config.calibration.state_dir,
            progress=self.phase.calibrating,
        )
        log.info("accuracy: %s", guard.basis)
        return engine, obtained, guard


@dataclass
class RunningAgent:
    """An agent that is ready. See splitd.agent.runtime.service.Running.

    `config` is the configuration in force, `obtained` the latency profile in use, and `opened` closes what was opened:
    the pipeline, the session, the intake.
    """

    path: Path
    config: AgentConfig
    phase: Phase
    history: History
    metrics: AgentMetrics
    engine: Engine
    obtained: Obtained
    session: Session
    steering: Steering
    intake: Intake
    pipeline: Pipeline
    save_recording: Callable[[], Path]
    opened: contextlib.ExitStack

    def stop(self) -> None:
        """Answer what is in flight, then close everything."""
        self.phase.stop()
        self.intake.drain(DRAIN_S)
        self.opened.close()

    def reload(self) -> str:
        """Read the file again; the planner's part and the log level change now, the rest at a restart."""
        fresh = load_config(self.path, AgentConfig)
        message, self.config = reloaded(self.config, fresh, live=live_keys(self.config.planner, fresh.planner))
        self.steering.reconfigure(self.config.planner)
        return message

    def alive(self) -> bool:
        """Tell whether the work loop gets on."""
        return self.pipeline.alive()

    def summary(self) -> str:
        """Return the state in one line."""
        return views.state(self)[1]

    def routes(self) -> Routes:
        """Return what the control socket serves."""
        return Routes(
            daemon="agent",
            views={
                "status": lambda _query: views.status(self),
                "splits": partial(views.splits, self),
                "link": lambda _query: views.link(self),
                "explain": partial(views.explain, self),
                "history": partial(views.history, self.history),
            },
            changes={
                "pin": self._pin,
                "unpin": self._unpin,
                "recalibrate": self._recalibrate,
                "record": self._record,
                "reload": lambda _body: ChangeAnswer(message=self.reload()),
            },
            metrics=self._render_metrics,
        )

    def _pin(self, body: Mapping[str, Any]) -> ChangeAnswer:
        try:
            wanted = PinBody.model_validate(body, strict=True)
        except ValidationError:
            raise UsageError("pin: `cut` is the name of a cut, `codec` a codec's or null") from None
        if self.config.planner.privacy and wanted.cut == self.engine.names[0]:
            raise UsageError("pin: privacy mode is on, so the input never leaves this device")
        self.steering.pin(wanted.cut, wanted.codec)
        return ChangeAnswer(message=f"pinned to {self.steering.pinned}; `splitctl unpin` undoes it")

    def _unpin(self, _body: Mapping[str, Any]) -> ChangeAnswer:
        self.steering.unpin()
        return ChangeAnswer(message="the split is chosen for each batch again")

    def _recalibrate(self, _body: Mapping[str, Any]) -> ChangeAnswer:
        if not self.pipeline.between_batches(self._measure_anew):
            raise OverloadError("a calibration is under way already")
        return ChangeAnswer(message="measuring anew; requests wait meanwhile, `splitctl wait` tells when it is done")

    def _record(self, _body: Mapping[str, Any]) -> ChangeAnswer:
        saved = self.save_recording()
        return ChangeAnswer(message=f"saved in {saved}; `splitd replay --recording {saved}` plays it back")

    def _measure_anew(self) -> None:
        try:
            self.obtained = calibrate(self.config, self.engine, self.phase, fresh=True)
            self.steering.replace_profile(self.obtained.profile)
        finally:  # a calibration that failed leaves the old profile in use
            self.phase.set("ready", f"profile {self.obtained.source}")

    def _render_metrics(self) -> bytes:
        link = self.session.link()
        self.metrics.rate.set(link.up.p50 if link.up else float("nan"))
        self.metrics.rtt.set(link.rtt_s.p50 if link.rtt_s else float("nan"))
        self.metrics.queued.set(self.intake.queued())
        return self.metrics.render()


def calibrate(config: AgentConfig, engine: Engine, phase: Phase, *, fresh: bool) -> Obtained:
    """Return the latency profile; raises StoppedError when the agent is to stop, ModelError and CodecError."""
    return obtain_profile(
        engine.model,
        engine.partition,
        calibration_settings(config),
        state_dir=config.calibration.state_dir,
        fresh=fresh,
        progress=phase.calibrating,
    )


def live_keys(old: PlannerSection, new: PlannerSection) -> tuple[str, ...]:
    """Return the keys that may change while the daemon runs: what was calibrated at the start is not among them."""
    calibrated = ("cuts", "codecs", "jpeg_qualities")
    same = all(getattr(old, key) == getattr(new, key) for key in calibrated)
    return ("planner", "log_level") if same else ("log_level",)


def _decider(
    config: AgentConfig, engine: Engine, profile: LatencyProfile, guard: Guard, recorder: Recorder | None
) -> Decider:
    make = Decider if recorder is None else partial(RecordedDecider, recorder)
    return make(
        profile,
        decider_config(config.planner),
        codecs=config.planner.codecs,
        refusals=_refusals(config, profile, guard),
        result_elements=[math.prod(shape) for shape in engine.partition.output_shapes],
    )


def _recorder(config: AgentConfig) -> Recorder | None:
    """Return the flight recorder, which records nothing before its start; None if it is off."""
    if config.recorder is False:
        return None
    return Recorder(config.calibration.state_dir / "recorder", int(config.recorder * MB))


def _put_snapshot(recorder: Recorder, decider: Decider, estimator: LinkEstimator, now_s: float) -> None:
    recorder.put(take_snapshot(decider, estimator, now_s))


def _save_recording(config: AgentConfig, recorder: Recorder) -> Path:
    """Copy the ring into a folder of its own, named by the time in UTC."""
    folder = config.calibration.state_dir / "recordings" / f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S-%f}"
    recorder.save(folder)
    return folder


def _no_recording() -> Path:
    raise UsageError("the recorder is off; set `recorder: 16` (MB) in the agent's configuration and restart it")


def _refusals(config: AgentConfig, profile: LatencyProfile, guard: Guard) -> dict[CrossingKey, str]:
    """Return the (position, codec) that accuracy keeps out, of those that were calibrated and are configured."""
    asked = (
        (k, label)
        for k in range(len(profile.cut_names) - 1)
        for label in profile.codecs_at(k)
        if k == 0 or label in config.planner.codecs
    )
    return {key: reason for key in asked if (reason := guard.refusal(*key)) is not None}


def _save_profiles(state_dir: Path, pair: ProfilePair) -> None:
    """Keep both ends' profiles for `splitd replay`; a directory that cannot be written costs no more than that."""
    try:
        pair.save(pair_path(state_dir, pair.device.key.model_digest))
    except ProfileError as error:
        log.warning("%s", error)


def _session(config: AgentConfig, engine: Engine, keys: ClientKeys | None, recorder: Recorder | None) -> Session:
    estimator = LinkEstimator() if recorder is None else RecordedEstimator(recorder)
    hello = Hello(engine.model.digest, names_hash(engine.names), __version__, socket.gethostname())
    limits = SessionLimits(window_bytes=int(config.link.window_mb * MB), ping_interval_s=config.link.ping_interval_s)
    prober = Prober(ProbeConfig(share=config.link.probe_share))
    return Session(config.server.address, hello, keys=keys, limits=limits, estimator=estimator, prober=prober)


def _client_keys(config: AgentConfig) -> ClientKeys | None:
    keys = config.keys
    if keys is None or keys.peer_public_key is None:
        return None
    if len(keys.peer_public_key) != 40:
        raise ConfigError(
            [f"keys.peer_public_key: a CURVE key has 40 characters, this one {len(keys.peer_public_key)}"]
        )
    return ClientKeys(load_pair(keys.secret_file), keys.peer_public_key.encode())
