"""What both daemons share: control socket, signals, the service manager's notifications, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from typing import Protocol

from splitd.agent.configuration import ControlConfig
from splitd.agent.runtime.control import Control, Routes
from splitd.agent.runtime.notify import notify, notify_reloading, watchdog_interval_s
from splitd.errors import SplitdError

log = logging.getLogger(__name__)

STATUS_INTERVAL_S = 1.0
# Arrival times are measured in a Python thread: the default of 5 ms between thread switches would blur them.
SWITCH_INTERVAL_S = 5e-4


class StoppedError(SplitdError):
    """Raised inside `Daemon.start` when the daemon is told to stop before it was ready."""

    code = "stopped"


class Daemon(Protocol):
    """A daemon's work. `start` and `stop` run in a thread and may block; the others return at once."""

    def start(self) -> None:
        """Load, calibrate, begin to serve; return when ready. Raises SplitdError."""

    def stop(self) -> None:
        """Finish what is in flight, then end. Called from another thread, also while `start` runs."""

    def reload(self) -> str:
        """Read the configuration again and return what was done; raises ConfigError and keeps the old one."""

    def alive(self) -> bool:
        """Tell whether work gets on; the watchdog is not fed while it does not."""

    def summary(self) -> str:
        """Return the state in one line."""

    def routes(self) -> Routes:
        """Return what the control socket serves."""


def run(daemon: Daemon, control: ControlConfig) -> None:
    """Run a daemon in the foreground until SIGTERM or SIGINT.

    Raises:
        SplitdError: It could not start.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    asyncio.run(_run(daemon, control))


async def _run(daemon: Daemon, config: ControlConfig) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    control = Control(config, daemon.routes())
    await control.start()
    helpers = [asyncio.create_task(_tell_status(daemon)), asyncio.create_task(_feed_watchdog(daemon))]
    try:
        await _serve(daemon, stopping)
    finally:
        for task in helpers:
            task.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        await control.close()


async def _serve(daemon: Daemon, stopping: asyncio.Event) -> None:
    starting = asyncio.create_task(asyncio.to_thread(daemon.start))
    told = asyncio.create_task(stopping.wait())
    await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if not told.done():
            starting.result()
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, daemon)
            notify("READY=1")
            log.info("ready: %s", daemon.summary())
            await told
        log.info("stopping")
    finally:
        told.cancel()
        notify("STOPPING=1")
        await asyncio.to_thread(daemon.stop)
        with contextlib.suppress(StoppedError):
            await starting


def _reload(daemon: Daemon) -> None:
    notify_reloading()
    try:
        log.info("%s", daemon.reload())
    except SplitdError as error:
        log.warning("the configuration is not changed: %s", error)
    notify("READY=1")


async def _tell_status(daemon: Daemon) -> None:
    last = ""
    while True:
        text = daemon.summary()
        if text != last:
            notify(f"STATUS={text}")
            last = text
        await asyncio.sleep(STATUS_INTERVAL_S)


async def _feed_watchdog(daemon: Daemon) -> None:
    interval_s = watchdog_interval_s()
    while interval_s is not None:
        if daemon.alive():
            notify("WATCHDOG=1")
        else:
            log.error("the work loop hangs; the watchdog is not fed")
        await asyncio.sleep(interval_s)
