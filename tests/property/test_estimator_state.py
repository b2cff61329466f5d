"""An estimator's state survives JSON text: the original and the copy estimate the same for ever after."""

from __future__ import annotations

import contextlib
import json
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitd.errors import StateError, UsageError
from splitd.transport.estimate import ESTIMATOR_TYPES, EstimatorConfig, LinkEstimator, load_state, save_state
from tests.trains import FluidLink, chunks

Step = Callable[[LinkEstimator, float], float]  # takes the time, returns the time after it


def ping(rtt_s: float | None) -> Step:
    def step(estimator: LinkEstimator, now_s: float) -> float:
        estimator.on_ping(now_s, rtt_s)
        return now_s

    return step


def transfer(rate: float, burst: float, n_bytes: int, idle_s: float, direction: str) -> Step:
    def step(estimator: LinkEstimator, now_s: float) -> float:
        link = FluidLink(rate, burst=burst, seed=n_bytes)
        train = link.train(chunks(n_bytes), now_s + idle_s, idle_s=idle_s)
        estimator.on_transfer(train.ended_s, replace(train, direction=direction))  # type: ignore[arg-type]
        return train.ended_s

    return step


def noted(name: str) -> Step:
    def step(estimator: LinkEstimator, now_s: float) -> float:
        getattr(estimator, name)(now_s)
        return now_s + 0.1

    return step


STEPS = st.one_of(
    st.builds(ping, st.none() | st.floats(1e-4, 0.5)),
    st.builds(
        transfer,
        rate=st.sampled_from([1e5, 1.1e5, 1e6, 3e7]),
        burst=st.sampled_from([0.0, 7e4]),
        n_bytes=st.integers(6, 400_000),
        idle_s=st.sampled_from([0.0, 0.05, 0.4, 5.0]),
        direction=st.sampled_from(["up", "up", "down"]),
    ),
    st.sampled_from(["on_probe_failed", "on_down", "on_up"]).map(noted),
)


def run(estimator: LinkEstimator, steps: list[Step], now_s: float) -> float:
    for step in steps:
        now_s = step(estimator, now_s)
    return now_s


def through_text(estimator: object, **options: Any) -> Any:
    return json.loads(json.dumps(save_state(estimator, **options), allow_nan=False))


@given(before=st.lists(STEPS, max_size=30), after=st.lists(STEPS, max_size=15))
@settings(deadline=None)
def test_a_copy_estimates_the_same_for_ever_after(before: list[Step], after: list[Step]) -> None:
    original, copy = LinkEstimator(), LinkEstimator(EstimatorConfig(rto_s=9.0))
    original.on_up(100.0)
    now_s = run(original, before, 100.0)
    load_state(copy, through_text(original))
    for step in after:
        assert copy.estimate(now_s) == original.estimate(now_s)
        assert copy.estimate(now_s + 3.0) == original.estimate(now_s + 3.0)
        ended_s = step(copy, now_s)
        now_s = step(original, now_s)
        assert ended_s == now_s
    assert copy.estimate(now_s) == original.estimate(now_s)
    assert save_state(copy) == save_state(original)


class Pair(NamedTuple):
    """A record of a test."""

    first: float
    second: str


class Factor:
    """What another room might keep."""

    def __init__(self) -> None:
        self.level = 0.0
        self.seen_s: float | None = None


@dataclass(frozen=True)
class Key:
    """A record with a rule."""

    cut: int

    def __post_init__(self) -> None:
        if self.cut < 0:
            raise ValueError("a cut before the first")


class Held:
    """Everything that a state may consist of."""

    def __init__(self) -> None:
        self.factors: dict[Any, Factor] = {}
        self.values: deque[Any] = deque(maxlen=4)
        self.anything: Any = None
        self.key = Key(0)
        self.is_on = False
        self.count = 0


TYPES = {**ESTIMATOR_TYPES, "held": Held, "factor": Factor, "pair": Pair, "key": Key}
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = st.recursive(
    PLAIN | st.builds(Pair, st.floats(), st.text(max_size=3)) | st.builds(Key, st.integers(0, 9)),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=8,
)
KEYS = st.text(max_size=3) | st.tuples(st.integers(0, 3), st.text(max_size=3)) | st.builds(Key, st.integers(0, 9))


def held(keys: list[Any], values: list[Any], anything: Any, level: float) -> Held:
    one = Held()
    for key in keys:
        one.factors[key] = Factor()
        one.factors[key].level = level
    one.values.extend(values)
    one.anything, one.key, one.is_on, one.count = anything, Key(3), True, 7
    return one


HELD = st.builds(held, st.lists(KEYS, max_size=3), st.lists(VALUES, max_size=4), VALUES, st.floats())


@given(HELD)
def test_floats_records_and_keys_survive_exactly(original: Held) -> None:
    copy = Held()
    load_state(copy, through_text(original, types=TYPES), TYPES)
    assert repr(list(copy.values)) == repr(list(original.values))  # repr: a nan is equal to nothing
    assert repr(copy.anything) == repr(original.anything)
    assert (copy.key, copy.is_on, copy.count) == (original.key, original.is_on, original.count)
    assert copy.values.maxlen == 4
    assert copy.factors.keys() == original.factors.keys()
    assert repr([f.level for f in copy.factors.values()]) == repr([f.level for f in original.factors.values()])


JSON = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner))


def damaged(data: Any, path: list[int], new: Any) -> Any:
    """The data with one part, found by the path, replaced."""
    if not path or not isinstance(data, list | dict) or not data:
        return new
    if isinstance(data, list):
        at = path[0] % len(data)
        return [damaged(part, path[1:], new) if index == at else part for index, part in enumerate(data)]
    name = sorted(data)[path[0] % len(data)]
    return {**data, name: damaged(data[name], path[1:], new)}


@given(HELD, st.lists(st.integers(0, 50), max_size=6), JSON | st.sampled_from([*TYPES, "deque", "dict", "set"]))
def test_damaged_data_is_a_state_error_or_a_state(original: Held, path: list[int], new: Any) -> None:
    data = damaged(through_text(original, types=TYPES), path, new)
    with contextlib.suppress(StateError):  # any other error would escape
        load_state(Held(), data, TYPES)


def small_state(**changes: Any) -> Any:
    estimator = LinkEstimator()
    estimator.on_up(1.0)
    state = through_text(estimator)
    for name, value in changes.items():
        state[1][name] = value
    return state


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (None, "LinkEstimator: "),
        (["path-tracker", {}], "LinkEstimator: "),
        (small_state(_rates_unknown=None), "LinkEstimator._rates_unknown: "),
        (small_state(_rtts=["deque", 5]), "LinkEstimator._rtts: "),
        (small_state(_up=["os.system", {}]), "LinkEstimator._up: "),
        (small_state(_heard_s=["float", "1e5"]), "LinkEstimator._heard_s: "),
        (small_state(extra=1), "LinkEstimator.extra: unknown"),
        (["estimator", {}], "LinkEstimator."),
    ],
)
def test_the_error_names_the_field(data: Any, field: str) -> None:
    with pytest.raises(StateError, match=field.replace(".", r"\.")):
        load_state(LinkEstimator(), data)


def test_nested_brackets_do_not_use_up_the_stack() -> None:
    nested: Any = 1
    for _ in range(500):
        nested = ["tuple", nested]
    with pytest.raises(StateError, match="too deeply"):
        load_state(LinkEstimator(), small_state(_heard_s=nested))


class Recorded(LinkEstimator):
    """An estimator with something in it that is no state."""

    def __init__(self) -> None:
        super().__init__()
        self.sink = print


def test_a_subclass_is_saved_as_its_base_without_what_is_skipped() -> None:
    original, copy = Recorded(), LinkEstimator()
    now_s = run(original, [ping(0.02), transfer(1e6, 0.0, 10_000, 0.4, "up")], 5.0)
    load_state(copy, through_text(original, skip={"sink"}))
    assert copy.estimate(now_s) == original.estimate(now_s)
    with pytest.raises(UsageError, match=r"Recorded\.sink"):
        save_state(original)


def test_infinities_and_the_sign_of_zero_survive() -> None:
    one = Held()
    one.anything = (math.inf, -math.inf, -0.0)
    copy = Held()
    load_state(copy, through_text(one, types=TYPES), TYPES)
    assert repr(copy.anything) == "(inf, -inf, -0.0)"
