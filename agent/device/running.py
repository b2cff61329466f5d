"""A ready agent: what may be asked of it and changed, and its orderly end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import ValidationError

from splitd.agent.client import ChangeAnswer, PinBody
from splitd.agent.configuration import AgentConfig, PlannerSection, load_config, reloaded
from splitd.agent.device import views
from splitd.agent.device.parts import AgentParts
from splitd.agent.runtime import Improver, Phase, Routes, calibration_settings
from splitd.calibration.chain import Engine, Runner
from splitd.calibration.measure import Obtained, obtain_profile
from splitd.errors import OverloadError, UsageError

ERRAND_POLL_S = 0.1
DRAIN_S = 10.0  # what is in flight when the agent is told to stop gets this long: as long as a request's own deadline


class RunningAgent(AgentParts):
    """See splitd.agent.runtime.service.Running."""

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

    def announce(self) -> None:
        """Say that the agent is ready."""
        self.phase.set("ready", f"profile {self.obtained.source}")

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

    def improve(self) -> Improver:
        """Begin to try the executors that were not at hand at the start, while requests are served."""
        improver = Improver(
            self.selection,
            self.path,
            measure=partial(calibrate_quietly, self.config),
            switch=self._switch,
            activity=lambda: self.pipeline.answered + self.pipeline.failed + self.intake.queued(),
        )
        improver.start()
        return improver

    def _switch(self, runner: Runner, obtained: Obtained) -> None:
        def switch() -> None:
            self.engine.runner, self.obtained = runner, obtained
            self.steering.replace_profile(obtained.profile)

        while not self.pipeline.between_batches(switch):  # a recalibration is under way
            self.phase.check()
            time.sleep(ERRAND_POLL_S)

    def _render_metrics(self) -> bytes:
        link = self.session.link()
        self.metrics.rate.set(link.up.p50 if link.up else float("nan"))
        self.metrics.rtt.set(link.rtt_s.p50 if link.rtt_s else float("nan"))
        self.metrics.queued.set(self.intake.queued())
        return self.metrics.render()


def calibrate(config: AgentConfig, engine: Engine, phase: Phase, *, fresh: bool) -> Obtained:
    """Return the latency profile; raises StoppedError when the agent is to stop, ModelError and CodecError."""
    return obtain_profile(
        engine,
        calibration_settings(config),
        state_dir=config.calibration.state_dir,
        fresh=fresh,
        progress=phase.calibrating,
    )


def calibrate_quietly(config: AgentConfig, engine: Engine) -> Obtained:
    """Return the latency profile of an engine that is not in use yet."""
    return obtain_profile(engine, calibration_settings(config), state_dir=config.calibration.state_dir)


def live_keys(old: PlannerSection, new: PlannerSection) -> tuple[str, ...]:
    """Return the keys that may change while the daemon runs: what was calibrated at the start is not among them."""
    calibrated = ("cuts", "codecs", "jpeg_qualities")
    same = all(getattr(old, key) == getattr(new, key) for key in calibrated)
    return ("planner", "log_level") if same else ("log_level",)
