"""Every module lies in a room that says what it knows; a class name means one thing in the whole package."""

from __future__ import annotations

import ast
from collections import defaultdict

import pytest

from tests.import_picture import Package
from tests.source_tree import SOURCE

HERE = Package(SOURCE)
LIST_NO_NAMES = ("splitd.agent.commands",)  # its modules are imported only when their command runs
MIN_WORDS = 8  # a sentence that says something


def docstring(room: str) -> str:
    return ast.get_docstring(HERE.modules[room].tree) or ""


@pytest.mark.parametrize("room", HERE.rooms)
def test_a_room_says_what_it_knows(room: str) -> None:
    first = docstring(room).split("\n\n")[0]
    assert len(first.split()) >= MIN_WORDS
    assert first.rstrip().endswith((".", ".)"))


@pytest.mark.parametrize("room", [room for room in HERE.rooms if room not in LIST_NO_NAMES])
def test_a_room_lists_its_public_names(room: str) -> None:
    module = HERE.modules[room]
    assert module.public_names
    assert set(module.public_names) == {one.alias for one in module.imports}


@pytest.mark.parametrize("room", LIST_NO_NAMES)
def test_the_commands_list_none_and_say_why(room: str) -> None:
    assert HERE.modules[room].public_names is None
    assert "no names" in docstring(room)


@pytest.mark.parametrize("part", ["agent", "calibration", "transport"])
def test_no_module_lies_loose_beside_the_rooms(part: str) -> None:
    inside = [name for name in HERE.modules if name.startswith(f"splitd.{part}.")]
    assert [name for name in inside if HERE.room_of(name) is None] == []


def test_a_class_name_means_one_thing() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for module in HERE.modules.values():
        for name in module.classes:
            homes[name].append(module.name)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}
