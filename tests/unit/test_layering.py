"""Imports run one way: agent → calibration, transport → native → errors; what applications load stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.source_tree import ROOT, module_name, sources

MAY_IMPORT = {
    "agent": {"agent", "calibration", "transport", "native", "errors"},
    "calibration": {"calibration", "native", "errors"},
    "transport": {"transport", "native", "errors"},
    "native": {"native", "errors"},
    "errors": set(),
}
ROOT_CONSTANTS = {"__version__"}  # what may be taken from `splitd` itself


def imported_parts(path: Path) -> set[str]:
    """The parts of splitd (`agent`, `native`, ...) that a source imports, also under TYPE_CHECKING and in functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "splitd":
            found |= {f"splitd.{alias.name}" for alias in node.names if alias.name not in ROOT_CONSTANTS}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name.split(".")[1] for name in found if name.startswith("splitd.")}


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_imports_only_what_stands_below_it(part: str) -> None:
    own = [path for path in sources(".py") if module_name(path).split(".")[1:2] == [part]]
    assert own
    upwards = {module_name(path): imported_parts(path) - MAY_IMPORT[part] for path in own}
    assert {name: parts for name, parts in upwards.items() if parts} == {}


def test_every_part_has_its_place() -> None:
    parts = {module_name(path).split(".")[1] for path in sources(".py") if module_name(path) != "splitd"}
    assert parts == MAY_IMPORT.keys()


@pytest.mark.parametrize(
    "module", ["splitd.agent.client.client", "splitd.agent.commands.ctl", "splitd.agent.commands.cli"]
)
def test_what_people_and_applications_start_does_not_load_torch(module: str) -> None:
    program = f"import sys, {module}; print({{'torch', 'timm', 'splitd.calibration.model.models'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT / "src", timeout=60
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "statement",
    [
        "import agent",
        "from calibration import graph",
        "import transport.wire",
        "from native.codecs import parse_codec",
        "import pickle",
        "from . import wire",
    ],
)
def test_lint_refuses_bare_and_dangerous_imports(statement: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--select=TID",
            "--output-format=concise",
            "--stdin-filename=agent/x.py",
        ],
        input=f"{statement}\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 1
    assert "agent/x.py:1:" in done.stdout
