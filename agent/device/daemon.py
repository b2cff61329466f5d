"""The device's daemon: takes images from local applications, splits each batch where it finishes soonest."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splitd import __version__
from splitd.agent.configuration import AgentConfig, PlannerSection, load_config, reloaded
from splitd.agent.decide import Brain, Candidates
from splitd.agent.device import views as agent_views
from splitd.agent.device.intake import Intake
from splitd.agent.device.offload import Offload
from splitd.agent.device.pipeline import Pipeline
from splitd.agent.runtime import (
    AgentMetrics,
    History,
    Phase,
    Routes,
    accuracy_settings,
    calibration_settings,
    open_engine,
)
from splitd.calibration.accuracy import obtain_guard
from splitd.calibration.chain import Engine
from splitd.calibration.measure import Obtained, obtain_profile
from splitd.calibration.profile import ProfilePair, pair_path
from splitd.errors import ConfigError, OverloadError, ProfileError, UsageError
from splitd.transport.device import Session
from splitd.transport.estimate import ProbeConfig, Prober
from splitd.transport.wire import ClientKeys, Hello, SessionLimits, load_pair, names_hash

log = logging.getLogger(__name__)

DRAIN_S = 10.0
MB = 1_000_000


class AgentDaemon:
    """See splitd.agent.runtime.service.Daemon."""

    def __init__(self, path: Path, config: AgentConfig) -> None:
        self._path = path
        self._config = config
        self.phase = Phase()
        self.history = History()
        self.metrics = AgentMetrics()
        self.engine: Engine | None = None
        self.obtained: Obtained | None = None
        self.session: Session | None = None
        self.brain: Brain | None = None
        self.intake: Intake | None = None
        self.pipeline: Pipeline | None = None

    @property
    def config(self) -> AgentConfig:
        """The configuration in force."""
        return self._config

    def start(self) -> None:
        """Load, calibrate, connect, accept requests."""
        config = self._config
        self.phase.set("starting", f"loading {config.model.name}")
        self.intake = Intake(config.intake)  # a taken socket is noticed before minutes of calibration
        self.engine = engine = open_engine(config)
        self.phase.check()
        engine.verify()
        self.obtained = self._calibrate(engine, fresh=False)
        self.session = session = self._open_session(engine)
        guard = obtain_guard(
            engine.model,
            engine.partition,
            accuracy_settings(config),
            state_dir=config.calibration.state_dir,
            progress=self.phase.calibrating,
        )
        log.info("accuracy: %s", guard.basis)
        codecs = config.planner.codecs
        candidates = Candidates(self.obtained.profile, guard, codecs, engine.result_bytes_per_sample)
        self.brain = Brain(candidates, session, config.planner, self._save_profiles)
        offload = Offload(engine, session)
        self.pipeline = Pipeline(engine, self.intake, self.brain, offload, history=self.history, metrics=self.metrics)
        session.start()
        self.pipeline.start()
        self.intake.start()
        self.phase.set("ready", f"profile {self.obtained.source}")

    def stop(self) -> None:
        """Answer what is in flight, then close everything."""
        self.phase.stop()
        if self.intake is not None and self.pipeline is not None:
            self.intake.drain(DRAIN_S)
        if self.pipeline is not None:
            self.pipeline.stop()
        if self.intake is not None:
            self.intake.close()
        if self.session is not None:
            self.session.close()

    def reload(self) -> str:
        """Read the file again; the planner's part and the log level change now, the rest at a restart."""
        fresh = load_config(self._path, AgentConfig)
        message, self._config = reloaded(self._config, fresh, live=live_keys(self._config.planner, fresh.planner))
        if self.brain is not None:
            self.brain.reconfigure(self._config.planner)
        return message

    def alive(self) -> bool:
        """Tell whether the work loop gets on."""
        return self.pipeline is None or self.pipeline.alive()

    def summary(self) -> str:
        """Return the state in one line."""
        return agent_views.state(self)[1]

    def routes(self) -> Routes:
        """Return what the control socket serves."""
        return Routes(
            views={
                "status": lambda _query: agent_views.status(self),
                "splits": lambda query: agent_views.splits(self, query),
                "link": lambda _query: agent_views.link(self),
                "explain": lambda query: agent_views.explain(self, query),
                "history": lambda query: agent_views.history(self, query),
            },
            changes={
                "pin": self._pin,
                "unpin": self._unpin,
                "recalibrate": self._recalibrate,
                "reload": lambda _body: {"message": self.reload()},
            },
            metrics=self._render_metrics,
        )

    def running_brain(self) -> Brain:
        """Return the brain; raises OverloadError while the daemon is not ready yet."""
        if self.brain is None:
            raise OverloadError(f"the agent is not ready yet: {self.phase.text}")
        return self.brain

    def _calibrate(self, engine: Engine, *, fresh: bool) -> Obtained:
        return obtain_profile(
            engine.model,
            engine.partition,
            calibration_settings(self._config),
            state_dir=self._config.calibration.state_dir,
            fresh=fresh,
            progress=self.phase.calibrating,
        )

    def _save_profiles(self, pair: ProfilePair) -> None:
        """Keep both ends' profiles for `splitd replay`; a directory that cannot be written costs no more than that."""
        try:
            pair.save(pair_path(self._config.calibration.state_dir, pair.device.key.model_digest))
        except ProfileError as error:
            log.warning("%s", error)

    def _open_session(self, engine: Engine) -> Session:
        config = self._config
        hello = Hello(engine.model.digest, names_hash(engine.names), __version__, socket.gethostname())
        limits = SessionLimits(
            window_bytes=int(config.link.window_mb * MB), ping_interval_s=config.link.ping_interval_s
        )
        prober = Prober(ProbeConfig(share=config.link.probe_share))
        return Session(config.server.address, hello, keys=_client_keys(config), limits=limits, prober=prober)

    def _pin(self, body: Mapping[str, Any]) -> dict[str, Any]:
        cut, codec = body.get("cut"), body.get("codec")
        if not isinstance(cut, str) or not isinstance(codec, str | None):
            raise UsageError("pin: `cut` is the name of a cut, `codec` a codec's or null")
        brain = self.running_brain()
        if self._config.planner.privacy and cut == brain.profile.cut_names[0]:
            raise UsageError("pin: privacy mode is on, so the input never leaves this device")
        brain.pin(cut, codec)
        return {"message": f"pinned to {brain.pinned}; `splitctl unpin` undoes it"}

    def _unpin(self, _body: Mapping[str, Any]) -> dict[str, Any]:
        self.running_brain().unpin()
        return {"message": "the split is chosen for each batch again"}

    def _recalibrate(self, _body: Mapping[str, Any]) -> dict[str, Any]:
        brain, pipeline = self.running_brain(), self.pipeline
        assert pipeline is not None  # noqa: S101  (there is no brain without a pipeline)
        if not pipeline.between_batches(lambda: self._measure_anew(brain)):
            raise OverloadError("a calibration is under way already")
        return {"message": "measuring anew; requests wait meanwhile, `splitctl wait` tells when it is done"}

    def _measure_anew(self, brain: Brain) -> None:
        assert self.engine is not None  # noqa: S101  (there is no brain without a engine)
        self.obtained = self._calibrate(self.engine, fresh=True)
        brain.replace_profile(self.obtained.profile)
        self.phase.set("ready", "profile measured")

    def _render_metrics(self) -> bytes:
        if self.session is not None and self.intake is not None:
            link = self.session.link()
            self.metrics.rate.set(link.up.p50 if link.up else float("nan"))
            self.metrics.rtt.set(link.rtt_s.p50 if link.rtt_s else float("nan"))
            self.metrics.queued.set(self.intake.queued())
        return self.metrics.render()


def live_keys(old: PlannerSection, new: PlannerSection) -> tuple[str, ...]:
    """Return the keys that may change while the daemon runs: what was calibrated at the start is not among them."""
    calibrated = ("cuts", "codecs", "jpeg_qualities")
    same = all(getattr(old, key) == getattr(new, key) for key in calibrated)
    return ("planner", "log_level") if same else ("log_level",)


def _client_keys(config: AgentConfig) -> ClientKeys | None:
    keys = config.keys
    if keys is None or keys.peer_public_key is None:
        return None
    if len(keys.peer_public_key) != 40:
        raise ConfigError(
            [f"keys.peer_public_key: a CURVE key has 40 characters, this one {len(keys.peer_public_key)}"]
        )
    return ClientKeys(load_pair(keys.secret_file), keys.peer_public_key.encode())
