"""docs/control-api.md, made from the routes and their documents.

python -m splitd.agent.client.control_manual > docs/control-api.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from splitd.agent.client.control_routes import BOTH, ROUTES, DaemonKind, Route, schema

INTRODUCTION = """\
# Control API

<!-- Made from agent/client/documents.py by `python -m splitd.agent.client.control_manual`; a test compares the two. -->

Each daemon answers HTTP on a Unix socket: the agent on `/run/splitd/control.sock`, the server on
`/run/splitd/server.sock` (`control.socket` in [configuration.md](configuration.md)). `splitctl` is a client, and so is

    curl --unix-socket /run/splitd/control.sock http://localhost/v1/status

`GET` looks and is for whoever may open the socket, its group; `POST` changes something and is for root, the daemon's
own user and `control.operators`. Every answer but `metrics` is a JSON object. Times are seconds, sizes bytes, rates
bytes per second; null stands for what is not known (yet). Fields may be added while `schema_version` stays, so ignore
those that you do not know.

While a daemon starts, `status`, `history`, `metrics` and `schema` answer; whatever needs a running daemon is refused
with status 409 and the code `overload`. A refusal is an [ErrorDocument](#errordocument): 400 for a wrong request, 403
for a change by someone who may only look, 404 for an unknown route, 409 for what cannot be done now.
"""


def manual() -> str:
    """Return the text of docs/control-api.md."""
    schemas: dict[DaemonKind, dict[str, Any]] = {daemon: schema(daemon) for daemon in BOTH}
    definitions = {name: part for daemon in BOTH for name, part in schemas[daemon]["$defs"].items()}
    lines = [INTRODUCTION, "## Routes", ""]
    lines += ["| route | daemon | takes | answers with | what it is |", "|---|---|---|---|---|"]
    lines += [_route_row(route) for route in ROUTES]
    lines += ["", "## Documents", ""]
    for name in sorted(definitions):
        lines += _definition(name, definitions[name])
    return "\n".join(lines)


def _route_row(route: Route) -> str:
    takes = [f"`{name}`: {meaning}" for name, meaning in route.query]
    if route.body is not None:
        takes.append(_link(route.body.__name__))
    answer = "" if route.answer is None else _link(route.answer.__name__)
    cells = (f"`{route.method} {route.path}`", ", ".join(route.daemons), "; ".join(takes), answer, route.about)
    return f"| {' | '.join(cells)} |"


def _definition(name: str, definition: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"### {name}", "", definition["description"], "")
    yield from ("| field | type | meaning |", "|---|---|---|")
    for field, part in definition["properties"].items():
        yield f"| `{field}` | {_type(part)} | {part.get('description', '')} |"
    yield ""


def _type(part: Mapping[str, Any]) -> str:
    """Return what a JSON Schema says of one field's type, in words."""
    if "anyOf" in part:
        return " or ".join(_type(option) for option in part["anyOf"])
    if "$ref" in part:
        return _link(part["$ref"].rpartition("/")[2])
    if "const" in part or "enum" in part:
        return " or ".join(f"`{value}`" for value in part.get("enum", [part.get("const")]))
    kind = str(part["type"])
    if kind == "array":
        return f"list of {_type(part['items'])}"
    return f"object of {_type(part['additionalProperties'])}s by name" if kind == "object" else kind


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


if __name__ == "__main__":
    sys.stdout.write(manual())
