"""The device's daemon: takes images from local applications, splits each batch where it finishes soonest."""

from __future__ import annotations

import contextlib
import logging
import socket
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from splitd import __version__
from splitd.agent.configuration import AgentConfig
from splitd.agent.decide import Decider
from splitd.agent.device import views
from splitd.agent.device.bundle_source import client_keys, with_network
from splitd.agent.device.intake import Intake
from splitd.agent.device.offload import Offload
from splitd.agent.device.pipeline import Pipeline
from splitd.agent.device.running import RunningAgent, calibrate
from splitd.agent.device.steering import Steering, decider_config
from splitd.agent.recorder import RecordedDecider, RecordedEstimator, Recorder, take_snapshot
from splitd.agent.runtime import (
    AgentMetrics,
    History,
    Phase,
    Routes,
    View,
    accuracy_settings,
    open_selection,
    starting_routes,
)
from splitd.calibration.accuracy import Guard, obtain_guard
from splitd.calibration.chain import Engine
from splitd.calibration.measure import Obtained, Selection
from splitd.calibration.profile import CrossingKey, LatencyProfile, ProfilePair, pair_path
from splitd.errors import ProfileError, UsageError
from splitd.transport.device import Session
from splitd.transport.estimate import LinkEstimator, ProbeConfig, Prober
from splitd.transport.wire import ClientKeys, Hello, SessionLimits, names_hash

log = logging.getLogger(__name__)

MB = 1_000_000


class AgentDaemon:
    """The agent until it is ready. See splitd.agent.runtime.service.Daemon."""

    def __init__(self, path: Path, config: AgentConfig) -> None:
        self.phase = Phase()
        self._path = path
        self._config = config
        self._history = History()
        self._metrics = AgentMetrics()
        self._loaded: Selection | None = None  # only for the status; whoever runs the network is given it

    def start(self) -> RunningAgent:
        """Load, calibrate, connect, accept requests; what was opened is closed again when that fails half-way."""
        config, phase = self._config, self.phase
        with contextlib.ExitStack() as opened:
            phase.set("starting", f"loading {config.model.shown}")
            intake = Intake(config.intake)  # a taken socket is noticed before minutes of calibration
            opened.callback(intake.close)
            keys = client_keys(config)  # and so is a missing key
            selection, obtained, guard = self._measure(with_network(config, keys, phase.starting))
            engine, recorder = selection.engine, _recorder(config)
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
            running = RunningAgent(
                path=self._path,
                config=config,
                phase=phase,
                history=self._history,
                metrics=self._metrics,
                selection=selection,
                obtained=obtained,
                session=session,
                steering=steering,
                intake=intake,
                pipeline=pipeline,
                save_recording=_no_recording if recorder is None else partial(_save_recording, config, recorder),
                opened=contextlib.ExitStack(),
            )
            opened.callback(running.improve().stop)  # the first to end: it must switch nothing that is being closed
            running.opened = opened.pop_all()
            return running

    def routes(self) -> Routes:
        """Return what the control socket serves until the agent is ready."""
        shown: dict[str, View] = {
            "status": lambda _query: views.starting(self._config, self.phase, self._loaded),
            "history": partial(views.history, self._history),
        }
        return starting_routes("agent", self.phase, shown, self._metrics.render)

    def _measure(self, config: AgentConfig) -> tuple[Selection, Obtained, Guard]:
        """Load the network, prove that it can be split, measure times and accuracy: minutes, the first time."""
        self.phase.starting(f"loading {config.model.shown}")
        selection = self._loaded = open_selection(config)
        self.phase.check()
        engine = selection.engine
        engine.verify()
        selection.settle(self.phase.calibrating)
        obtained = calibrate(config, engine, self.phase, fresh=False)
        guard = obtain_guard(
            engine,
            accuracy_settings(config),
            state_dir=config.calibration.state_dir,
            progress=self.phase.calibrating,
        )
        log.info("accuracy: %s", guard.basis)
        return selection, obtained, guard


def _decider(
    config: AgentConfig, engine: Engine, profile: LatencyProfile, guard: Guard, recorder: Recorder | None
) -> Decider:
    make = Decider if recorder is None else partial(RecordedDecider, recorder)
    return make(
        profile,
        decider_config(config.planner),
        codecs=config.planner.codecs,
        refusals=_refusals(config, profile, guard),
        result_elements=[spec.elements for spec in engine.description.outputs],
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
    hello = Hello(engine.digest, names_hash(engine.names), __version__, socket.gethostname())
    limits = SessionLimits(window_bytes=int(config.link.window_mb * MB), ping_interval_s=config.link.ping_interval_s)
    prober = Prober(ProbeConfig(share=config.link.probe_share))
    return Session(config.server.address, hello, keys=keys, limits=limits, estimator=estimator, prober=prober)
