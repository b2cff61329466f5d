"""Local control: HTTP over a Unix socket. Reading is for whoever may open the socket, changing for operators.

    GET  /v1/NAME?key=value    a view of the daemon
    POST /v1/NAME  {...}       a change; root, the daemon's own user and `control.operators` only

Which names there are, and what they answer with, is written in `splitd.agent.client.control_routes`; the manual is
docs/control-api.md.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from splitd.agent.client import (
    ChangeAnswer,
    DaemonKind,
    Document,
    ErrorBody,
    ErrorDocument,
    claim_socket,
    release_socket,
    routes_of,
    schema,
    share_socket,
)
from splitd.agent.configuration import ControlConfig
from splitd.agent.runtime.phase import Phase
from splitd.errors import OverloadError, SplitdError, UsageError

MAX_BODY_BYTES = 64 * 1024  # a change is a few short fields
KEEPALIVE_S = 5.0  # an idle connection is closed after this
BACKLOG = 64  # connections that wait to be accepted; people and scrapers are few
METRICS_HEADERS = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}

View = Callable[[Mapping[str, str]], Document]
Change = Callable[[Mapping[str, Any]], ChangeAnswer]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Routes:
    """What a daemon shows and lets change; called in the event loop's thread, so each must be quick.

    `metrics` returns Prometheus text; `schema` every daemon has. Raises UsageError when these are not the daemon's
    routes: what is served, described by `schema` and written in the manual is one and the same.
    """

    daemon: DaemonKind
    views: Mapping[str, View]
    changes: Mapping[str, Change]
    metrics: Callable[[], bytes]

    def __post_init__(self) -> None:
        known = {(route.method, route.name) for route in routes_of(self.daemon) if route.answer is not None}
        here = {("GET", name) for name in self.views} | {("POST", name) for name in self.changes}
        if here != known:
            raise UsageError(f"these routes are either served or described, not both: {sorted(here ^ known)}")


def starting_routes(
    daemon: DaemonKind, phase: Phase, views: Mapping[str, View], metrics: Callable[[], bytes]
) -> Routes:
    """Return the routes of a daemon that is not ready: `views` answer already, all others say that it is not ready."""

    def refuse(_: Mapping[str, Any]) -> Any:
        raise OverloadError(f"the {daemon} is not ready yet: {phase.text}")

    names = {route.name: route for route in routes_of(daemon) if route.answer is not None}
    later: dict[str, View] = {name: refuse for name, route in names.items() if route.method == "GET"}
    changes: dict[str, Change] = {name: refuse for name, route in names.items() if route.method == "POST"}
    return Routes(daemon, {**later, **views}, changes, metrics)


class Control:
    """Serves Routes on the configured socket, inside the running event loop; `serve` puts others in their place."""

    def __init__(self, config: ControlConfig, routes: Routes) -> None:
        self._config = config
        self._operators = _operator_uids(config.operators)
        self._routes = routes
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_typed_errors])
        app.router.add_get("/v1/{name}", self._view)
        app.router.add_post("/v1/{name}", self._change)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEPALIVE_S)

    def serve(self, routes: Routes) -> None:
        """Answer the next request from these."""
        self._routes = routes

    async def start(self) -> None:
        """Bind the socket and serve.

        Raises:
            ConfigError: The socket's path or group cannot be used.
        """
        claim_socket(self._config.socket)
        await self._runner.setup()
        await web.UnixSite(self._runner, self._config.socket, backlog=BACKLOG).start()
        share_socket(self._config.socket, self._config.group)

    async def close(self) -> None:
        """Stop serving and remove the socket."""
        await self._runner.cleanup()
        release_socket(self._config.socket)

    async def _view(self, request: web.Request) -> web.StreamResponse:
        routes, name = self._routes, request.match_info["name"]
        if name == "metrics":
            return web.Response(body=routes.metrics(), headers=METRICS_HEADERS)
        if name == "schema":
            return web.json_response(schema(routes.daemon))
        if name in routes.views:
            return web.json_response(routes.views[name](request.query).to_json())
        raise web.HTTPMethodNotAllowed("GET", {"POST"}) if name in routes.changes else web.HTTPNotFound

    async def _change(self, request: web.Request) -> web.StreamResponse:
        routes, name = self._routes, request.match_info["name"]
        if name not in routes.changes:
            views = {*routes.views, "metrics", "schema"}
            raise web.HTTPMethodNotAllowed("POST", {"GET"}) if name in views else web.HTTPNotFound
        uid = _peer_uid(request)
        if uid not in self._operators:
            raise web.HTTPForbidden(
                text=f"user {_user_name(uid)} may look but not change; add it to `control.operators`, or use sudo"
            )
        return web.json_response(routes.changes[name](await _body(request)).to_json())


@web.middleware
async def _typed_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except SplitdError as error:
        return _error(400 if isinstance(error, UsageError) else 409, error.code, str(error))
    except web.HTTPException as error:
        return _error(error.status, "forbidden" if error.status == 403 else "http", error.text or error.reason)


def _error(status: int, code: str, message: str) -> web.Response:
    document = ErrorDocument(error=ErrorBody(code=code, message=message))
    return web.json_response(document.to_json(), status=status)


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
