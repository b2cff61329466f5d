"""A ready server: what may be asked of it and changed, and its orderly end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from splitd.agent.client import ChangeAnswer
from splitd.agent.configuration import ServerConfig, load_config, reloaded
from splitd.agent.runtime import Improver, Routes, calibration_settings
from splitd.agent.server import views
from splitd.agent.server.parts import ServerParts
from splitd.calibration.chain import Engine, Runner
from splitd.calibration.measure import Obtained, obtain_profile

DRAIN_S = 10.0  # what is queued when the server is told to stop gets this long


class RunningServer(ServerParts):
    """See splitd.agent.runtime.service.Running."""

    def stop(self) -> None:
        """Finish what is queued, then close."""
        self.phase.stop()
        self.queue.drain(DRAIN_S)
        self.opened.close()

    def reload(self) -> str:
        """Read the file and the allow list again; they and the log level change now, the rest at a restart."""
        fresh = load_config(self.path, ServerConfig)
        if self.allow is not None:
            self.allow.reload()
        message, self.config = reloaded(self.config, fresh, live=("log_level",))
        return message if self.allow is None else f"{message}; {len(self.allow)} devices may connect"

    def alive(self) -> bool:
        """Tell whether the worker gets on."""
        return self.worker.alive()

    def announce(self) -> None:
        """Say that the server is ready."""
        self.phase.set("ready", f"listening on {self.config.bind}, profile {self.profile_source}")

    def summary(self) -> str:
        """Return the state in one line."""
        return self.phase.text

    def routes(self) -> Routes:
        """Return what the control socket serves."""
        return Routes(
            daemon="server",
            views={"status": lambda _query: views.status(self)},
            changes={"reload": self._reload},
            metrics=self.metrics.render,
        )

    def improve(self) -> Improver:
        """Begin to try the executors that were not at hand at the start, while requests are served."""
        improver = Improver(
            self.selection,
            self.path,
            measure=self._measure,
            switch=self._switch,
            activity=lambda: sum(self.ledger.totals()) + len(self.queue),
        )
        improver.start()
        return improver

    def _measure(self, engine: Engine) -> Obtained:
        state_dir = self.config.calibration.state_dir
        return obtain_profile(engine, calibration_settings(self.config), state_dir=state_dir)

    def _switch(self, runner: Runner, obtained: Obtained) -> None:
        def switch() -> None:
            self.engine.runner = runner
            self.times.replace_profile(obtained.profile)

        self.worker.between_requests(switch)

    def _reload(self, _body: Mapping[str, Any]) -> ChangeAnswer:
        return ChangeAnswer(message=self.reload())
