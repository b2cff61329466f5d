"""The local protocol between applications and the agent: one JSON header frame, then one frame per array or image.

    request   {"v": 1, "id": N, "deadline_ms": T|null, "items": [{"kind": K, "shape": [...]|null}, ...]}
    reply     {"v": 1, "id": N, "split": S, "codec": C, "source": W, "timings": {...},
               "outputs": [{"shape": [...], "dtype": D}, ...]}
    error     {"v": 1, "id": N, "error": {"code": C, "message": M}}

One frame per item or output follows the header. Kinds: `encoded` (JPEG, PNG, ... bytes), `uint8` (H, W, C) or (H, W),
`float32` (what the model takes for one sample, already prepared: (C, H, W), (T,), ...). Whole numbers, such as tokens,
are handed in as float32 too, which holds them exactly up to 2**24.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from splitd.errors import InputError, RemoteError, SplitdError

PROTOCOL_VERSION = 1
MAX_HEADER_BYTES = 64 * 1024  # 256 items describe themselves in less
MAX_ITEMS = 256
MAX_SIDE_PIXELS = 1 << 15
MAX_DIMENSION = 1 << 31  # of a prepared tensor; an hour of sound has 2**28 samples
MAX_RANK = 7  # with the batch 8, as on the wire
MAX_WHOLE = 1 << 24  # float32 holds every whole number up to here
_IMAGE_RANKS = (2, 3)

Kind = Literal["encoded", "uint8", "float32"]
Item = bytes | npt.NDArray[Any]
Source = Literal["server", "local", "finished-locally"]


@dataclass(frozen=True)
class Request:
    """What an application asks: `items` are encoded images, uint8 images or prepared arrays, all of one kind."""

    request_id: int
    kind: Kind
    items: tuple[Item, ...]
    deadline_ms: float | None


@dataclass(frozen=True)
class Answer:
    """The result of one request: one array per model output, batch first; `timings` in seconds."""

    request_id: int
    outputs: tuple[npt.NDArray[Any], ...]
    split: str
    codec: str
    source: Source
    timings: dict[str, float]


def kind_of(item: Item) -> Kind:
    """Classify one input item.

    Raises:
        InputError: Neither bytes, nor a uint8 image, nor an array of other numbers with 1 to 7 dimensions.
    """
    if isinstance(item, bytes):
        return "encoded"
    if item.dtype == np.uint8:
        if item.ndim in _IMAGE_RANKS:
            return "uint8"
    elif item.dtype.kind in "fiub" and 0 < item.ndim <= MAX_RANK:
        return "float32"
    raise InputError(
        f"an input is image bytes, a uint8 image (height, width, channels) or a prepared float32 array; "
        f"this one is {item.dtype} {item.shape}"
    )


def as_float32(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return numbers of any dtype as float32; raises InputError for whole ones that it does not hold."""
    if array.dtype.kind in "iu" and array.size and max(abs(int(array.min())), abs(int(array.max()))) > MAX_WHOLE:
        raise InputError(f"whole numbers cross as float32, which holds them up to {MAX_WHOLE}; these are larger")
    return np.asarray(array, dtype="<f4")


def encode_request(request: Request) -> list[bytes | memoryview]:
    """Return the frames of a request."""
    items = [
        {"kind": request.kind, "shape": None if isinstance(item, bytes) else list(item.shape)} for item in request.items
    ]
    header = {"v": PROTOCOL_VERSION, "id": request.request_id, "deadline_ms": request.deadline_ms, "items": items}
    return [json.dumps(header).encode(), *(_item_frame(_as_sent(item)) for item in request.items)]


def decode_request(frames: list[bytes]) -> Request:
    """Parse and check a request.

    Raises:
        InputError: Anything malformed; nothing larger than the frames themselves is allocated.
    """
    header = _header(frames)
    items = header.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InputError("request header: `items` must be a list of objects")
    if not 0 < len(items) <= MAX_ITEMS:
        raise InputError(f"a request holds 1 to {MAX_ITEMS} inputs; this one has {len(items)}")
    if len(items) != len(frames) - 1:
        raise InputError(f"request header announces {len(items)} inputs, but {len(frames) - 1} frames follow")
    kinds = {str(item.get("kind")) for item in items}
    if len(kinds) != 1:
        raise InputError(f"the inputs of one request must be of one kind; these are {', '.join(sorted(kinds))}")
    kind = _check_kind(kinds.pop())
    parsed = tuple(_parse_item(kind, item.get("shape"), frame) for item, frame in zip(items, frames[1:], strict=True))
    return Request(_request_id(header), kind, parsed, _deadline_ms(header.get("deadline_ms")))


def encode_answer(answer: Answer) -> list[bytes | memoryview]:
    """Return the frames of an answer."""
    header = {
        "v": PROTOCOL_VERSION,
        "id": answer.request_id,
        "split": answer.split,
        "codec": answer.codec,
        "source": answer.source,
        "timings": answer.timings,
        "outputs": [{"shape": list(out.shape), "dtype": out.dtype.str} for out in answer.outputs],
    }
    return [json.dumps(header).encode(), *(_item_frame(out) for out in answer.outputs)]


def encode_error(request_id: int, error: SplitdError) -> list[bytes | memoryview]:
    """Return the frames of a typed error."""
    body = {"code": error.code, "message": str(error)}
    return [json.dumps({"v": PROTOCOL_VERSION, "id": request_id, "error": body}).encode()]


def decode_reply(frames: list[bytes]) -> Answer | tuple[int, RemoteError]:
    """Parse what the agent sent back: an answer, or the id of the request and its error."""
    header = _header(frames)
    if "error" in header:
        return int(header["id"]), RemoteError(str(header["error"]["code"]), str(header["error"]["message"]))
    outputs = tuple(
        np.frombuffer(frame, dtype=np.dtype(meta["dtype"])).reshape(meta["shape"])
        for meta, frame in zip(header["outputs"], frames[1:], strict=True)
    )
    return Answer(
        int(header["id"]), outputs, header["split"], header["codec"], header["source"], dict(header["timings"])
    )


def request_id_of(frames: list[bytes]) -> int:
    """Return the id of a request that could not be parsed further, or 0, so that its error finds its caller."""
    try:
        return _request_id(_header(frames))
    except InputError:
        return 0


def _header(frames: list[bytes]) -> dict[str, Any]:
    if not frames or len(frames[0]) > MAX_HEADER_BYTES:
        raise InputError(f"a message starts with a JSON header of at most {MAX_HEADER_BYTES} bytes")
    try:
        header = json.loads(frames[0])
    except (ValueError, RecursionError):
        raise InputError("the message's header is not JSON") from None
    if not isinstance(header, dict) or header.get("v") != PROTOCOL_VERSION:
        raise InputError(f"this end speaks local protocol {PROTOCOL_VERSION}; update the older of the two ends")
    return header


def _request_id(header: dict[str, Any]) -> int:
    value = header.get("id")
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise InputError("request header: `id` must be an integer from 0 to 2**63 - 1")
    return value


def _deadline_ms(value: object) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value) or value <= 0:  # type: ignore[arg-type, operator]
        raise InputError("request header: `deadline_ms` must be a positive number")
    return float(value)  # type: ignore[arg-type]


def _check_kind(kind: str) -> Kind:
    if kind not in ("encoded", "uint8", "float32"):
        raise InputError(f"unknown kind of input {kind!r}; it is one of encoded, uint8, float32")
    return kind  # type: ignore[return-value]


def _parse_item(kind: Kind, shape: object, frame: bytes) -> Item:
    if kind == "encoded":
        return bytes(frame)
    ranks, most = (_IMAGE_RANKS, MAX_SIDE_PIXELS) if kind == "uint8" else (range(1, MAX_RANK + 1), MAX_DIMENSION)
    if not isinstance(shape, list) or len(shape) not in ranks or any(type(n) is not int for n in shape):
        raise InputError(f"a {kind} input needs a shape of {ranks[0]} to {ranks[-1]} integers, not {shape!r}")
    if any(not 0 < n <= most for n in shape):
        raise InputError(f"a {kind} input's sides are 1 to {most}; this one's shape is {shape}")
    dtype = np.dtype("u1") if kind == "uint8" else np.dtype("<f4")
    expected = math.prod(shape) * dtype.itemsize
    if len(frame) != expected:
        raise InputError(f"a {kind} input of shape {shape} has {expected} bytes; {len(frame)} came")
    return np.frombuffer(frame, dtype=dtype).reshape(shape)


def _as_sent(item: Item) -> Item:
    return item if isinstance(item, bytes) or item.dtype == np.uint8 else as_float32(item)


def _item_frame(item: Item) -> bytes | memoryview:
    if isinstance(item, bytes):
        return item
    array = np.ascontiguousarray(item)
    return array.reshape(-1).data.cast("B") if array.size else b""
