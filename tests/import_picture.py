"""Who imports whom in the package, read from the sources: imports under TYPE_CHECKING and in functions count too.

A *room* is a folder with an `__init__` inside one of the four parts (`agent/decide`); its modules are its *drawers*.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.source_tree import files, module_name

ROOM_DEPTH = 3  # splitd.agent.decide

Edges = dict[str, set[str]]


@dataclass(frozen=True)
class Import:
    """One imported thing: `from module import name`, or `import module` where `name` is empty."""

    module: str
    name: str
    line: int
    alias: str = ""


class Module:
    """One source file."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.is_init = path.name == "__init__.py"
        self.tree = ast.parse(path.read_text())

    @cached_property
    def imports(self) -> list[Import]:
        """Everything that is imported anywhere in the file."""
        found: list[Import] = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [Import(alias.name, "", node.lineno, alias.asname or "") for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found += [
                    Import(node.module, alias.name, node.lineno, alias.asname or alias.name) for alias in node.names
                ]
        return found

    @property
    def public_names(self) -> list[str] | None:
        """What `__all__` lists; None without one."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
                return [str(name) for name in ast.literal_eval(node.value)]
        return None

    @property
    def classes(self) -> list[str]:
        """The names of all classes that the file defines."""
        return [node.name for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]


class Package:
    """All sources below `source`/splitd, by dotted name."""

    def __init__(self, source: Path) -> None:
        found = files(source / "splitd", ".py")
        self.modules = {name: Module(name, path) for path in found for name in [module_name(path, source)]}
        self.rooms = sorted(
            name for name, module in self.modules.items() if module.is_init and name.count(".") + 1 == ROOM_DEPTH
        )

    def room_of(self, name: str) -> str | None:
        """The room that a module is or lies in; None for a module that lies loose in its part."""
        room = ".".join(name.split(".")[:ROOM_DEPTH])
        return room if room in self.rooms else None

    def imported_modules(self, module: Module) -> set[str]:
        """The package's own modules that `module` imports; `from splitd.transport import wire` is the room `wire`."""
        named = ((f"{one.module}.{one.name}", one.module) for one in module.imports)
        return {next((name for name in pair if name in self.modules), "") for pair in named} - {""}

    def rooms_of(self, part: str) -> list[str]:
        """The rooms of `agent`, `calibration`, `transport` or `native`."""
        return [room for room in self.rooms if room.split(".")[1] == part]

    def room_edges(self, part: str) -> Edges:
        """Which rooms of a part import which others; a module that lies loose in its part stands for itself."""

        def node(name: str) -> str:
            return (self.room_of(name) or name).removeprefix(f"splitd.{part}.")

        edges: Edges = {}
        for name, module in self.modules.items():
            if name.split(".")[1:2] == [part] and name != f"splitd.{part}":
                inside = {other for other in self.imported_modules(module) if other.startswith(f"splitd.{part}.")}
                edges.setdefault(node(name), set()).update({node(other) for other in inside} - {node(name)})
        return edges

    def drawer_edges(self, room: str) -> Edges:
        """Which drawers of a room import which others of it."""
        own = {name for name in self.modules if self.room_of(name) == room and name != room}
        return {name: self.imported_modules(self.modules[name]) & own - {name} for name in sorted(own)}


def floors(edges: Edges) -> dict[str, int]:
    """The floor of each node: 1 imports no other, each other stands one above the highest that it imports.

    Raises:
        ValueError: There is a circle; the message names it.
    """
    known: dict[str, int] = {}

    def floor(node: str, below: tuple[str, ...]) -> int:
        if node in below:
            raise ValueError(" → ".join((*below[below.index(node) :], node)))
        if node not in known:
            known[node] = 1 + max((floor(other, (*below, node)) for other in sorted(edges.get(node, ()))), default=0)
        return known[node]

    for node in sorted(edges):
        floor(node, ())
    return known


def arrows(edges: Edges) -> int:
    """How many pairs of nodes import one another."""
    return sum(len(others) for others in edges.values())


def draw(edges: Edges) -> str:
    """The picture, top floor first: `5  device → client, decide, runtime`."""
    standing = floors(edges)
    order = sorted(edges, key=lambda node: (-standing[node], node))
    lines = [f"{standing[node]}  {node} → {', '.join(sorted(edges[node])) or 'none'}" for node in order]
    return "\n".join([f"{max(standing.values())} floors, {arrows(edges)} arrows", *lines])
