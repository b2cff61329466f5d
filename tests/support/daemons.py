"""Real daemons for tests: `splitd server` and `splitd agent` as processes on loopback, with a small network."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from splitd.agent.client.client import Client
from splitd.agent.client.control import ControlClient
from splitd.agent.client.documents import LinkDocument
from splitd.errors import DaemonUnreachableError, RemoteError

ROOT = Path(__file__).parents[2]
MODEL = {"name": "tests.support.tiny:make", "weights": "random:1", "image_size": 64}
START_S = 60.0
SPLITD = (sys.executable, "-m", "splitd.agent.commands.cli")


def eventually(condition: Callable[[], Any], *, within_s: float = 20.0, what: str = "the condition") -> Any:
    """Return the condition's first true value; fail when it stays false."""
    end_s = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end_s, f"{what} did not come true within {within_s} s"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def with_executor(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration that says what runs: answers that are compared bit for bit must not change on the way."""
    executor = "onnxruntime" if "bundle" in config.get("model", {}) else "torch"
    return {**config, "device": {"executor": executor, **config.get("device", {})}}


class Daemon:
    """One daemon process with its configuration, log and control socket."""

    def __init__(self, home: Path, kind: str, config: dict[str, Any]) -> None:
        self.kind = kind
        self.path = home / f"{kind}.yaml"
        self.log = home / f"{kind}.log"
        self.config = config
        self.control = ControlClient(Path(config["control"]["socket"]))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *prefix: str) -> Daemon:
        self.path.write_text(yaml.safe_dump(with_executor(self.config)))
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        with self.log.open("ab") as log:
            command = [*prefix, *self.command()]
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env=environment, cwd=ROOT)
        return self

    def command(self) -> tuple[str, ...]:
        """Return the command line that starts it."""
        return (*SPLITD, self.kind, "--config", str(self.path))

    def state(self) -> str:
        assert self.process is None or self.process.poll() is None, f"{self.kind} ended:\n{self.log.read_text()}"
        try:
            return self.control.status().state
        except DaemonUnreachableError:
            return "unreachable"

    def wait(self, *states: str) -> None:
        eventually(lambda: self.state() in states, within_s=START_S, what=f"{self.kind} in {states}")

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()

    def stop(self) -> int:
        """End with SIGTERM; return the exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


class Pair:
    """An agent and its server."""

    def __init__(
        self,
        home: Path,
        *,
        agent: dict[str, Any] | None = None,
        server: dict[str, Any] | None = None,
        daemon: type[Daemon] = Daemon,
    ) -> None:
        port = free_port()
        small = {"batch_sizes": [1, 4], "repeats": 3, "state_dir": str(home)}
        self.server = daemon(
            home,
            "server",
            {
                "bind": f"tcp://127.0.0.1:{port}",
                "model": MODEL,
                "device": {"threads": 1},
                "calibration": small,
                "control": {"socket": str(home / "server.sock")},
                **(server or {}),
            },
        )
        self.agent = daemon(
            home,
            "agent",
            {
                "server": {"address": f"tcp://127.0.0.1:{port}"},
                "model": MODEL,
                "device": {"threads": 1, "throttle": 0.2},
                "calibration": small,
                "accuracy": {"samples": "generated", "min_agreement": 0.01},
                "intake": {"socket": str(home / "infer.sock"), "max_batch": 4},
                "control": {"socket": str(home / "agent.sock")},
                **(agent or {}),
            },
        )
        self.infer_socket = Path(self.agent.config["intake"]["socket"])

    def start(self) -> Pair:
        self.server.start()
        self.agent.start()
        self.server.wait("ready")
        self.agent.wait("ready")
        self.wait_link()
        return self

    def wait_link(self) -> None:
        """Wait until the uplink's rate is known, without which all work is local."""

        def rate() -> float | None:
            try:
                return self.agent.control.get(LinkDocument).up_bytes_per_s
            except RemoteError:  # it says that it is ready a moment before it can be asked
                return None

        eventually(rate, within_s=START_S, what="a known rate")

    def client(self) -> Client:
        return Client(self.infer_socket)

    def stop(self) -> None:
        for daemon in (self.agent, self.server):
            daemon.stop()
