"""What a latency profile depends on: if any of it changes, the numbers are somebody else's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from splitd.calibration.profile import untrusted
from splitd.calibration.profile.table import ascending
from splitd.errors import ProfileError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MAX_POSITIONS = 2048  # k = 0..K; tf_efficientnetv2_xl has 100 blocks and about 1500 edges
# A profile comes from the other end of the link: these bound what its tables may take before any of them is built.
MAX_BATCH_SIZES = 64
MAX_BATCH = 65_536
MAX_CODECS = 64
MAX_THREADS = 4096

Role = Literal["device", "server"]


@dataclass(frozen=True)
class ProfileKey:
    """The model, how it is cut, the machine and the settings that a profile was measured with.

    `device` names the processor; `power_mode` is its clock policy ("-" where it cannot be read); `throttle` is the
    share of full speed (1.0: none); `executor` is what ran the segments, in which version; `batch_sizes` ascend;
    `codecs` are labels, those of images at k = 0 included.
    """

    model_digest: str
    cut_names: tuple[str, ...]
    device: str
    power_mode: str
    executor: str
    executor_version: str
    threads: int
    throttle: float
    batch_sizes: tuple[int, ...]
    codecs: tuple[str, ...]
    role: Role = "device"

    def __post_init__(self) -> None:
        if len(self.cut_names) < 2:
            raise ProfileError("cut_names: a chain has at least an input and an output")
        if not self.batch_sizes or self.batch_sizes[0] < 1 or not ascending(self.batch_sizes):
            raise ProfileError(f"batch_sizes: {list(self.batch_sizes)} does not ascend from 1 or more")

    def changes(self, other: ProfileKey) -> list[str]:
        """Say in words what differs between this key and another, one line each; empty if nothing does."""
        return changed_fields(self, other)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, value: object) -> ProfileKey:
        """Rebuild a key from untrusted JSON; raises ProfileError."""
        found = untrusted.mapping(value, "key")
        if set(found) != set(_READERS):
            raise ProfileError(f"key: expected the fields {', '.join(_READERS)}")
        return cls(**{name: read(found[name], f"key.{name}") for name, read in _READERS.items()})


def changed_fields(was: DataclassInstance, now: DataclassInstance) -> list[str]:
    """Say in words which fields of two dataclasses of one kind differ, one line each."""
    return [
        f"{field.name}: was {_shown(getattr(was, field.name))}, is {_shown(getattr(now, field.name))}"
        for field in fields(was)
        if getattr(was, field.name) != getattr(now, field.name)
    ]


def _shown(value: object) -> str:
    listed = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return listed if len(listed) <= 80 else f"{listed[:77]}..."


def _texts(most: int) -> Callable[[object, str], tuple[str, ...]]:
    return lambda value, name: tuple(untrusted.text(item, name) for item in untrusted.items(value, name, most=most))


def _sizes(value: object, name: str) -> tuple[int, ...]:
    found = untrusted.items(value, name, most=MAX_BATCH_SIZES)
    return tuple(untrusted.whole(item, name, least=1, most=MAX_BATCH) for item in found)


def _role(value: object, name: str) -> str:
    if value not in get_args(Role):
        raise ProfileError(f"{name}: expected one of {', '.join(get_args(Role))}")
    return str(value)


_READERS: dict[str, Callable[[object, str], Any]] = {
    "model_digest": untrusted.text,
    "cut_names": _texts(MAX_POSITIONS),
    "device": untrusted.text,
    "power_mode": untrusted.text,
    "executor": untrusted.text,
    "executor_version": untrusted.text,
    "threads": lambda value, name: untrusted.whole(value, name, most=MAX_THREADS),
    "throttle": lambda value, name: untrusted.number(value, name, most=1.0),
    "batch_sizes": _sizes,
    "codecs": _texts(MAX_CODECS),
    "role": _role,
}
