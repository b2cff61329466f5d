"""Copies the state of an estimator into JSON values and back, exactly, so that a replay can begin in the middle.

    None, bool, int, str     themselves
    float                    itself; what JSON has no number for: ["float", "inf"], "-inf" or "nan"
    tuple, list, set         ["tuple", value, …], ["list", value, …], ["set", value, …]
    deque                    ["deque", maxlen, value, …]
    dict                     ["dict", [key, value], …], in the dict's order
    a class of the table     [its tag, {field: value, …}]

Only classes of the table can appear, so that a damaged or hostile file cannot make this process import or build
anything else. The state is a tree: an object that stands in two places comes back as two objects.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

from splitd.errors import StateError, UsageError
from splitd.transport.estimate.link import EstimatorConfig, LinkEstimator
from splitd.transport.estimate.rate_filter import RateFilter
from splitd.transport.estimate.robust import TheilSen
from splitd.transport.estimate.tracker import PathTracker, Seen

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
T = TypeVar("T")

# Tags are part of the files of a recording: a class may be renamed, its tag stays.
ESTIMATOR_TYPES: Mapping[str, type] = {
    "estimator": LinkEstimator,
    "estimator-config": EstimatorConfig,
    "path-tracker": PathTracker,
    "rate-filter": RateFilter,
    "theil-sen": TheilSen,
    "seen": Seen,
}

# What JSON has itself. Exactly these: a subclass (an enum, a numpy number) would come back as something else.
_PLAIN = (type(None), bool, int, str)
# What is written as a list with its kind in front; tuples may hold anything that a state may hold.
_SEQUENCES: Mapping[str, Callable[[Iterable[Any]], Any]] = {"tuple": tuple, "list": list, "set": set}
# Python writes these as Infinity and NaN, which is not JSON and which other readers refuse.
_UNWRITABLE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
# An estimator is five deep (path, deque, pair, record, number). Stops nested brackets from using up the stack.
_MAX_DEPTH = 24


def save_state(obj: object, types: Mapping[str, type] = ESTIMATOR_TYPES, *, skip: Collection[str] = ()) -> Json:
    """Return the state of `obj` as values that `json.dumps` writes without loss.

    `types` gives the classes that may appear, by tag; `obj` may also be of a subclass of one of them. `skip` names
    attributes of `obj` itself that are no state, such as a recorder. Raises UsageError for anything else.
    """
    return _Saver(types).root(obj, skip)


def load_state(
    obj: object, data: object, types: Mapping[str, type] = ESTIMATOR_TYPES, *, skip: Collection[str] = ()
) -> None:
    """Give `obj`, freshly made, the state that `save_state` returned; its attributes in `skip` stay as they are.

    What `obj` holds says what is expected: the same attributes, each of the kind that it has now; None may become
    anything, and a float an int. A class of the table that stands in a container is made without arguments.

    Raises StateError, which names the field, for data that does not fit; `obj` is of no use then.
    """
    _Loader(types).root(obj, data, skip)


class _Saver:
    def __init__(self, types: Mapping[str, type]) -> None:
        self._types = types

    def root(self, obj: object, skip: Collection[str]) -> Json:
        return self._object(_tag_of(obj, self._types), obj, skip, type(obj).__name__)

    def _value(self, value: Any, where: str) -> Json:
        if type(value) in _PLAIN:
            plain: Json = value
            return plain
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else ["float", str(float(value))]
        if type(value) is deque:
            return ["deque", value.maxlen, *self._values(value, where)]
        if type(value) is dict:
            return ["dict", *(self._values(item, f"{where}[{item[0]!r}]") for item in value.items())]
        for tag, kind in _SEQUENCES.items():
            if type(value) is kind:
                return [tag, *self._values(value, where)]
        return self._object(_tag_of(value, self._types, where), value, (), where)

    def _values(self, values: Iterable[Any], where: str) -> list[Json]:
        return [self._value(value, f"{where}[{index}]") for index, value in enumerate(values)]

    def _object(self, tag: str, obj: Any, skip: Collection[str], where: str) -> Json:
        # Every attribute, not a list of them: one that is added later cannot be forgotten.
        fields = {name: value for name, value in _fields(obj).items() if name not in skip}
        return [tag, {name: self._value(value, f"{where}.{name}") for name, value in fields.items()}]


class _Loader:
    def __init__(self, types: Mapping[str, type]) -> None:
        self._types = types
        self._depth = 0

    def root(self, obj: object, data: object, skip: Collection[str]) -> None:
        where = type(obj).__name__
        tag, rest = _tagged(data, where)
        if tag != _tag_of(obj, self._types):
            raise StateError(f"{where}: the state of a {tag}")
        self._into(obj, rest, skip, where)

    def _value(self, data: object, fresh: Any, where: str) -> Any:
        """Return the value that `data` stands for; `fresh` is what a freshly made object has there, None if nothing."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise StateError(f"{where}: nested too deeply")
        value = data if type(data) in (*_PLAIN, float) else self._composed(data, fresh, where)
        self._depth -= 1
        kinds = (int, float) if type(fresh) is float else (type(fresh),)
        if fresh is not None and type(value) not in kinds:
            raise StateError(f"{where}: {type(value).__name__} instead of {type(fresh).__name__}")
        return value

    def _composed(self, data: object, fresh: Any, where: str) -> Any:
        tag, rest = _tagged(data, where)
        if tag == "float":
            return self._unwritable(rest, where)
        if tag == "deque":
            return self._deque(rest, fresh, where)
        if tag == "dict":
            return dict(self._pair(item, f"{where}[{index}]") for index, item in enumerate(rest))
        if tag in _SEQUENCES:
            return _made(_SEQUENCES[tag], where, self._values(rest, where))
        if tag not in self._types:
            raise StateError(f"{where}: unknown type {tag!r}")
        return self._object(self._types[tag], rest, fresh, where)

    def _values(self, values: Iterable[object], where: str) -> list[Any]:
        return [self._value(value, None, f"{where}[{index}]") for index, value in enumerate(values)]

    def _unwritable(self, rest: list[Any], where: str) -> float:
        if len(rest) != 1 or not isinstance(rest[0], str) or rest[0] not in _UNWRITABLE:
            raise StateError(f"{where}: not a float")
        return _UNWRITABLE[rest[0]]

    def _deque(self, rest: list[Any], fresh: Any, where: str) -> deque[Any]:
        maxlen, values = (rest[0], rest[1:]) if rest else (0, [])
        if fresh is not None and (not isinstance(fresh, deque) or maxlen != fresh.maxlen):
            raise StateError(f"{where}: a deque of another length")
        if maxlen is not None and (type(maxlen) is not int or maxlen < len(values)):
            raise StateError(f"{where}: {len(values)} values in a deque of at most {maxlen!r}")
        return deque(self._values(values, where), maxlen)

    def _pair(self, item: object, where: str) -> tuple[Any, Any]:
        if not isinstance(item, list) or len(item) != 2:
            raise StateError(f"{where}: not a key and a value")
        key, value = self._values(item, where)
        _made(hash, where, key)  # a list or a dict cannot be a key
        return key, value

    def _object(self, kind: type[T], rest: list[Any], fresh: Any, where: str) -> T:
        """Return an object of the table: records are made from their fields, all others restored in place."""
        if _is_record(kind):
            names = kind._fields if issubclass(kind, tuple) else [f.name for f in dataclasses.fields(kind)]  # type: ignore[attr-defined, arg-type]
            fields = _same_fields(rest, names, where)
            values = {name: self._value(fields[name], None, f"{where}.{name}") for name in names}
            return _made(lambda given: kind(**given), where, values)
        # In place where there is an object already: its class then needs no constructor without arguments.
        obj: T = fresh if type(fresh) is kind else kind()
        self._into(obj, rest, (), where)
        return obj

    def _into(self, obj: object, rest: list[Any], skip: Collection[str], where: str) -> None:
        present = {name: value for name, value in _fields(obj).items() if name not in skip}
        data = _same_fields(rest, present, where)
        for name, fresh in present.items():
            setattr(obj, name, self._value(data[name], fresh, f"{where}.{name}"))


def _tag_of(obj: object, types: Mapping[str, type], where: str = "") -> str:
    """Return the tag of an object's class, or of the nearest of its base classes."""
    tags = {kind: tag for tag, kind in types.items()}
    for kind in obj.__class__.__mro__:
        if kind in tags:
            return tags[kind]
    raise UsageError(f"{where or 'state'}: a {type(obj).__name__} cannot be saved")


def _is_record(kind: type) -> bool:
    """Tell whether objects of a class are immutable, and so made from their fields."""
    if dataclasses.is_dataclass(kind):
        return bool(kind.__dataclass_params__.frozen)  # type: ignore[attr-defined]
    return issubclass(kind, tuple)


def _fields(obj: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(obj):
        return {field.name: getattr(obj, field.name) for field in dataclasses.fields(obj)}
    return obj._asdict() if isinstance(obj, tuple) else dict(obj.__dict__)  # type: ignore[attr-defined]


def _same_fields(rest: list[Any], names: Iterable[str], where: str) -> dict[str, Any]:
    """Return the fields of an object if they are exactly the expected ones."""
    if len(rest) != 1 or not isinstance(rest[0], dict):
        raise StateError(f"{where}: not a list of fields")
    fields: dict[str, Any] = rest[0]
    for name in set(names) ^ fields.keys():
        raise StateError(f"{where}.{name}: {'unknown' if name in fields else 'missing'}")
    return fields


def _tagged(data: object, where: str) -> tuple[str, list[Any]]:
    if not isinstance(data, list) or not data or not isinstance(data[0], str):
        raise StateError(f"{where}: not a value that was saved")
    return data[0], data[1:]


def _made(make: Callable[[Any], T], where: str, given: Any) -> T:
    """Return what `make` returns; what a class or a hash says against the values is a fault of the data."""
    try:
        return make(given)
    except (TypeError, ValueError) as error:
        raise StateError(f"{where}: {error}") from error
