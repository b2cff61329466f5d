"""The tree that `splitd.errors` draws is the tree that it defines, and every error in it is used."""

from __future__ import annotations

import inspect
import re

from splitd import errors
from splitd.errors import SplitdError
from tests.source_tree import PACKAGE, sources

CLASSES = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, SplitdError)]


def drawn() -> dict[str, tuple[str | None, int]]:
    """The parent and the exit code of each class in the drawing."""
    found: dict[str, tuple[str | None, int]] = {}
    above: dict[int, str] = {}
    for marks, name, code in re.findall(
        r"^ {4}([│├└─ ]*)([A-Z]\w+) +(?:exit code )?(\d)", errors.__doc__ or "", re.MULTILINE
    ):
        depth = len(marks) // 4
        above[depth] = name
        found[name] = (above.get(depth - 1), int(code))
    return found


def test_the_drawing_is_the_tree() -> None:
    parents = {one: [base.__name__ for base in one.__bases__ if base is not Exception] for one in CLASSES}
    defined = {one.__name__: (next(iter(parents[one]), None), one.exit_code) for one in CLASSES}
    assert drawn() == defined


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [vars(one).get("code") for one in CLASSES if one is not errors.RemoteError]  # its code is the peer's word
    assert None not in codes
    assert len(set(codes)) == len(codes)


def test_every_error_is_raised_or_caught_somewhere() -> None:
    text = "\n".join(path.read_text() for path in sources(".py") if path != PACKAGE / "errors.py")
    parents = {one.__base__ for one in CLASSES}
    assert [one.__name__ for one in CLASSES if one not in parents and not re.search(rf"\b{one.__name__}\b", text)] == []
