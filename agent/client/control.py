"""A client of the control socket: HTTP over AF_UNIX with the standard library, so that `splitctl` starts quickly."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from splitd.agent.client.sockets import check_reachable
from splitd.errors import DaemonUnreachableError, RemoteError

DEFAULT_SOCKET = Path("/run/splitd/control.sock")
TIMEOUT_S = 10.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class ControlClient:
    """Asks one daemon."""

    def __init__(self, path: Path = DEFAULT_SOCKET) -> None:
        self._path = path

    def get(self, name: str, **query: object) -> dict[str, Any]:
        """Return a view's document.

        Raises:
            DaemonUnreachableError: Nobody answers on the socket.
            RemoteError: The daemon refuses.
        """
        given = {key: value for key, value in query.items() if value is not None}
        document: dict[str, Any] = json.loads(self._request("GET", f"{name}?{urlencode(given)}" if given else name))
        return document

    def post(self, name: str, **body: object) -> dict[str, Any]:
        """Make a change and return the daemon's answer; raises as `get`."""
        document: dict[str, Any] = json.loads(self._request("POST", name, json.dumps(body)))
        return document

    def metrics(self) -> str:
        """Return the Prometheus text."""
        return self._request("GET", "metrics").decode()

    def _request(self, method: str, name: str, body: str | None = None) -> bytes:
        check_reachable(self._path)
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, f"/v1/{name}", body)
            response = connection.getresponse()
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise DaemonUnreachableError(f"{self._path}: the daemon did not answer ({error})") from None
        finally:
            connection.close()
        if response.status >= 400:
            raise _as_error(response.status, raw)
        return raw


def _as_error(status: int, raw: bytes) -> RemoteError:
    try:
        error = json.loads(raw)["error"]
        return RemoteError(str(error["code"]), str(error["message"]))
    except (ValueError, KeyError, TypeError):
        return RemoteError("http", f"the daemon answered with HTTP status {status}")
