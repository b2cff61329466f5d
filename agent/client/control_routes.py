"""The routes of the control sockets: one table, from which come the schema that is served and docs/control-api.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic.json_schema import models_json_schema

from splitd.agent.client.documents import (
    SCHEMA_VERSION,
    AgentStatus,
    ChangeAnswer,
    Document,
    ErrorDocument,
    Explanation,
    HistoryDocument,
    LinkDocument,
    Part,
    PinBody,
    ServerStatus,
    Splits,
)

DaemonKind: TypeAlias = Literal["agent", "server"]
BOTH: tuple[DaemonKind, ...] = ("agent", "server")
AGENT: tuple[DaemonKind, ...] = ("agent",)
SERVER: tuple[DaemonKind, ...] = ("server",)


@dataclass(frozen=True)
class Route:
    """One route: which daemons have it, what it takes and what it answers with.

    `answer` is None for what is not one of the documents: `metrics` is text, `schema` describes them all. `query` says
    what each parameter means; `body` is the JSON object that a change takes.
    """

    method: Literal["GET", "POST"]
    name: str
    daemons: tuple[DaemonKind, ...]
    about: str
    answer: type[Document] | None
    query: tuple[tuple[str, str], ...] = ()
    body: type[Part] | None = None

    @property
    def path(self) -> str:
        """The path that is asked for."""
        return f"/v1/{self.name}"


def _view(daemons: tuple[DaemonKind, ...], answer: type[Document], **query: str) -> Route:
    return Route("GET", answer.ROUTE, daemons, (answer.__doc__ or "").strip(), answer, tuple(query.items()))


def _change(daemons: tuple[DaemonKind, ...], name: str, about: str, body: type[Part] | None = None) -> Route:
    return Route("POST", name, daemons, about, ChangeAnswer, body=body)


ROUTES = (
    _view(AGENT, AgentStatus),
    _view(SERVER, ServerStatus),
    _view(AGENT, Splits, batch="samples, 1 to 256; otherwise 1"),
    _view(AGENT, LinkDocument),
    _view(
        AGENT,
        Explanation,
        batch="decide for so many samples, 1 to 256; otherwise the last decision is shown",
        rate="decide as if the uplink had so many bytes per second",
    ),
    _view(AGENT, HistoryDocument, count="at most so many, 1 to 256; otherwise 20"),
    Route("GET", "metrics", BOTH, "Prometheus metrics, as text.", None),
    Route("GET", "schema", BOTH, "The JSON Schema of this daemon's documents, by route.", None),
    _change(AGENT, "pin", "Use one cut for every batch.", PinBody),
    _change(AGENT, "unpin", "Choose the split for each batch again."),
    _change(AGENT, "recalibrate", "Measure the latency profile anew, between batches; requests wait meanwhile."),
    _change(AGENT, "record", "Save the flight recorder's ring as it is now, in a folder that the answer names."),
    _change(BOTH, "reload", "Read the configuration file again; a broken one changes nothing."),
)


def routes_of(daemon: DaemonKind) -> tuple[Route, ...]:
    """Return the routes that one kind of daemon has."""
    return tuple(route for route in ROUTES if daemon in route.daemons)


def schema(daemon: DaemonKind) -> dict[str, Any]:
    """Return the JSON Schema of a daemon's documents: `routes` refer to the definitions in `$defs`."""
    routes = routes_of(daemon)
    models: set[type[Part]] = {model for route in routes for model in (route.answer, route.body) if model is not None}
    models.add(ErrorDocument)
    ordered = sorted(models, key=lambda model: model.__name__)
    refs, definitions = models_json_schema([(model, "serialization") for model in ordered])
    by_model = {model: ref for (model, _), ref in refs.items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "daemon": daemon,
        "routes": {f"{route.method} {route.path}": _described(route, by_model) for route in routes},
        "error": by_model[ErrorDocument],
        **definitions,
    }


def _described(route: Route, refs: dict[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": route.about}
    if route.query:
        described["query"] = dict(route.query)
    if route.body is not None:
        described["body"] = refs[route.body]
    if route.answer is not None:
        described["answer"] = refs[route.answer]
    return described
