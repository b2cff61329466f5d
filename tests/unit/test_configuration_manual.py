"""docs/configuration.md and the example files say what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from splitd.agent.configuration.schema import AgentConfig, ServerConfig, load_config
from splitd.errors import ConfigError
from tests.source_tree import ROOT

MANUAL = ROOT / "docs" / "configuration.md"
REQUIRED = "required"


def schema(kind: type[BaseModel], defaults: dict[str, Any] | None = None, prefix: str = "") -> dict[str, Any]:
    """Every dotted key with its default as it would stand in YAML; REQUIRED where there is none."""
    found: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        default = (defaults or {}).get(name, field.get_default(call_default_factory=True))
        sections = [a for a in (field.annotation, *get_args(field.annotation)) if _is_section(a)]
        if sections:
            given = default.model_dump(mode="json") if isinstance(default, BaseModel) else default
            given = given if isinstance(given, dict) else None
            found |= schema(sections[0], given, f"{prefix}{name}.")
        else:
            found[prefix + name] = REQUIRED if default is PydanticUndefined else _as_yaml(default)
    return found


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _as_yaml(default: Any) -> Any:
    if isinstance(default, tuple):
        return list(default)
    return default if default is None or isinstance(default, bool | int | float | str | list) else str(default)


def documented(heading: str) -> dict[str, Any]:
    """The keys of one section's table with their defaults."""
    section = MANUAL.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \| (.*?) ?\| (.+) \|$", section, flags=re.MULTILINE)
    assert rows
    assert all(meaning.endswith(".") for _, _, meaning in rows)
    return {key: REQUIRED if "*required*" in cell else yaml.safe_load(cell.strip("`")) for key, cell, _ in rows}


@pytest.mark.parametrize(("kind", "heading"), [(AgentConfig, "agent.yaml"), (ServerConfig, "server.yaml")])
def test_the_manual_has_every_key_with_its_default_and_no_other(kind: type[BaseModel], heading: str) -> None:
    shared, own = documented("In both files"), documented(heading)
    assert shared.keys().isdisjoint(own)
    assert shared | own == schema(kind)


def test_the_example_of_an_error_is_what_the_code_says(tmp_path: Path) -> None:
    (example,) = re.findall(r"^    (agent.yaml:12: .*)$", MANUAL.read_text(), flags=re.MULTILINE)
    file = tmp_path / "agent.yaml"
    file.write_text("server:\n  address: tcp://127.0.0.1:7571\n" + "#\n" * 8 + "planner:\n  hysterese: 0.1\n")
    with pytest.raises(ConfigError, match=re.escape(example)):
        load_config(file, AgentConfig)


@pytest.mark.parametrize(("kind", "name"), [(AgentConfig, "agent"), (ServerConfig, "server")])
def test_the_shipped_examples_load_and_so_do_their_commented_lines(
    kind: type[AgentConfig] | type[ServerConfig], name: str, tmp_path: Path
) -> None:
    text = (ROOT / "systemd" / f"{name}.yaml").read_text()
    assert load_config(ROOT / "systemd" / f"{name}.yaml", kind) == kind.model_validate(yaml.safe_load(text))
    uncommented = tmp_path / "all.yaml"
    uncommented.write_text(re.sub(r"^( *)# ((?:  )?[a-z_]+:(?: .*)?)$", r"\1\2", text, flags=re.MULTILINE))
    loaded = load_config(uncommented, kind)
    assert loaded.keys is not None
    assert loaded.device.threads is not None
