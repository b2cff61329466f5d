"""Local control: HTTP over a Unix socket. Reading is for whoever may open the socket, changing for operators.

    GET  /v1/NAME?key=value    a view of the daemon
    POST /v1/NAME  {...}       a change; root, the daemon's own user and `control.operators` only

Every answer is JSON with `schema_version` (metrics excepted, which are Prometheus text); an error is
`{"schema_version": 1, "error": {"code", "message"}}`.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from splitd.agent.client import sockets as local_socket
from splitd.agent.configuration import ControlConfig
from splitd.errors import SplitdError, UsageError

SCHEMA_VERSION = 1
MAX_BODY_BYTES = 64 * 1024  # a change is a few short fields
KEEPALIVE_S = 5.0  # an idle connection is closed after this
BACKLOG = 64  # connections that wait to be accepted; people and scrapers are few

View = Callable[[Mapping[str, str]], Any]
Change = Callable[[Mapping[str, Any]], Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Routes:
    """What a daemon shows and lets change; called in the event loop's thread, so each must be quick.

    A view or change returns a JSON-able mapping; `metrics` returns Prometheus text.
    """

    views: Mapping[str, View]
    changes: Mapping[str, Change] = field(default_factory=dict)
    metrics: Callable[[], bytes] | None = None


class Control:
    """Serves Routes on the configured socket, inside the running event loop."""

    def __init__(self, config: ControlConfig, routes: Routes) -> None:
        self._config = config
        self._operators = _operator_uids(config.operators)
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_typed_errors])
        for name, view in routes.views.items():
            app.router.add_get(f"/v1/{name}", _viewer(view))
        for name, change in routes.changes.items():
            app.router.add_post(f"/v1/{name}", self._changer(change))
        if routes.metrics is not None:
            app.router.add_get("/v1/metrics", _metrics(routes.metrics))
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEPALIVE_S)

    async def start(self) -> None:
        """Bind the socket and serve.

        Raises:
            ConfigError: The socket's path or group cannot be used.
        """
        local_socket.claim(self._config.socket)
        await self._runner.setup()
        await web.UnixSite(self._runner, self._config.socket, backlog=BACKLOG).start()
        local_socket.share(self._config.socket, self._config.group)

    async def close(self) -> None:
        """Stop serving and remove the socket."""
        await self._runner.cleanup()
        local_socket.release(self._config.socket)

    def _changer(self, change: Change) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            uid = _peer_uid(request)
            if uid not in self._operators:
                raise web.HTTPForbidden(
                    text=f"user {_user_name(uid)} may look but not change; add it to `control.operators`, or use sudo"
                )
            return _reply(change(await _body(request)))

        return handle


def _viewer(view: View) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return _reply(view(request.query))

    return handle


def _metrics(render: Callable[[], bytes]) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        del request
        return web.Response(body=render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    return handle


@web.middleware
async def _typed_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except SplitdError as error:
        return _error(400 if isinstance(error, UsageError) else 409, error.code, str(error))
    except web.HTTPException as error:
        return _error(error.status, "forbidden" if error.status == 403 else "http", error.text or error.reason)


def _reply(document: Mapping[str, Any]) -> web.Response:
    return web.json_response({"schema_version": SCHEMA_VERSION, **document})


def _error(status: int, code: str, message: str) -> web.Response:
    body = {"schema_version": SCHEMA_VERSION, "error": {"code": code, "message": message}}
    return web.json_response(body, status=status)


async def _body(request: web.Request) -> dict[str, Any]:
    raw = await request.read()
    if not raw:
        return {}
    try:
        body = json.loads(raw)
    except ValueError:
        raise UsageError("the request's body is not JSON") from None
    if not isinstance(body, dict):
        raise UsageError("the request's body must be a JSON object")
    return body


def _peer_uid(request: web.Request) -> int:
    connection = request.transport.get_extra_info("socket") if request.transport else None
    if connection is None:
        raise web.HTTPForbidden(text="the caller is gone")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


def _operator_uids(names: tuple[str, ...]) -> frozenset[int]:
    uids = {0, os.geteuid()}
    for name in names:
        try:
            uids.add(pwd.getpwnam(name).pw_uid)
        except KeyError:
            raise UsageError(f"control.operators: there is no user {name!r}") from None
    return frozenset(uids)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
