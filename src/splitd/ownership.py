"""Says in code which thread may touch what, and checks it where SPLITD_CHECK_THREADS=1 is set.

Shared objects are of two kinds. A *guarded* one may be touched by any thread that holds its lock; a *confined* one
belongs to one thread for good. Without the variable both functions return the object itself and cost nothing; with it
they return a stand-in that raises OwnershipError as soon as a thread without the right touches the object. The check is
of the object itself, not of what its attributes and methods hand out.
"""

from __future__ import annotations

import functools
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

CHECK_VARIABLE = "SPLITD_CHECK_THREADS"

T = TypeVar("T")


class OwnershipError(AssertionError):
    """A thread touched what is not its own: a bug in splitd. Carries the names of object, thread and attribute."""

    def __init__(self, name: str, attribute: str, wanted: str) -> None:
        self.name, self.thread, self.attribute = name, threading.current_thread().name, attribute
        super().__init__(f"thread {self.thread!r} touched {name}.{attribute} without {wanted}")


def guarded(obj: T, lock: threading.Condition | threading.RLock, name: str) -> T:
    """Return `obj`, which only a thread that holds `lock` may touch; `name` is for the error."""
    if not _is_on():
        return obj

    def check(attribute: str) -> None:
        # Both kinds of lock know their thread; the standard library's own Condition asks them in the same way.
        if not lock._is_owned():  # type: ignore[union-attr] # noqa: SLF001
            raise OwnershipError(name, attribute, "holding its lock")

    return cast("T", _StandIn(obj, check))


def confined(obj: T, name: str) -> T:
    """Return `obj`, which belongs to the first thread that touches it through what is returned."""
    if not _is_on():
        return obj
    owner: list[threading.Thread] = []  # the thread itself: numbers of threads are given out again

    def check(attribute: str) -> None:
        owner[:] = owner or [threading.current_thread()]
        if owner[0] is not threading.current_thread():
            raise OwnershipError(name, attribute, f"being its thread, {owner[0].name!r}")

    return cast("T", _StandIn(obj, check))


def _is_on() -> bool:
    return os.environ.get(CHECK_VARIABLE) == "1"


class _StandIn:
    """Passes everything on to `obj` after `check(attribute)`, which raises. Python looks up operators in the class."""

    __slots__ = ("_stand_in_check", "_stand_in_for")

    def __init__(self, obj: Any, check: Callable[[str], None]) -> None:
        object.__setattr__(self, "_stand_in_for", obj)
        object.__setattr__(self, "_stand_in_check", check)

    def __getattr__(self, name: str) -> Any:
        value = getattr(_touch(self, name), name)
        if not inspect.ismethod(value):
            return value

        @functools.wraps(value)
        def checked(*args: Any, **kwargs: Any) -> Any:  # a method may be called later than it was looked up
            _touch(self, name)
            return value(*args, **kwargs)

        return checked

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_touch(self, name), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_touch(self, name), name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # so that isinstance answers as it does for the object
        return type(object.__getattribute__(self, "_stand_in_for"))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _touch(self, "__call__")(*args, **kwargs)

    def __len__(self) -> int:
        return len(_touch(self, "__len__"))

    def __bool__(self) -> bool:
        return bool(_touch(self, "__bool__"))

    def __contains__(self, item: Any) -> bool:
        return item in _touch(self, "__contains__")

    def __iter__(self) -> Iterator[Any]:
        return iter(_touch(self, "__iter__"))

    def __getitem__(self, key: Any) -> Any:
        return _touch(self, "__getitem__")[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        _touch(self, "__setitem__")[key] = value

    def __delitem__(self, key: Any) -> None:
        del _touch(self, "__delitem__")[key]

    def __eq__(self, other: object) -> bool:
        return bool(_touch(self, "__eq__") == other)

    def __hash__(self) -> int:
        return hash(_touch(self, "__hash__"))


def _touch(stand_in: _StandIn, attribute: str) -> Any:
    """Return the object behind a stand-in if the present thread may touch it."""
    object.__getattribute__(stand_in, "_stand_in_check")(attribute)
    return object.__getattribute__(stand_in, "_stand_in_for")
