"""Reads numbers out of JSON that a peer or a damaged file made: each is typed, finite and bounded, or refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from splitd.errors import ProfileError

MAX_TEXT = 256  # the longest name that a model or a processor has is a third of this
MAX_ITEMS = 4096  # positions of the deepest network at granularity `op`, twice over


def mapping(value: object, name: str) -> Mapping[str, Any]:
    """Return a JSON object; raises ProfileError for anything else."""
    if not isinstance(value, dict):
        raise ProfileError(f"{name}: expected an object, found {type(value).__name__}")
    return value


def field(value: object, key: str, name: str) -> Any:
    """Return one field of a JSON object; raises ProfileError if there is none."""
    found = mapping(value, name)
    if key not in found:
        raise ProfileError(f"{name}: {key} is missing")
    return found[key]


def items(value: object, name: str, *, count: int | None = None, most: int = MAX_ITEMS) -> list[Any]:
    """Return a JSON array of `count` items, or of at most `most`; raises ProfileError otherwise."""
    if not isinstance(value, list):
        raise ProfileError(f"{name}: expected an array, found {type(value).__name__}")
    if len(value) > most or (count is not None and len(value) != count):
        raise ProfileError(f"{name}: {len(value)} items, expected {count if count is not None else f'at most {most}'}")
    return value


def text(value: object, name: str) -> str:
    """Return a string of at most MAX_TEXT printable characters (it ends up on a terminal); raises ProfileError."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise ProfileError(f"{name}: expected at most {MAX_TEXT} printable characters")
    return value


def number(value: object, name: str, *, most: float) -> float:
    """Return a finite number in 0..most; raises ProfileError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ProfileError(f"{name}: expected a number, found {type(value).__name__}")
    if not 0 <= value <= most or not math.isfinite(value):
        raise ProfileError(f"{name}: not a number in 0..{most:g}")
    return float(value)


def whole(value: object, name: str, *, most: int, least: int = 0) -> int:
    """Return an integer in least..most; raises ProfileError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ProfileError(f"{name}: expected a whole number, found {type(value).__name__}")
    if not least <= value <= most:
        raise ProfileError(f"{name}: not in {least}..{most}")
    return value
