"""Imports run one way: between the parts, between the rooms of a part, and through each room's `__init__` only."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.import_picture import Import, Module, Package, arrows, draw, floors
from tests.source_tree import PACKAGE, ROOT, SOURCE

MAY_IMPORT = {
    "agent": {"agent", "calibration", "transport", "native", "errors", "ownership"},
    "calibration": {"calibration", "native", "errors", "ownership"},
    "transport": {"transport", "native", "errors", "ownership"},
    "native": {"native", "errors"},
    "errors": set(),
    "ownership": {"errors"},
}
ROOT_CONSTANTS = {"__version__"}  # what may be taken from `splitd` itself
LIMITS = {"agent": (6, 35), "transport": (4, 15)}  # floors, arrows
ENTRY_POINTS = "splitd.agent.commands"  # its modules are started by name, so it lists no names

SANS_IO_ROOMS = ("splitd.agent.decide", "splitd.transport.estimate")
IO_MODULES = {
    "aiohttp",
    "asyncio",
    "concurrent",
    "http",
    "multiprocessing",
    "queue",
    "sched",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
    "zmq",
}  # and logging.handlers; a plain logger is allowed
HEAVY = {"torch", "timm", "splitd.calibration.model.models"}

HERE = Package(SOURCE)


def parts_imported(module: Module) -> set[str]:
    """The parts of splitd (`agent`, `native`, ...) that a source imports."""
    found = {one.module.split(".")[1] for one in module.imports if one.module.startswith("splitd.")}
    return found | {one.name for one in module.imports if one.module == "splitd" and one.name} - ROOT_CONSTANTS


def of_part(part: str) -> list[Module]:
    return [module for name, module in HERE.modules.items() if name.split(".")[1:2] == [part]]


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_imports_only_what_stands_below_it(part: str) -> None:
    assert of_part(part)
    upwards = {module.name: parts_imported(module) - MAY_IMPORT[part] for module in of_part(part)}
    assert {name: parts for name, parts in upwards.items() if parts} == {}


def test_every_part_has_its_place() -> None:
    assert {name.split(".")[1] for name in HERE.modules if name != "splitd"} == MAY_IMPORT.keys()


def faults(module: Module) -> list[str]:
    """The imports of `module` that reach past a room's `__init__`, or take from it what it does not list."""
    found = []
    for one in module.imports:
        room = HERE.room_of(one.module)
        if room is None or room == HERE.room_of(module.name):
            continue
        if one.module != room:
            found.append(f"{module.name}:{one.line}: {one.module} is a drawer; import from {room}")
        elif one.name and one.name not in (HERE.modules[room].public_names or ()):
            found.append(f"{module.name}:{one.line}: {one.name} is not in the __all__ of {room}")
    return found + attribute_faults(module)


def attribute_faults(module: Module) -> list[str]:
    """Attributes of a room that was imported as a module (`wire.frames`), where the room does not list them."""

    def target(one: Import) -> str:
        return f"{one.module}.{one.name}" if one.name else one.module

    rooms = {one.alias: target(one) for one in module.imports if target(one) in HERE.rooms and one.alias}
    return [
        f"{module.name}:{node.lineno}: {node.attr} is not in the __all__ of {rooms[node.value.id]}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in rooms
        if node.attr not in (HERE.modules[rooms[node.value.id]].public_names or ())
    ]


def test_a_room_is_entered_by_its_door() -> None:
    assert [fault for module in HERE.modules.values() for fault in faults(module)] == []


def test_nothing_imports_a_command() -> None:
    outside = [module for name, module in HERE.modules.items() if not name.startswith(ENTRY_POINTS)]
    assert [
        module.name for module in outside if ENTRY_POINTS in {HERE.room_of(one.module) for one in module.imports}
    ] == []


def test_the_drawers_of_a_room_do_not_import_the_room_itself() -> None:
    inside = {name: module for name, module in HERE.modules.items() if HERE.room_of(name) not in (None, name)}
    assert [name for name, module in inside.items() if HERE.room_of(name) in HERE.imported_modules(module)] == []


@pytest.mark.parametrize("part", ["agent", "calibration", "transport", "native"])
def test_the_rooms_of_a_part_form_no_circle(part: str) -> None:
    floors(HERE.room_edges(part))


@pytest.mark.parametrize("room", HERE.rooms)
def test_the_drawers_of_a_room_form_no_circle(room: str) -> None:
    floors(HERE.drawer_edges(room))


@pytest.mark.parametrize("part", LIMITS)
def test_the_picture_stays_small(part: str) -> None:
    edges = HERE.room_edges(part)
    picture = draw(edges)
    counted = (max(floors(edges).values()), arrows(edges))
    assert all(count <= limit for count, limit in zip(counted, LIMITS[part], strict=True)), picture


def test_the_picture_is_the_same_with_real_folders_in_place_of_the_links(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "splitd", ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    assert not (tmp_path / "splitd" / "agent").is_symlink()
    copy = Package(tmp_path)
    assert copy.modules.keys() == HERE.modules.keys()
    for part in LIMITS:
        assert copy.room_edges(part) == HERE.room_edges(part)


def is_sans_io(name: str) -> bool:
    """Whether a module is in a room without I/O, is called a core, or has "Sans-IO." in its docstring."""
    says_so = re.search(r"\bSans-IO[.;]", ast.get_docstring(HERE.modules[name].tree) or "") is not None
    return HERE.room_of(name) in SANS_IO_ROOMS or name.endswith("_core") or (says_so and name not in HERE.rooms)


def test_the_cores_are_where_they_are_looked_for() -> None:
    cores = {name.removeprefix("splitd.") for name in HERE.modules if is_sans_io(name)}
    assert cores >= {"transport.device.session_core", "transport.server.endpoint_core", "agent.device.intake_core"}


@pytest.mark.parametrize("name", [name for name in HERE.modules if is_sans_io(name)])
def test_what_decides_or_parses_owns_no_socket_thread_or_clock(name: str) -> None:
    imports = HERE.modules[name].imports
    whole = {one.module for one in imports} | {f"{one.module}.{one.name}" for one in imports}
    assert {module for module in whole if module.split(".")[0] in IO_MODULES or module == "logging.handlers"} == set()


@pytest.mark.parametrize(
    "module",
    [
        "splitd",
        "splitd.agent.client",
        "splitd.agent.commands.cli",
        "splitd.agent.commands.ctl",
        "splitd.agent.configuration",
        "splitd.agent.decide",
        "splitd.agent.simulation",
        "splitd.agent.device",
        "splitd.agent.runtime",
        "splitd.agent.server",
        "splitd.calibration.accuracy",
        "splitd.calibration.bundle",
        "splitd.calibration.executors",
        "splitd.calibration.measure",
        "splitd.calibration.profile",
        "splitd.transport.estimate",
    ],
)
def test_what_people_and_applications_start_does_not_load_torch(module: str) -> None:
    program = f"import sys, {module}; print({HEAVY} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=SOURCE, timeout=60
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
