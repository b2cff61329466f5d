"""What the two ends say to each other: one small immutable class per message type.

The bytes are in `splitd.transport.wire.frames` and docs/wire-format.md. The epoch and the request id are not part of a
message: they belong to the envelope (`wire.Envelope`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol, TypeAlias

import numpy as np

from splitd.errors import WireError

Buffer: TypeAlias = bytes | bytearray | memoryview

# In the place of a model's digest: none yet. No network has it, except by a chance of 1 in 2^128.
NO_MODEL = "00" * 16


def _check_numbers(*numbers: float) -> None:
    """Raise WireError for a time or a load that no peer would accept: infinite, not a number, or negative."""
    if not all(math.isfinite(number) and number >= 0.0 for number in numbers):
        raise WireError(f"times and loads must be finite and not negative: {numbers}")


class MessageType(IntEnum):
    """The type byte; values are part of the wire format and never reused."""

    HELLO = 1
    WELCOME = 2
    REFUSE = 3
    PING = 4
    PONG = 5
    DATA = 6
    RESULT = 7
    ACK = 8
    REPORT = 9
    ERROR = 10
    CANCEL = 11
    PROBE = 12
    PROBE_REPORT = 13
    BYE = 14
    OFFER = 15
    GET_FILE = 16
    FILE_PART = 17


class PlanLike(Protocol):
    """Which elements of a tensor a chunk holds; `splitd.native.codecs.ChunkPlan` is one."""

    @property
    def first_element(self) -> int:
        """Index of the first element in the flattened tensor."""

    @property
    def n_elements(self) -> int:
        """Number of elements."""


class EncodedLike(Protocol):
    """One encoded chunk; `splitd.native.codecs.EncodedChunk` is one."""

    @property
    def payload(self) -> Buffer:
        """The bytes that cross."""

    @property
    def codec(self) -> int:
        """Codec id, 0..255."""

    @property
    def flags(self) -> int:
        """Codec flags, 0..255."""


@dataclass(frozen=True, slots=True)
class TensorMeta:
    """Shape (with the batch dimension) and numpy dtype name of one tensor that crosses."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def n_elements(self) -> int:
        """Product of the dimensions; 1 for a 0-d tensor."""
        product = 1
        for size in self.shape:
            product *= size
        return product

    @property
    def n_bytes(self) -> int:
        """Bytes of the decoded tensor."""
        return self.n_elements * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Hello:
    """A device introduces itself; `model_digest` and `cut_names_hash` are 32 hex digits each.

    A device that has no network yet says NO_MODEL for both: it wants the server's, and sends no requests. A server that
    knows no OFFER refuses it like any device with another model.
    """

    model_digest: str
    cut_names_hash: str
    version: str
    name: str


@dataclass(frozen=True, slots=True)
class Welcome:
    """The server accepts: the envelope's epoch is the connection's from now on. `document` is a JSON object."""

    window_bytes: int
    max_request_bytes: int
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refuse:
    """The server (or an older, or a newer one: the layout is frozen) does not want to talk; says why."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Offer:
    """The answer to a HELLO without a network: the file that holds the server's; its epoch is the connection's.

    `file_digest` is the XXH3-128 of the file's bytes, `model_digest` the one that a later HELLO will say; 32 hex digits
    each. `name` is for people.
    """

    file_digest: str
    model_digest: str
    n_bytes: int
    name: str


@dataclass(frozen=True, slots=True)
class GetFile:
    """The device wants `n_bytes` bytes of the offered file, from `offset` on; all its parts carry this request id."""

    file_digest: str
    offset: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class FilePart:
    """The bytes of the file from `offset` on; parts come in order, without a gap."""

    offset: int
    payload: Buffer


@dataclass(frozen=True, slots=True)
class ServerLoad:
    """How long a request that came now would wait, and how busy the server is (1.0 = fully)."""

    queue_s: float = 0.0
    load: float = 0.0

    def __post_init__(self) -> None:
        _check_numbers(self.queue_s, self.load)


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there?"""

    sequence: int


@dataclass(frozen=True, slots=True)
class Pong:
    """Yes; and this is the server's load now."""

    sequence: int
    load: ServerLoad


@dataclass(frozen=True, slots=True)
class Chunk:
    """Chunk `chunk_index` of `chunk_count` of one tensor, on its way out (DATA) or back (RESULT).

    `deadline_ms` is what is left when the chunk is sent, None without a deadline.
    """

    model_digest: str
    deadline_ms: int | None
    cut: int
    tensor_index: int
    tensor_count: int
    tensor: TensorMeta
    codec: int
    flags: int
    chunk_index: int
    chunk_count: int
    first_element: int
    n_elements: int
    payload: Buffer
    is_result: bool = False


@dataclass(frozen=True, slots=True)
class Ack:
    """All payload bytes of chunks and probes received in this epoch so far."""

    received_bytes: int


@dataclass(frozen=True, slots=True)
class ServerTimings:
    """Where the server's time went for one request, and how loaded it was."""

    queue_s: float
    decode_s: float
    compute_s: float
    load: float = 0.0

    def __post_init__(self) -> None:
        _check_numbers(self.queue_s, self.decode_s, self.compute_s, self.load)


@dataclass(frozen=True, slots=True)
class ArrivalTimes:
    """When each message of a train arrived: seconds after the first, and bytes (header and payload)."""

    offsets_s: tuple[float, ...]
    n_bytes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Precedes the result chunks of a request: timings, and when the request's chunks arrived.

    `held_s` is the time from the arrival of the last chunk to the sending of this report.
    """

    held_s: float
    timings: ServerTimings
    arrivals: ArrivalTimes


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """A request ends in a typed error."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """The device no longer waits for this request."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Message `index` of `count` of an active probe; the request id is the probe's."""

    index: int
    count: int
    payload: Buffer


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """When the messages of a probe arrived; `held_s` as in `Report`."""

    held_s: float
    arrivals: ArrivalTimes


@dataclass(frozen=True, slots=True)
class Bye:
    """This end closes on purpose."""

    reason: str


Message: TypeAlias = (
    Hello
    | Welcome
    | Refuse
    | Ping
    | Pong
    | Chunk
    | Ack
    | Report
    | ErrorReply
    | Cancel
    | Probe
    | ProbeReport
    | Bye
    | Offer
    | GetFile
    | FilePart
)
