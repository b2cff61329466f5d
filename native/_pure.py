"""The Python twin of `_codec`: the same bytes from numpy, for machines without the extension and to test it against.

Every formula here follows a header of the same subject; the reasons are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from splitd.errors import CodecError
from splitd.native import _pure_half as half
from splitd.native import _pure_quantise as quantise
from splitd.native.plan import MAX_CHUNK_ELEMENTS
from splitd.native.spec import CodecId

if TYPE_CHECKING:
    from splitd.native.plan import ChunkPlan
    from splitd.native.spec import Bytes

NAME = "pure"

Floats = npt.NDArray[np.float32]
Octets = npt.NDArray[np.uint8]


def encode(codec: int, values: Floats, plan: ChunkPlan, out: bytearray | memoryview) -> int:
    """See `select.Backend.encode`."""
    x, plane = _floats(values, plan), plan.plane_elements
    target = np.frombuffer(out, np.uint8)
    if target.size < max_encoded_bytes(codec, plan):
        raise CodecError("the output buffer is smaller than max_encoded_bytes()")
    if codec == CodecId.F16:
        payload = half.encode(x)
    elif codec == CodecId.U8:
        payload = _encode_u8(x, plane)
    else:
        raise CodecError("unknown codec")
    if payload is None:
        return -1
    target[: payload.size] = payload
    return payload.size


def decode(codec: int, payload: Bytes, plan: ChunkPlan, out: Floats) -> None:
    """See `select.Backend.decode`."""
    x, plane = _floats(out, plan), plan.plane_elements
    source = np.frombuffer(payload, np.uint8)
    if codec == CodecId.F16:
        half.decode(source, x)
    elif codec == CodecId.U8:
        _decode_u8(source, plane, x)
    else:
        raise CodecError("unknown codec")


def max_encoded_bytes(codec: int, plan: ChunkPlan) -> int:
    """See `select.Backend.max_encoded_bytes`."""
    n, plane = plan.n_elements, plan.plane_elements
    _check_geometry(n, plane)
    if codec == CodecId.F16:
        return 2 * n
    if codec == CodecId.U8:
        return quantise.PARAMETER_BYTES * (n // plane) + n
    return 0


def shuffle(data: Bytes, item_bytes: int) -> bytearray:
    """See `select.Backend.shuffle`."""
    return bytearray(_items(data, item_bytes).reshape(-1, item_bytes).T.tobytes())


def unshuffle(data: Bytes, item_bytes: int) -> bytearray:
    """See `select.Backend.unshuffle`."""
    return bytearray(_items(data, item_bytes).reshape(item_bytes, -1).T.tobytes())


def _encode_u8(x: Floats, plane: int) -> Octets | None:
    quantised = quantise.quantise_planes(x, plane, 255)
    return None if quantised is None else np.concatenate([quantised[0].view(np.uint8), quantised[1]])


def _decode_u8(payload: Octets, plane: int, x: Floats) -> None:
    head = quantise.PARAMETER_BYTES * (x.size // plane)
    if payload.size != head + x.size:
        raise CodecError("the payload's length contradicts its contents")
    quantise.restore_planes(payload[:head], payload[head:], plane, x)


def _floats(values: Floats, plan: ChunkPlan) -> Floats:
    """The plan's elements, in place."""
    first, n = plan.first_element, plan.n_elements
    if values.dtype != np.float32 or not values.flags.c_contiguous or not values.flags.aligned:
        raise CodecError("the tensor is not aligned, contiguous float32")
    flat = values.reshape(-1)
    if first < 0 or n < 0 or first > flat.size - n:
        raise CodecError(f"elements {first}..{first + n} are outside a tensor of {flat.size}")
    _check_geometry(n, plan.plane_elements)
    return flat[first : first + n]


def _check_geometry(n: int, plane: int) -> None:
    if not 0 <= n <= MAX_CHUNK_ELEMENTS or plane <= 0 or n % plane:
        raise CodecError("the chunk's elements and plane size contradict each other or pass the limit")


def _items(data: Bytes, item_bytes: int) -> Octets:
    octets: Octets = np.frombuffer(data, np.uint8)
    if item_bytes <= 0 or octets.size % item_bytes:
        raise CodecError(f"{octets.size} bytes are not whole items of {item_bytes}")
    return octets
