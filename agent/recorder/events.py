"""What a recording is made of: everything that the Decider and the link estimator were given, in its order.

One event is one line, `["tag", {field: value, …}]`. A recording begins with `start`, which holds the whole state of
both, so that every file can be replayed by itself. Infinite numbers are written as Python's json does (`Infinity`).
No images and no tensors are in it: only times, sizes, names and settings.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from splitd.agent.decide import CandidateCost, CandidateKey, DeciderConfig, Done, ReportedQueue, Wanted
from splitd.errors import StateError
from splitd.transport.estimate import Transfer

VERSION = 1

Document = dict[str, Any]


@dataclass(frozen=True)
class Start:
    """Everything that later decisions depend on; `time` is Unix seconds, `now_s` the same moment on the agent's clock.

    `estimator` and `learned` are states as `save_state` returns them, `device` and `server` latency profiles.
    """

    version: int
    time: float
    now_s: float
    device: Document
    server: Document | None
    config: DeciderConfig
    codecs: tuple[str, ...]
    refusals: tuple[tuple[int, str, str], ...]
    result_elements: tuple[int, ...]
    pinned: tuple[str, str | None] | None
    learned: Any
    estimator: Any


@dataclass(frozen=True)
class Ponged:
    """The estimator was given a round trip (None: it met other bytes)."""

    now_s: float
    rtt_s: float | None


@dataclass(frozen=True)
class Crossed:
    """The estimator was given a transfer or a probe."""

    now_s: float
    transfer: Transfer


@dataclass(frozen=True)
class Doubted:
    """The estimator was told that a probe or a request did not come back."""

    now_s: float


@dataclass(frozen=True)
class WentUp:
    """The session became ready."""

    now_s: float


@dataclass(frozen=True)
class WentDown:
    """The session lost its server."""

    now_s: float


@dataclass(frozen=True)
class Looked:
    """The link was looked at for the next decision."""

    now_s: float
    queue: ReportedQueue | None


@dataclass(frozen=True)
class Decided:
    """The Decider chose for a batch; `predicted_s` is None where nothing could be predicted."""

    wanted: Wanted
    chosen: CandidateKey
    label: str
    explored: bool
    predicted_s: float | None
    give_up_s: float


@dataclass(frozen=True)
class Taught:
    """The Decider was told what came of a batch."""

    cost: CandidateCost
    done: Done


@dataclass(frozen=True)
class Followed:
    """The session has connected to a server with this profile."""

    server: Document


@dataclass(frozen=True)
class Calibrated:
    """The device was measured anew."""

    device: Document


@dataclass(frozen=True)
class Configured:
    """The configuration was read again."""

    config: DeciderConfig


@dataclass(frozen=True)
class Pinned:
    """Somebody pinned a cut, or undid it (None)."""

    pin: tuple[str, str | None] | None


Event = (
    Start
    | Ponged
    | Crossed
    | Doubted
    | WentUp
    | WentDown
    | Looked
    | Decided
    | Taught
    | Followed
    | Calibrated
    | Configured
    | Pinned
)

_KINDS: dict[str, type[Any]] = {
    "start": Start,
    "pong": Ponged,
    "transfer": Crossed,
    "doubt": Doubted,
    "up": WentUp,
    "down": WentDown,
    "look": Looked,
    "decide": Decided,
    "learn": Taught,
    "server": Followed,
    "device": Calibrated,
    "configure": Configured,
    "pin": Pinned,
}
_TAGS = {kind: tag for tag, kind in _KINDS.items()}
_ADAPTERS: dict[str, TypeAdapter[Any]] = {tag: TypeAdapter(kind) for tag, kind in _KINDS.items()}


def write_event(event: Event) -> str:
    """Return an event as one line without its end."""
    tag = _TAGS[type(event)]
    return json.dumps([tag, _ADAPTERS[tag].dump_python(event)], separators=(",", ":"))


def read_event(line: str) -> Event:
    """Return the event of one line; raises StateError for anything that is none."""
    try:
        tag, fields = json.loads(line)
        event: Event = _ADAPTERS[tag].validate_python(fields)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StateError(f"not an event of a recording: {_first_fault(error)}") from None
    return event


def _first_fault(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
    return str(error)
