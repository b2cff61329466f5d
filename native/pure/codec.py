"""Twin of kernels/codec.h and of the layer above it: one chunk in, one chunk out, with the same checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from splitd.errors import CodecError
from splitd.native.plan import MAX_CHUNK_ELEMENTS
from splitd.native.pure import entropy, half, quantise
from splitd.native.spec import CodecId

if TYPE_CHECKING:
    from splitd.native.plan import ChunkPlan
    from splitd.native.spec import Bytes

NAME = "pure"

_CODED_BITS: dict[int, int] = {CodecId.U8H: 8, CodecId.U6H: 6, CodecId.U4H: 4}
_STORE_SLACK = 8
_GEOMETRY = "the chunk's elements and plane size contradict each other or pass the limit"

Floats = npt.NDArray[np.float32]
Octets = npt.NDArray[np.uint8]


def encode(codec: int, values: Floats, plan: ChunkPlan, out: bytearray | memoryview) -> int:
    """See `select.Backend.encode`."""
    x = _floats(values, plan)
    target = np.frombuffer(out, np.uint8)
    if target.size < max_encoded_bytes(codec, plan):
        raise CodecError("the output buffer is smaller than max_encoded_bytes()")
    payload = _payload(codec, x, plan)
    if payload is None:
        return -1
    target[: len(payload)] = np.frombuffer(payload, np.uint8)
    return len(payload)


def decode(codec: int, payload: Bytes, plan: ChunkPlan, out: Floats) -> None:
    """See `select.Backend.decode`."""
    x, plane = _floats(out, plan), plan.plane_elements
    if codec == CodecId.F16:
        half.decode(np.frombuffer(payload, np.uint8), x)
    elif codec == CodecId.F32X:
        entropy.decode_exponents(bytes(payload), x)
    elif codec == CodecId.U8:
        _decode_u8(np.frombuffer(payload, np.uint8), plane, x)
    else:
        _decode_coded(bytes(payload), plane, _coded_bits(codec), x)


def max_encoded_bytes(codec: int, plan: ChunkPlan) -> int:
    """See `select.Backend.max_encoded_bytes`."""
    n, plane = plan.n_elements, plan.plane_elements
    if n < 0 or plane <= 0:
        raise CodecError(_GEOMETRY)
    if codec == CodecId.F16:
        return 2 * n
    if codec == CodecId.F32X:
        return 1 + 4 * n + _STORE_SLACK
    words = quantise.PARAMETER_BYTES * (n // plane)
    if codec == CodecId.U8:
        return words + n
    bits = _CODED_BITS.get(codec)
    return 0 if bits is None else words + 1 + (n + 1) // 2 + (n * (bits - 4) + 7) // 8 + _STORE_SLACK


def shuffle(data: Bytes, item_bytes: int) -> bytearray:
    """See `select.Backend.shuffle`."""
    return bytearray(_items(data, item_bytes).reshape(-1, item_bytes).T.tobytes())


def unshuffle(data: Bytes, item_bytes: int) -> bytearray:
    """See `select.Backend.unshuffle`."""
    return bytearray(_items(data, item_bytes).reshape(item_bytes, -1).T.tobytes())


def _payload(codec: int, x: Floats, plan: ChunkPlan) -> bytes | None:
    if codec == CodecId.F16:
        return half.encode(x)
    if codec == CodecId.F32X:
        return entropy.encode_exponents(x)
    plane = plan.plane_elements
    bits = 8 if codec == CodecId.U8 else _coded_bits(codec)
    quantised = quantise.quantise_planes(x, plane, (1 << bits) - 1)
    if quantised is None:
        return None
    words, q = quantised
    body = q.tobytes() if codec == CodecId.U8 else entropy.encode_values(q, plane, plan.row_elements, bits)
    return words.tobytes() + body


def _coded_bits(codec: int) -> int:
    if codec not in _CODED_BITS:
        raise CodecError("unknown codec")
    return _CODED_BITS[codec]


def _decode_coded(payload: bytes, plane: int, bits: int, x: Floats) -> None:
    head = quantise.PARAMETER_BYTES * (x.size // plane)
    if len(payload) < head:
        raise CodecError("the payload's length contradicts its contents")
    values = entropy.decode_values(payload[head:], x.size, plane, bits)
    quantise.restore_planes(np.frombuffer(payload, np.uint8, head), values, plane, x)


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
        raise CodecError(_GEOMETRY)


def _items(data: Bytes, item_bytes: int) -> Octets:
    octets: Octets = np.frombuffer(data, np.uint8)
    if item_bytes <= 0 or octets.size % item_bytes:
        raise CodecError(f"{octets.size} bytes are not whole items of {item_bytes}")
    return octets
