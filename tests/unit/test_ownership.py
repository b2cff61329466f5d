"""The checker of thread ownership raises for the wrong thread, and is not there unless it is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from splitd.ownership import CHECK_VARIABLE, OwnershipError, confined, guarded


class Counter:
    """Something to own."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> None:
        self.count += 1


def in_thread(act: Callable[[], Any]) -> OwnershipError | None:
    """What `act` raises in another thread."""
    raised: list[OwnershipError] = []

    def run() -> None:
        try:
            act()
        except OwnershipError as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="another")
    thread.start()
    thread.join()
    return raised[0] if raised else None


TOUCHES: dict[str, Callable[[Any], Any]] = {
    "count": lambda counter: counter.count,
    "add": lambda counter: counter.add(),
}
CONTAINER_TOUCHES: dict[str, Callable[[Any], Any]] = {
    "__len__": len,
    "__bool__": bool,
    "__contains__": lambda numbers: 1 in numbers,
    "__iter__": list,
    "__getitem__": lambda numbers: numbers[0],
    "__eq__": lambda numbers: numbers == [1],
    "append": lambda numbers: numbers.append(1),
}


@pytest.mark.parametrize("lock", [threading.Condition(), threading.RLock()], ids=["condition", "rlock"])
@pytest.mark.parametrize("attribute", TOUCHES)
def test_a_guarded_object_wants_its_lock_to_be_held(lock: threading.Condition, attribute: str) -> None:
    counter = guarded(Counter(), lock, "counter")
    with lock:
        TOUCHES[attribute](counter)
        error = in_thread(lambda: TOUCHES[attribute](counter))
    assert isinstance(error, OwnershipError)
    assert (error.name, error.thread, error.attribute) == ("counter", "another", attribute)
    with pytest.raises(OwnershipError, match=rf"counter\.{attribute} without holding its lock"):
        TOUCHES[attribute](counter)


@pytest.mark.parametrize("attribute", CONTAINER_TOUCHES)
def test_a_guarded_container_is_watched_too(attribute: str) -> None:
    lock = threading.Condition()
    numbers = guarded([1], lock, "numbers")
    with lock:
        CONTAINER_TOUCHES[attribute](numbers)
    with pytest.raises(OwnershipError, match=attribute):
        CONTAINER_TOUCHES[attribute](numbers)


def test_a_method_that_was_looked_up_under_the_lock_wants_it_when_called() -> None:
    lock = threading.Condition()
    counter = guarded(Counter(), lock, "counter")
    with lock:
        add = counter.add
    with pytest.raises(OwnershipError):
        add()


def test_setting_an_attribute_reaches_the_object() -> None:
    lock, inner = threading.RLock(), Counter()
    counter = guarded(inner, lock, "counter")
    with pytest.raises(OwnershipError):
        counter.count = 5
    with lock:
        counter.count = 5
        assert isinstance(counter, Counter)
    assert inner.count == 5


def test_a_confined_object_belongs_to_who_touches_it_first() -> None:
    counter = confined(Counter(), "counter")
    assert in_thread(lambda: counter.add()) is None  # noqa: PLW0108 - the look-up is a touch
    with pytest.raises(OwnershipError, match=r"counter\.add without being its thread, 'another'"):
        counter.add()


def test_the_error_is_no_error_of_splitd() -> None:
    assert issubclass(OwnershipError, AssertionError)


@pytest.mark.parametrize("value", [None, "0"])
def test_without_the_variable_there_is_no_checker(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CHECK_VARIABLE)
    if value is not None:
        monkeypatch.setenv(CHECK_VARIABLE, value)
    counter = Counter()
    assert guarded(counter, threading.Condition(), "counter") is counter
    assert confined(counter, "counter") is counter


def test_the_suite_checks_its_daemons_too() -> None:
    asked = f"import os; print(os.environ.get({CHECK_VARIABLE!r}))"
    done = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True)
    assert (os.environ[CHECK_VARIABLE], done.stdout.strip()) == ("1", "1")
