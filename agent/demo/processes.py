"""The demo's three processes: edge server, shaped link, agent; started, watched and stopped."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from splitd.agent.client import ControlClient
from splitd.agent.configuration import DEFAULT_CODECS
from splitd.agent.simulation import Trace
from splitd.calibration.images import Preprocessing, Samples, generated_samples
from splitd.errors import DaemonUnreachableError, DeadlineError, LinkError

START_TIMEOUT_S = 300.0  # torch import, export and calibration of a large model on a slow machine
STOP_TIMEOUT_S = 15.0
POLL_S = 0.1
LOG_LINES_SHOWN = 12
EXECUTOR = "torch"  # the two ways that are compared must not change while they are, and nothing else may take time


@dataclass(frozen=True)
class DemoSettings:
    """What the demo runs.

    A model, the emulated device's share of speed, the JPEG qualities that full offloading may use beside the uint8
    image, the codecs for the tensors at the cuts, and the link's one-way delay in seconds.
    """

    model: str = "efficientnet_b0"
    throttle: float = 0.17
    jpeg_qualities: tuple[int, ...] = ()
    codecs: tuple[str, ...] = DEFAULT_CODECS
    delay_s: float = 0.002


class Processes:
    """Context manager: both daemons and the relay run inside it; all are stopped and cleaned up at its end."""

    def __init__(self, settings: DemoSettings) -> None:
        self._settings = settings
        self._folder = tempfile.TemporaryDirectory(prefix="splitd-demo-")
        self._home = Path(self._folder.name)
        self._children: dict[str, subprocess.Popen[str]] = {}
        self.infer_socket = self._home / "infer.sock"
        self.agent = ControlClient(self._home / "agent.sock")
        self.server = ControlClient(self._home / "server.sock")

    def __enter__(self) -> Processes:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def follow(self, trace: Trace) -> None:
        """Let the link follow a trace from its beginning, from now on."""
        row = {
            "times_s": trace.times_s,
            "rates_bytes_per_s": trace.rates_bytes_per_s,
            "duration_s": trace.duration_s,
        }
        pipe = self._children["relay"].stdin
        if pipe is None or self._children["relay"].poll() is not None:
            raise LinkError("the demo's relay has stopped")
        pipe.write(json.dumps(row) + "\n")
        pipe.flush()

    def wait_ready(self, on_status: Any = None) -> None:
        """Wait until the agent is calibrated and connected to the server.

        Raises:
            LinkError: A process ended early; the message has the end of its log.
            DeadlineError: It takes too long.
        """
        end_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end_s:
            self._check_alive()
            agent, server = self._state(self.agent), self._state(self.server)
            if on_status is not None:
                on_status(f"server {server[1]}; agent {agent[1]}")
            if agent[0] == "ready":
                return
            time.sleep(POLL_S)
        raise DeadlineError(f"the daemons are not ready after {START_TIMEOUT_S:.0f} s; {self._tail('agent')}")

    def frames(self, count: int) -> Samples:
        """Return inputs for the network: images, or prepared tensors where it takes none; after `wait_ready`."""
        model = self.agent.status().model
        if model.input is None:
            raise LinkError("the demo's agent has no network yet")
        known = None if model.preprocessing is None else Preprocessing(**model.preprocessing.model_dump())
        return generated_samples(count, model.input, known)

    def _start(self) -> None:
        server_port = _free_port()
        self._spawn(
            "server",
            "-m",
            "splitd.agent.commands.cli",
            "server",
            "--config",
            self._write("server", self._server(server_port)),
        )
        self._spawn("relay", "-m", "splitd.agent.demo.relay", "0", str(server_port), str(self._settings.delay_s))
        pipe = self._children["relay"].stdout
        relay_port = int(pipe.readline()) if pipe is not None else 0
        self._spawn(
            "agent",
            "-m",
            "splitd.agent.commands.cli",
            "agent",
            "--config",
            self._write("agent", self._agent(relay_port)),
        )

    def _server(self, port: int) -> dict[str, Any]:
        return {
            "bind": f"tcp://127.0.0.1:{port}",
            "model": {"name": self._settings.model},
            "device": {"threads": 1, "executor": EXECUTOR},
            "calibration": {"batch_sizes": [1], "state_dir": str(self._home)},
            "codecs": list(self._settings.codecs),
            "jpeg_qualities": list(self._settings.jpeg_qualities),
            "control": {"socket": str(self._home / "server.sock")},
        }

    def _agent(self, port: int) -> dict[str, Any]:
        return {
            "server": {"address": f"tcp://127.0.0.1:{port}"},
            "model": {"name": self._settings.model},
            "device": {"threads": 1, "executor": EXECUTOR, "throttle": self._settings.throttle},
            "calibration": {"batch_sizes": [1], "state_dir": str(self._home)},
            "accuracy": {"samples": "generated"},
            "planner": {
                "codecs": list(self._settings.codecs),
                "jpeg_qualities": list(self._settings.jpeg_qualities),
            },
            "intake": {"socket": str(self.infer_socket), "max_batch": 1, "max_wait_ms": 0, "deadline_ms": 20_000},
            "control": {"socket": str(self._home / "agent.sock")},
        }

    def _write(self, name: str, config: dict[str, Any]) -> str:
        path = self._home / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config))
        return str(path)

    def _spawn(self, name: str, *arguments: str) -> None:
        with (self._home / f"{name}.log").open("w") as log:
            self._children[name] = subprocess.Popen(  # noqa: S603  (our own modules)
                [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def _check_alive(self) -> None:
        for name, child in self._children.items():
            if child.poll() is not None:
                raise LinkError(f"the demo's {name} ended with status {child.returncode}; {self._tail(name)}")

    def _tail(self, name: str) -> str:
        lines = (self._home / f"{name}.log").read_text(errors="replace").splitlines()
        return f"the end of its log:\n{chr(10).join(lines[-LOG_LINES_SHOWN:])}"

    def _state(self, client: ControlClient) -> tuple[str, str]:
        try:
            status = client.status()
        except DaemonUnreachableError:
            return "starting", "starting"
        return status.state, status.state_text

    def _stop(self) -> None:
        for child in reversed(self._children.values()):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for child in self._children.values():
            try:
                child.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()
        self._folder.cleanup()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
