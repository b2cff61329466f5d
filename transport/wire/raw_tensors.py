"""Tensors of any dtype as chunks of their own bytes: result tensors, images and everything the codecs do not take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from splitd.errors import WireError
from splitd.transport.wire.chunk_body import RAW_CODEC
from splitd.transport.wire.limits import KIB
from splitd.transport.wire.messages import Buffer, Chunk, TensorMeta

Array = npt.NDArray[Any]

TARGET_BYTES = 64 * KIB
MIN_BYTES = 4 * KIB
MIN_CHUNKS = 6  # a train shorter than this says little about the rate


@dataclass(frozen=True, slots=True)
class ElementRange:
    """Which elements of the flattened tensor a chunk holds (a `PlanLike`)."""

    first_element: int
    n_elements: int


@dataclass(frozen=True, slots=True)
class RawChunk:
    """Elements as they lie in memory (an `EncodedLike`)."""

    payload: Buffer
    codec: int = RAW_CODEC
    flags: int = 0


def plan_raw(n_elements: int, item_bytes: int) -> tuple[ElementRange, ...]:
    """Cut a tensor into chunks of about 64 KiB; small tensors into at least six, down to 4 KiB each."""
    n_bytes = n_elements * item_bytes
    chunk_bytes = min(TARGET_BYTES, max(MIN_BYTES, -(-n_bytes // MIN_CHUNKS)))
    step = max(1, chunk_bytes // item_bytes)
    return tuple(ElementRange(first, min(step, n_elements - first)) for first in range(0, max(1, n_elements), step))


def raw_chunks(array: Array) -> Iterator[tuple[RawChunk, ElementRange, int, int]]:
    """Yield (chunk, range, index, count) of an array of any shape and order; contiguous ones are not copied."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    plan = plan_raw(array.size, array.itemsize)
    for index, part in enumerate(plan):
        start = part.first_element * array.itemsize
        payload = flat[start : start + part.n_elements * array.itemsize].data
        yield RawChunk(payload), part, index, len(plan)


def join_raw(meta: TensorMeta, chunks: Sequence[Chunk]) -> Array:
    """Return the tensor whose raw chunks these are; raises WireError if one is not raw."""
    if any((chunk.codec, chunk.flags) != (RAW_CODEC, 0) for chunk in chunks):
        raise WireError("a raw tensor was expected, an encoded one came")
    data = bytearray().join(chunk.payload for chunk in chunks)
    return np.frombuffer(data, dtype=meta.dtype).reshape(meta.shape)
