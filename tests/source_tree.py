"""The package's sources as they lie on disk."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "splitd"


def sources(suffix: str) -> list[Path]:
    """Every file of the package with this suffix, as a path below `src` (through the symbolic links)."""
    return files(PACKAGE, suffix)


def files(folder: Path, suffix: str) -> list[Path]:
    """Every file below `folder` with this suffix; symbolic links to folders are followed."""
    return sorted(
        Path(parent, name)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.endswith(suffix)
    )


def module_name(path: Path, source: Path = SOURCE) -> str:
    """The dotted name that Python imports a source below `source` by."""
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
