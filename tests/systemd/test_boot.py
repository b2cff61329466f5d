"""The container really is a machine with systemd on it, apart from this one."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.systemd.container import Container

NOTIFYING_SERVICE = """\
[Service]
Type=notify
ExecStart=/bin/sh -c 'sleep 0.2; systemd-notify --ready --status=serving; exec sleep infinity'
NotifyAccess=all
DynamicUser=yes
ProtectSystem=strict
Restart=on-failure
RestartSec=100ms
"""


def test_a_notifying_service_starts_is_restarted_after_a_kill_and_stops(container: Container) -> None:
    (container.root / "etc/systemd/system/notifying.service").write_text(NOTIFYING_SERVICE)
    container.run("systemctl", "daemon-reload")
    container.run("systemctl", "start", "notifying")
    container.wait_for("notifying", 5, ActiveState="active", StatusText="serving")
    container.run("systemctl", "kill", "--signal=KILL", "notifying")
    container.wait_for("notifying", 10, ActiveState="active", NRestarts="1")
    container.run("systemctl", "stop", "notifying")
    container.wait_for("notifying", 5, ActiveState="inactive")


def test_what_the_container_writes_stays_in_it(container: Container) -> None:
    container.run("touch", "/etc/only-in-the-container")
    assert not Path("/etc/only-in-the-container").exists()


def test_the_container_has_no_network_but_its_loopback(container: Container) -> None:
    interfaces = {line.split(":")[0].strip() for line in container.run("cat", "/proc/net/dev").stdout.splitlines()[2:]}
    assert interfaces == {"lo"}
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        outside = listener.getsockname()[1]
        assert container.run("bash", "-c", f": < /dev/tcp/127.0.0.1/{outside}", check=False).returncode != 0
