"""Who may look and who may change, by the peer credentials of real users; needs root to become them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import Daemon, Pair

REQUEST = """
import json, socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); method, name = sys.argv[2:4]
head = [f"{method} /v1/{name} HTTP/1.1", "Host: x", "Content-Length: 2", "Connection: close", "", "{}"]
s.sendall("\\r\\n".join(head).encode())
data = b"".join(iter(lambda: s.recv(65536), b""))
print(data.split(b"\\r\\n\\r\\n", 1)[1].decode())
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A server whose operator is `daemon`, with a socket that everybody may open."""
    home = tmp_path_factory.mktemp("users")
    pair = Pair(home)
    for folder in (home, *home.parents):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    started = pair.server
    started.config["control"]["operators"] = ["daemon"]
    try:
        started.start().wait("ready")
        Path(started.config["control"]["socket"]).chmod(0o666)
        yield started
    finally:
        started.stop()


def ask(server: Daemon, user: str, method: str, name: str) -> dict[str, Any]:
    command = [sys.executable, "-S", "-c", REQUEST, str(server.config["control"]["socket"]), method, name]
    result = subprocess.run(
        ["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups", *command],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_a_reader_may_look(server: Daemon) -> None:
    assert ask(server, "nobody", "GET", "status")["state"] == "ready"


def test_a_reader_who_tries_to_change_something_is_refused_by_name(server: Daemon) -> None:
    error = ask(server, "nobody", "POST", "reload")["error"]
    assert error["code"] == "forbidden"
    assert "user nobody may look but not change" in error["message"]


def test_a_configured_operator_may_change_things(server: Daemon) -> None:
    assert "nothing has changed" in ask(server, "daemon", "POST", "reload")["message"]


def test_a_socket_of_a_daemon_is_closed_to_strangers(server: Daemon) -> None:
    path = Path(server.config["control"]["socket"])
    path.chmod(0o660)
    try:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            ask(server, "nobody", "GET", "status")
        assert "PermissionError" in caught.value.stderr
    finally:
        path.chmod(0o666)


def test_garbage_on_the_socket_does_not_disturb_others(server: Daemon) -> None:
    with socket.socket(socket.AF_UNIX) as rude:
        rude.connect(str(server.config["control"]["socket"]))
        rude.sendall(b"\x00\xff" * 5000)
        assert ask(server, "nobody", "GET", "status")["state"] == "ready"
