"""Builds splitd's archives, and makes environments to install them into without a network."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tests.source_tree import ROOT


@dataclass(frozen=True)
class Archives:
    """What one build made."""

    sdist: Path
    wheel: Path


def build(into: Path) -> Archives:
    """Build the sdist, and the wheel from the unpacked sdist: what the sdist lacks, the wheel cannot have."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(into), str(ROOT))
    (sdist,), (wheel,) = into.glob("*.tar.gz"), into.glob("*.whl")
    return Archives(sdist, wheel)


def make_environment(path: Path, python: str, packages: Path) -> Path:
    """Make a fresh environment that also sees `packages`; return its folder of programs."""
    run(python, "-m", "venv", str(path))
    (site,) = path.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(f"{packages}\n")
    return path / "bin"


def link_distributions(names: Iterable[str], into: Path, seen_at: Path | None = None) -> None:
    """Link the installed distributions `names`, and all they require, into the folder `into`.

    `seen_at` is where a container sees this environment's packages.
    """
    into.mkdir(parents=True, exist_ok=True)
    for distribution in closure(names).values():
        site = seen_at or Path(str(distribution.locate_file("")))
        tops = {file.parts[0] for file in distribution.files or () if file.parts[0] not in {"..", "__pycache__"}}
        for top in tops:
            if not (into / top).is_symlink():
                (into / top).symlink_to(site / top)


def repack(name: str, into: Path) -> Path:
    """Make a wheel of the installed pure-Python distribution `name` again, for a place without a network."""
    into.mkdir(parents=True, exist_ok=True)
    distribution = metadata.distribution(name)
    wheel = into / f"{name}-{distribution.version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in distribution.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                archive.write(str(distribution.locate_file(file)), str(file))
    return wheel


def closure(names: Iterable[str]) -> dict[str, metadata.Distribution]:
    """The installed distributions that `names` (requirements, extras included) need in this environment."""
    found: dict[str, metadata.Distribution] = {}
    open_requirements = [(Requirement(name), "") for name in names]
    seen: set[tuple[str, frozenset[str]]] = set()
    while open_requirements:
        requirement, extra = open_requirements.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        key = (requirement.name.lower(), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        found[key[0]] = metadata.distribution(requirement.name)
        for needed in found[key[0]].requires or ():
            open_requirements += [(Requirement(needed), wanted) for wanted in ("", *requirement.extras)]
    return found


def installed_bytes(names: Iterable[str]) -> int:
    """Bytes of the installed distributions that `names` need, files that Python compiled included."""
    files = (Path(str(one.locate_file(file))) for one in closure(names).values() for file in one.files or ())
    return sum(file.stat().st_size for file in files if file.is_file())


def requirements_of(wheel: Path, extra: str = "") -> list[str]:
    """What a wheel requires, with one of its extras if named."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        stated = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    wanted = [Requirement(text) for text in stated]
    return [
        f"{item.name}{item.specifier}"
        for item in wanted
        if item.marker is None or item.marker.evaluate({"extra": extra})
    ]


def run(*command: str, **environment: str) -> str:
    """Run a program with a clean environment; a failure raises with all that it said."""
    foreign = ("PYTHON", "SPLITD", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd="/", env=kept | environment, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
