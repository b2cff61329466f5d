"""The package's sources as they lie on disk."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"


def sources(suffix: str) -> list[Path]:
    """Every file of the package with this suffix, as a path below `src` (through the symbolic links)."""
    return sorted(
        Path(folder, name)
        for folder, _, names in os.walk(SOURCE / "splitd", followlinks=True)
        for name in names
        if name.endswith(suffix)
    )


def module_name(path: Path) -> str:
    """The dotted name that Python imports a source by."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
