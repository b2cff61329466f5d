"""Each constant of the link estimate and of the decision says why it has its value."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.source_tree import ROOT

ROOMS = ("transport/estimate", "agent/decide")


def names(target: ast.expr) -> list[str]:
    """The names that an assignment gives, one or a tuple of them."""
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    return [part.id for part in parts if isinstance(part, ast.Name)]


def is_type(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Call) and ast.unparse(value.func) == "TypeVar"


def unexplained(source: str) -> list[str]:
    """The constants of a module that have no comment on the line above, or on one of their own lines."""
    lines, found = source.splitlines(), []
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or is_type(node.value):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        named = [name for target in targets for name in names(target) if name.isupper()]
        above = lines[node.lineno - 2].startswith("#")
        beside = any("  # " in line for line in lines[node.lineno - 1 : node.end_lineno])
        found += named if not (above or beside) else []
    return found


@pytest.mark.parametrize("path", [path for room in ROOMS for path in sorted((ROOT / room).glob("*.py"))], ids=str)
def test_every_constant_has_its_reason_beside_it(path: Path) -> None:
    assert unexplained(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("_GAIN = 0.2\n", ["_GAIN"]),
        ("# why\n_GAIN = 0.2\n", []),
        ("_GAIN = 0.2  # why\n", []),
        ("# why\n_GAIN = 0.2\n_OTHER, _MORE = 1, 2\n", ["_OTHER", "_MORE"]),
        ("# why\n\n_GAIN: float = 0.2\n", ["_GAIN"]),
        ("floats = 1\n", []),
    ],
)
def test_the_check_sees_a_constant_without_one(source: str, found: list[str]) -> None:
    assert unexplained(source) == found
