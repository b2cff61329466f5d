"""A daemon's life in the foreground: control socket, signals, the service manager's notifications, an orderly end.

Daemon ──start()──▶ Running ──stop()──▶ end        start fails or is told to stop: it has closed what it had opened
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from splitd.agent.configuration import ControlConfig
from splitd.agent.runtime.control import Control, Routes
from splitd.agent.runtime.notify import notify, notify_reloading, watchdog_interval_s
from splitd.agent.runtime.phase import Phase, StoppedError
from splitd.errors import SplitdError

log = logging.getLogger(__name__)

STATUS_INTERVAL_S = 1.0
# Arrival times are measured in a Python thread: the default of 5 ms between thread switches would blur them.
SWITCH_INTERVAL_S = 5e-4


class Running(Protocol):
    """A daemon that is ready. `stop` runs in a thread and may block; the others return at once."""

    def stop(self) -> None:
        """Finish what is in flight, then close everything. Called once."""

    def reload(self) -> str:
        """Read the configuration again and return what was done; raises ConfigError and keeps the old one."""

    def alive(self) -> bool:
        """Tell whether work gets on; the watchdog is not fed while it does not."""

    def summary(self) -> str:
        """Return the state in one line."""

    def routes(self) -> Routes:
        """Return what the control socket serves from now on."""


class Daemon(Protocol):
    """A daemon that is not ready yet."""

    @property
    def phase(self) -> Phase:
        """Where it stands; `phase.stop()` tells `start` to end."""

    def start(self) -> Running:
        """Load, calibrate, begin to serve; called once, in a thread, and may block for minutes.

        Raises:
            StoppedError: It was told to stop; what it had opened is closed again.
            SplitdError: It cannot start; likewise.
        """

    def routes(self) -> Routes:
        """Return what the control socket serves until `start` has returned."""


def run(daemon: Daemon, control: ControlConfig) -> None:
    """Run a daemon in the foreground until SIGTERM or SIGINT.

    Raises:
        SplitdError: It could not start.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    asyncio.run(_run(daemon, control))


async def _run(daemon: Daemon, config: ControlConfig) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    control = Control(config, daemon.routes())
    await control.start()
    try:
        async with _attended(lambda: daemon.phase.text, lambda: True):
            running = await _started(daemon, stopping)
        if running is not None:
            control.serve(running.routes())
            async with _attended(running.summary, running.alive):
                await _serve(running, stopping)
    finally:
        await control.close()


async def _started(daemon: Daemon, stopping: asyncio.Event) -> Running | None:
    """Return the running daemon; None if it was told to stop before that."""
    starting = asyncio.create_task(asyncio.to_thread(daemon.start))
    told = asyncio.create_task(stopping.wait())
    await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
    if told.done():
        log.info("stopping")
        notify("STOPPING=1")
        daemon.phase.stop()
    told.cancel()
    try:
        return await starting  # ready at the very moment when it was told to stop: it is stopped as any running one
    except StoppedError:
        return None


async def _serve(running: Running, stopping: asyncio.Event) -> None:
    """Let a daemon work until it is told to stop, then stop it."""
    try:
        if not stopping.is_set():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, running)
            notify("READY=1")
            log.info("ready: %s", running.summary())
            await stopping.wait()
            log.info("stopping")
            notify("STOPPING=1")
    finally:
        await asyncio.to_thread(running.stop)


def _reload(running: Running) -> None:
    notify_reloading()
    try:
        log.info("%s", running.reload())
    except SplitdError as error:
        log.warning("the configuration is not changed: %s", error)
    notify("READY=1")


@contextlib.asynccontextmanager
async def _attended(summary: Callable[[], str], alive: Callable[[], bool]) -> AsyncIterator[None]:
    """Tell the service manager the status, and that the daemon is alive, for as long as the block runs."""
    helpers = [asyncio.create_task(_tell_status(summary)), asyncio.create_task(_feed_watchdog(alive))]
    try:
        yield
    finally:
        for task in helpers:
            task.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)


async def _tell_status(summary: Callable[[], str]) -> None:
    last = ""
    while True:
        text = summary()
        if text != last:
            notify(f"STATUS={text}")
            last = text
        await asyncio.sleep(STATUS_INTERVAL_S)


async def _feed_watchdog(alive: Callable[[], bool]) -> None:
    interval_s = watchdog_interval_s()
    while interval_s is not None:
        if alive():
            notify("WATCHDOG=1")
        else:
            log.error("the work loop hangs; the watchdog is not fed")
        await asyncio.sleep(interval_s)
