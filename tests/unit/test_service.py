"""A daemon's life: what the control socket serves before and after the start, and how a start ends half-way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from splitd.agent.client.control import ControlClient
from splitd.agent.client.documents import (
    AgentStatus,
    ChangeAnswer,
    DeviceView,
    HistoryDocument,
    LoadView,
    ModelView,
    ServerStatus,
    Splits,
)
from splitd.agent.configuration import ControlConfig
from splitd.agent.runtime import Phase, Routes, starting_routes
from splitd.agent.runtime.service import Orders, serve
from splitd.errors import (
    ConfigError,
    DaemonUnreachableError,
    ModelError,
    PeerError,
    RemoteError,
    SplitdError,
    UsageError,
)
from tests.support.daemons import eventually


def status(phase: Phase) -> ServerStatus:
    return ServerStatus(
        version="1",
        pid=os.getpid(),
        state=phase.state,
        state_text=phase.text,
        uptime_s=phase.uptime_s,
        model=ModelView(name="a", weights="b", image_size=None, digest=""),
        device=DeviceView(name="cpu", threads=1, throttle=None),
        bind="tcp://127.0.0.1:1",
        load=LoadView(clients=0, queued=0, queue_s=0.0, load=0.0, requests=0, failed=0),
        counters={},
    )


class Slow:
    """A daemon whose start waits for a word: to be ready, to fail, or to be told to stop."""

    def __init__(self) -> None:
        self.phase = Phase()
        self.go = threading.Event()
        self.failure: ModelError | None = None
        self.events: list[str] = []

    def start(self) -> Ready:
        with contextlib.ExitStack() as opened:
            opened.callback(self.events.append, "closed")
            while not self.go.wait(0.01):
                self.phase.calibrating(0.5, "heads")
            if self.failure is not None:
                raise self.failure
            return Ready(self, opened.pop_all())

    def routes(self) -> Routes:
        shown = {"status": lambda _query: status(self.phase)}
        return starting_routes("server", self.phase, shown, lambda: b"starting 1\n")


class Ready:
    """What it starts into."""

    def __init__(self, daemon: Slow, opened: contextlib.ExitStack) -> None:
        self._daemon, self._opened = daemon, opened

    def stop(self) -> None:
        self._daemon.phase.stop()
        self._opened.close()

    def reload(self) -> str:
        self._daemon.events.append("reloaded")
        return "read again"

    def alive(self) -> bool:
        return True

    def announce(self) -> None:
        self._daemon.phase.set("ready", "profile measured")
        self._daemon.events.append("announced")

    def summary(self) -> str:
        return self._daemon.phase.text

    def routes(self) -> Routes:
        self._daemon.events.append("served")
        return Routes(
            daemon="server",
            views={"status": lambda _query: status(self._daemon.phase)},
            changes={"reload": lambda _body: ChangeAnswer(message=self.reload())},
            metrics=lambda: b"running 1\n",
        )


class Service:
    """Runs the daemon as `service.run` does, in a thread of the test."""

    def __init__(self, daemon: Slow, socket: Path) -> None:
        self.daemon = daemon
        self.client = ControlClient(socket)
        self.error: BaseException | None = None
        self._config = ControlConfig(socket=socket)
        self._made: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, Orders]] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()
        self._loop, self._orders = self._made.get(timeout=20)

    def _serve(self) -> None:
        async def main() -> None:
            orders = Orders()
            self._made.put((asyncio.get_running_loop(), orders))
            await serve(self.daemon, self._config, orders)

        try:
            asyncio.run(main())
        except SplitdError as error:
            self.error = error

    def reload(self) -> None:
        self._loop.call_soon_threadsafe(self._orders.reload.set)

    def state(self) -> str:
        with contextlib.suppress(DaemonUnreachableError):
            return self.client.status().state
        return "unreachable"

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):  # its loop has ended by itself
            self._loop.call_soon_threadsafe(self._orders.stop.set)
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(Slow(), tmp_path / "control.sock")
    try:
        eventually(lambda: made.state() == "calibrating", what="the start")
        yield made
    finally:
        made.stop()


def test_status_schema_and_metrics_are_there_from_the_first_moment(service: Service) -> None:
    assert service.client.status().state_text == "calibrating, 50%: heads"
    assert service.client.metrics() == "starting 1\n"
    assert "GET /v1/status" in json.loads(service.client._request("GET", "schema"))["routes"]


def test_what_needs_a_running_daemon_says_that_it_is_not_ready(service: Service) -> None:
    with pytest.raises(RemoteError, match="the server is not ready yet: calibrating, 50%: heads") as caught:
        service.client.post("reload")
    assert caught.value.code == "overload"


def test_the_routes_change_when_the_start_has_returned(service: Service) -> None:
    service.daemon.go.set()
    eventually(lambda: service.client.metrics() == "running 1\n", what="the running routes")
    assert service.client.post("reload").message == "read again"
    assert service.client.status().state == "ready"


def test_what_is_no_route_of_this_daemon_does_not_exist(service: Service) -> None:
    for ask in (
        lambda: service.client.get(Splits),
        lambda: service.client.get(HistoryDocument),
        lambda: service.client.post("pin", cut="input"),
    ):
        with pytest.raises(RemoteError, match="404"):
            ask()


def test_a_view_is_not_changed_and_a_change_not_looked_at(service: Service) -> None:
    service.daemon.go.set()
    eventually(lambda: service.state() == "ready", what="the running daemon")
    with pytest.raises(RemoteError, match="405"):
        service.client.post("status")
    with pytest.raises(RemoteError, match="405"):
        service.client._request("GET", "reload")


def test_another_daemons_document_is_not_taken_for_ones_own(service: Service) -> None:
    with pytest.raises(PeerError, match="is it of another kind or version"):
        service.client.get(AgentStatus)


def test_a_start_that_is_told_to_stop_closes_what_it_had_opened(service: Service) -> None:
    service.stop()
    assert service.error is None
    assert service.daemon.events == ["closed"]
    assert service.state() == "unreachable"


def test_a_start_that_fails_closes_what_it_had_opened_and_tells_why(service: Service) -> None:
    service.daemon.failure = ModelError("no such model")
    service.daemon.go.set()
    service.thread.join(20)
    assert isinstance(service.error, ModelError)
    assert service.daemon.events == ["closed"]
    assert service.state() == "unreachable"


def test_a_running_daemon_is_stopped_once(service: Service) -> None:
    service.daemon.go.set()
    eventually(lambda: service.state() == "ready", what="the running daemon")
    service.stop()
    assert service.error is None
    assert service.daemon.events == ["served", "announced", "closed"]


def test_an_order_to_reload_waits_until_the_daemon_is_ready(service: Service) -> None:
    service.reload()
    assert service.state() == "calibrating"
    assert service.daemon.events == []
    service.daemon.go.set()
    eventually(lambda: service.daemon.events == ["served", "announced", "reloaded"], what="the reload")


def test_a_socket_that_is_taken_is_noticed_before_the_start(service: Service, tmp_path: Path) -> None:
    second = Service(Slow(), tmp_path / "control.sock")
    second.stop()
    assert isinstance(second.error, ConfigError)
    assert second.daemon.events == []
    assert service.state() == "calibrating"


def test_routes_that_nobody_has_described_are_not_served() -> None:
    with pytest.raises(UsageError, match="'tea'"):
        Routes("server", {"status": lambda _query: status(Phase()), "tea": lambda _query: status(Phase())}, {}, bytes)
