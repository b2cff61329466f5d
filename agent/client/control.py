"""A client of the control socket: HTTP over AF_UNIX with the standard library, so that `splitctl` starts quickly."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

from pydantic import ConfigDict, TypeAdapter, ValidationError

from splitd.agent.client.documents import (
    AgentStatus,
    AnyStatus,
    ChangeAnswer,
    Document,
    ErrorDocument,
    ServerStatus,
    Status,
)
from splitd.agent.client.sockets import check_reachable
from splitd.errors import DaemonUnreachableError, PeerError, RemoteError

DEFAULT_SOCKET = Path("/run/splitd/control.sock")
TIMEOUT_S = 10.0

DocumentT = TypeVar("DocumentT", bound=Document)
_ANY_STATUS: TypeAdapter[AgentStatus | ServerStatus] = TypeAdapter(AnyStatus, config=ConfigDict(defer_build=True))


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

    def get(self, kind: type[DocumentT], **query: object) -> DocumentT:
        """Return the document of this kind; parameters that are None are left out.

        Raises:
            DaemonUnreachableError: Nobody answers on the socket.
            RemoteError: The daemon refuses.
            PeerError: It answers with another document: it is another kind of daemon, or of another version.
        """
        return _parsed(kind, self._view(kind.ROUTE, **query))

    def status(self) -> AgentStatus | ServerStatus:
        """Return the status of whichever daemon answers; raises as `get`."""
        raw = self._view(Status.ROUTE)
        try:
            return _ANY_STATUS.validate_json(raw)
        except ValidationError as error:
            raise _unexpected("status", error) from None

    def post(self, name: str, **body: object) -> ChangeAnswer:
        """Make a change and return the daemon's answer; raises as `get`."""
        return _parsed(ChangeAnswer, self._request("POST", name, json.dumps(body)))

    def metrics(self) -> str:
        """Return the Prometheus text."""
        return self._request("GET", "metrics").decode()

    def _view(self, name: str, **query: object) -> bytes:
        given = {key: value for key, value in query.items() if value is not None}
        return self._request("GET", f"{name}?{urlencode(given)}" if given else name)

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


def _parsed(kind: type[DocumentT], raw: bytes) -> DocumentT:
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise _unexpected(kind.__name__, error) from None


def _unexpected(what: str, error: ValidationError) -> PeerError:
    """Return what to say of an answer that is not the document asked for, naming its first fault."""
    fault = error.errors()[0]
    where = ".".join(map(str, fault["loc"])) or "the answer"
    return PeerError(f"the daemon's answer is no {what}: {where}: {fault['msg']}; is it of another kind or version?")


def _as_error(status: int, raw: bytes) -> RemoteError:
    try:
        error = ErrorDocument.model_validate_json(raw).error
    except ValidationError:
        return RemoteError("http", f"the daemon answered with HTTP status {status}")
    return RemoteError(error.code, error.message)
