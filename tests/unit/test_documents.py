"""The control documents: one table of routes, a schema that the daemons' answers fit, a manual that is up to date."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from splitd.agent.client.control_manual import manual
from splitd.agent.client.control_routes import BOTH, ROUTES, DaemonKind, routes_of, schema
from splitd.agent.client.documents import (
    AgentCounters,
    DeviceView,
    Document,
    LoadView,
    ModelView,
    Part,
    Record,
    ServerStatus,
)
from tests.source_tree import ROOT


def parts(kind: type[Part] = Part) -> list[type[Part]]:
    return [kind, *(found for child in kind.__subclasses__() for found in parts(child))]


def server_status() -> ServerStatus:
    return ServerStatus(
        version="1",
        pid=1,
        state="ready",
        state_text="listening",
        uptime_s=1.0,
        model=ModelView(name="a", weights="b", image_size=64, digest="c"),
        device=DeviceView(name="cpu", threads=1, throttle=None),
        bind="tcp://127.0.0.1:1",
        load=LoadView(clients=1, queued=0, queue_s=0.0, load=0.5, requests=2, failed=0),
        counters={"hellos": 1},
    )


def test_the_manual_is_made_from_the_documents() -> None:
    again = "python -m splitd.agent.client.control_manual > docs/control-api.md"
    assert (ROOT / "docs" / "control-api.md").read_text() == manual(), again


def test_every_document_says_what_it_is() -> None:
    assert [kind.__name__ for kind in parts() if not kind.__doc__] == []


def test_every_view_is_asked_for_by_the_name_of_its_document() -> None:
    named = {(route.name, route.answer.ROUTE) for route in ROUTES if route.answer is not None and route.method == "GET"}
    assert all(name == route for name, route in named)


@pytest.mark.parametrize("daemon", BOTH)
def test_a_daemons_schema_has_all_its_routes_and_every_reference_leads_somewhere(daemon: DaemonKind) -> None:
    found = schema(daemon)
    assert found["routes"].keys() == {f"{route.method} /v1/{route.name}" for route in routes_of(daemon)}
    assert set(references(found)) <= {f"#/$defs/{name}" for name in found["$defs"]}
    assert json.loads(json.dumps(found)) == found


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for child in value.values() for found in references(child)]
    return [found for child in value for found in references(child)] if isinstance(value, list) else []


def test_a_document_crosses_as_json_and_comes_back_the_same() -> None:
    document = server_status()
    assert document.to_json()["schema_version"] == 1
    assert ServerStatus.model_validate_json(json.dumps(document.to_json())) == document


def test_a_reader_ignores_fields_that_it_does_not_know() -> None:
    newer = {**server_status().to_json(), "mood": "good"}
    assert ServerStatus.model_validate(newer) == server_status()


def test_one_counter_has_a_name_that_python_cannot_have() -> None:
    names = [name for name in AgentCounters.model_fields if name != "finished_locally"]
    counters = AgentCounters(**dict.fromkeys(names, 0), finished_locally=3)
    assert counters.model_dump(by_alias=True)["finished-locally"] == 3


def test_documents_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        server_status().load.failed = 7  # type: ignore[misc]


@pytest.mark.parametrize(("hindsight_s", "regret"), [(0.1, 1.0), (0.2, 0.0), (0.0, 0.0)])
def test_regret_is_what_the_best_choice_would_have_saved(hindsight_s: float, regret: float) -> None:
    fields = dict.fromkeys(Record.model_fields)
    record = Record.model_construct(**{**fields, "measured_s": 0.2, "hindsight_s": hindsight_s})
    assert record.regret == pytest.approx(regret)


def test_an_answer_without_a_route_of_its_own_belongs_to_several() -> None:
    assert {kind.__name__ for kind in parts(Document) if not kind.ROUTE} == {
        "Document",
        "ChangeAnswer",
        "ErrorDocument",
    }
