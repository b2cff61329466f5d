"""A daemon's life in the foreground: control socket, signals, the service manager's notifications, an orderly end.

Daemon ──start()──▶ Running ──stop()──▶ end        start fails or is told to stop: it has closed what it had opened
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
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

    def announce(self) -> None:
        """Say in the phase that it is ready; called once, when its routes are served."""

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


class Orders:
    """What a daemon is told from outside; made inside the running event loop. A reload waits until it is ready."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.reload = asyncio.Event()

    def follow_signals(self) -> None:
        """Take SIGTERM and SIGINT as an order to stop, SIGHUP as one to reload."""
        loop = asyncio.get_running_loop()
        for number, order in ((signal.SIGTERM, self.stop), (signal.SIGINT, self.stop), (signal.SIGHUP, self.reload)):
            loop.add_signal_handler(number, order.set)


def run(daemon: Daemon, control: ControlConfig) -> None:
    """Run a daemon in the foreground until SIGTERM or SIGINT.

    Raises:
        SplitdError: It could not start.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    asyncio.run(_run(daemon, control))


async def _run(daemon: Daemon, config: ControlConfig) -> None:
    orders = Orders()
    orders.follow_signals()
    await serve(daemon, config, orders)


async def serve(daemon: Daemon, config: ControlConfig, orders: Orders) -> None:
    """Serve the control socket, start the daemon, and stop it when that is ordered; raises what its start raises."""
    control = Control(config, daemon.routes())
    await control.start()
    try:
        async with _helped(_tell_status(lambda: daemon.phase.text), _feed_watchdog(lambda: True)):
            running = await _started(daemon, orders)
        if running is not None:
            control.serve(running.routes())
            running.announce()  # not before: whoever reads "ready" may ask for everything
            helpers = _tell_status(running.summary), _feed_watchdog(running.alive), _reload(running, orders)
            async with _helped(*helpers):
                await _work(running, orders)
    finally:
        await control.close()


async def _started(daemon: Daemon, orders: Orders) -> Running | None:
    """Return the running daemon; None if it was told to stop before that."""
    starting = asyncio.create_task(asyncio.to_thread(daemon.start))
    told = asyncio.create_task(orders.stop.wait())
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


async def _work(running: Running, orders: Orders) -> None:
    """Let a daemon work until it is told to stop, then stop it."""
    try:
        if not orders.stop.is_set():
            notify("READY=1")
            log.info("ready: %s", running.summary())
            await orders.stop.wait()
            log.info("stopping")
            notify("STOPPING=1")
    finally:
        await asyncio.to_thread(running.stop)


async def _reload(running: Running, orders: Orders) -> None:
    while True:
        await orders.reload.wait()
        orders.reload.clear()
        notify_reloading()
        try:
            log.info("%s", running.reload())
        except SplitdError as error:
            log.warning("the configuration is not changed: %s", error)
        except Exception:
            log.exception("the configuration is not changed")  # a bug, which must not cost the next reload
        notify("READY=1")


@contextlib.asynccontextmanager
async def _helped(*helpers: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run what helps a daemon along for as long as the block runs."""
    tasks = [asyncio.create_task(helper) for helper in helpers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
