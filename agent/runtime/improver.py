"""While the daemon serves: makes, proves and times the executors that were not at hand at its start, then switches.

Making segments takes seconds to minutes of Python and compilers, so a process of its own does it (`splitd executors
--make`), at the lowest priority: it holds no lock of the interpreter that requests run in, and ends when it is told to.
Trials run here, also at the lowest priority, and wait until no request has come for a while.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from splitd.calibration.chain import Engine, Runner
from splitd.calibration.executors import Executor
from splitd.calibration.measure import Obtained, Selection
from splitd.errors import SplitdError

log = logging.getLogger(__name__)

LOWEST_PRIORITY = 19
POLL_S = 0.2
QUIET_S = 1.0  # without a request, before something is timed
PATIENCE_S = 60.0  # a daemon that is never quiet has its trials all the same; they are slow then, all alike
JOIN_S = 5.0  # a trial under way when the daemon stops gets this long
MAKE = (sys.executable, "-m", "splitd.agent.commands.cli", "executors", "--make", "--config")

Measure = Callable[[Engine], Obtained]
Switch = Callable[[Runner, Obtained], None]


class Improver:
    """One thread, started when the daemon is ready; it ends when there is nothing left to try."""

    def __init__(
        self, selection: Selection, config_file: Path, *, measure: Measure, switch: Switch, activity: Callable[[], int]
    ) -> None:
        """Prepare it.

        Args:
            selection: The executors.
            config_file: What the process that makes segments reads.
            measure: Returns the latency profile of an engine.
            switch: Puts a runner with its profile in place between two batches; raises StoppedError if that is late.
            activity: A number that changes whenever a request comes or is answered.
        """
        self._selection = selection
        self._config_file = config_file
        self._measure = measure
        self._switch = switch
        self._activity = activity
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="improver", daemon=True)

    def start(self) -> None:
        """Begin, if there is anything to try."""
        if self._selection.pending():
            self._thread.start()

    def stop(self) -> None:
        """End soon; what is being made is made at the next start."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)

    def _loop(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
        try:
            self._improve()
        except SplitdError as error:
            log.warning("the executors are tried again at the next start: %s: %s", error.code, error)
        except Exception:
            log.exception("the executors are tried again at the next start")

    def _improve(self) -> None:
        selection = self._selection
        if selection.unmade():
            self._make()
        for executor in selection.pending():
            if not self._quiet():
                return
            selection.attempt(executor)
        running = selection.engine.runner.name
        if selection.chosen == running or not self._quiet():
            return
        runner = selection.best()
        obtained = self._measure(selection.engine_on(runner))
        if not self._stopping.is_set():
            self._switch(runner, obtained)
            log.info("%s runs the network from now on, %s before", runner.name, running)

    def _make(self) -> None:
        """Run the process that makes segments; what it could not make is given up until the next start."""
        names = [executor.name for executor, _ in self._selection.unmade()]
        log.info("making segments for %s", ", ".join(names))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [*MAKE, str(self._config_file)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:  # noqa: S603  # our own
            while process.poll() is None:
                if self._stopping.wait(POLL_S):
                    process.terminate()
        if not self._stopping.is_set():
            for executor, _ in self._selection.unmade():
                self._give_up(executor)

    def _give_up(self, executor: Executor) -> None:
        self._selection.give_up(executor, f"its segments could not be made: {' '.join(MAKE[3:])} {self._config_file}")

    def _quiet(self) -> bool:
        """Wait until nothing has happened for a while; False if the daemon is to stop."""
        patient_until_s = time.monotonic() + PATIENCE_S
        seen, since_s = self._activity(), time.monotonic()
        while not self._stopping.wait(POLL_S):
            now_s = time.monotonic()
            if self._activity() != seen:
                seen, since_s = self._activity(), now_s
            if now_s - since_s >= QUIET_S or now_s >= patient_until_s:
                return True
        return False
