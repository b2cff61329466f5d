"""The two services at work under a real systemd, installed and started as the manual says."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.systemd.conftest import MEMBER, STRANGER
from tests.systemd.container import Container

SERVICES = ("splitd-server", "splitd-agent")
READY_DEADLINE_S = 90.0
ESTIMATE_DEADLINE_S = 30.0
EXIT_UNREACHABLE, EXIT_DEGRADED = 3, 4

INFERENCE = """
import json
import numpy as np
from splitd import Client

image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
with Client() as client:
    result = client.infer([image, image], deadline_s=30)
print(json.dumps({"source": result.source, "split": result.split, "shape": result.outputs[0].shape}))
"""


def infer(container: Container, user: str = MEMBER) -> dict[str, Any]:
    """Two images through the agent's socket."""
    answer = container.run("/opt/splitd/bin/python", "-W", "error", "-c", INFERENCE, user=user)
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


def main_pid(container: Container, unit: str) -> str:
    return container.property(unit, "MainPID")


@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_is_active_and_says_how_it_is(running: Container, unit: str) -> None:
    running.wait_for(unit, 5, ActiveState="active", SubState="running", NRestarts="0", User="splitd")
    assert running.property(unit, "StatusText")


@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_was_ready_only_after_it_had_measured(running: Container, unit: str) -> None:
    role = {"splitd-agent": "device", "splitd-server": "server"}[unit]
    when = running.run("find", "/var/lib/splitd", "-name", f"profile-{role}-*", "-printf", "%T@\\n").stdout
    entered = running.property(unit, "ActiveEnterTimestamp")
    active_s = int(running.run("date", "--date", entered, "+%s").stdout)
    assert 0 < float(when.split()[0]) < active_s + 1  # systemd shows whole seconds


def test_a_member_of_the_group_sees_the_status(running: Container) -> None:
    document = json.loads(running.run("splitctl", "status", "--json", user=MEMBER).stdout)
    assert document["schema_version"] == 1
    assert document["state"] == "ready"


def test_a_stranger_sees_nothing(running: Container) -> None:
    done = running.run("splitctl", "status", user=STRANGER, check=False)
    assert done.returncode == EXIT_UNREACHABLE
    assert "permission denied" in done.stderr
    assert running.run("/opt/splitd/bin/python", "-c", INFERENCE, user=STRANGER, check=False).returncode != 0


def test_a_member_may_look_but_not_change(running: Container) -> None:
    refused = running.run("splitctl", "pin", "output", user=MEMBER, check=False)
    assert refused.returncode == 1
    assert "operator" in refused.stderr
    running.run("splitctl", "pin", "output")
    running.run("splitctl", "unpin")


def test_inference_goes_through_the_socket(running: Container) -> None:
    assert infer(running)["shape"] == [2, 1000]


def test_inference_reaches_the_server_over_the_encrypted_link(running: Container) -> None:
    running.run("splitctl", "pin", "input")
    try:
        end = time.monotonic() + ESTIMATE_DEADLINE_S
        while (answer := infer(running))["source"] != "server" and time.monotonic() < end:
            pass  # until the first probe has told the rate of the link, everything stays on the device
        assert answer == {"source": "server", "split": "input", "shape": [2, 1000]}
    finally:
        running.run("splitctl", "unpin")


@pytest.mark.parametrize("unit", SERVICES)
def test_a_reload_keeps_the_process_and_a_broken_configuration_the_old_one(running: Container, unit: str) -> None:
    pid = main_pid(running, unit)
    running.run("systemctl", "reload", unit)
    file = running.root / f"etc/splitd/{unit.removeprefix('splitd-')}.yaml"
    good = file.read_text()
    file.write_text(good + "hysterese: 1\n")
    running.run("systemctl", "reload", unit, check=False)
    file.write_text(good)
    running.wait_for(unit, 10, ActiveState="active", MainPID=pid)
    assert "hysterese" in running.journal(unit)
    assert infer(running)["shape"] == [2, 1000]


@pytest.mark.parametrize("unit", SERVICES)
def test_a_killed_service_comes_back_and_serves(running: Container, unit: str) -> None:
    pid = main_pid(running, unit)
    running.run("systemctl", "kill", "--signal=KILL", unit)
    running.wait_for(unit, READY_DEADLINE_S, ActiveState="active", NRestarts="1")
    assert main_pid(running, unit) not in {pid, "0"}
    running.run("splitctl", "wait", "--server", "--timeout", "30", user=MEMBER)
    assert infer(running)["shape"] == [2, 1000]


def test_both_stop_cleanly_and_the_agent_answers_as_long_as_it_runs(running: Container) -> None:
    stop(running, "splitd-server", "server.sock")
    assert infer(running)["source"] in {"local", "finished-locally"}
    assert running.run("splitctl", "status", user=MEMBER, check=False).returncode == EXIT_DEGRADED
    stop(running, "splitd-agent", "control.sock")
    assert running.run("splitctl", "status", user=MEMBER, check=False).returncode == EXIT_UNREACHABLE


def stop(container: Container, unit: str, socket: str) -> None:
    """Stop a service; it must end by itself, without an error, and take its socket away."""
    assert container.run("test", "-S", f"/run/splitd/{socket}").returncode == 0
    container.run("systemctl", "stop", unit)
    container.wait_for(unit, 5, ActiveState="inactive", Result="success", ExecMainStatus="0", ExecMainCode="1")
    assert container.run("test", "-e", f"/run/splitd/{socket}", check=False).returncode == 1
