"""Tensors of any dtype as chunks of their own bytes: result tensors, images and everything the codecs do not take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from splitd.errors import WireError
from splitd.native.plan import ChunkPlan, plan_raw
from splitd.transport.wire.chunk_body import RAW_CODEC
from splitd.transport.wire.messages import Buffer, Chunk, TensorMeta

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class RawChunk:
    """Elements as they lie in memory (an `EncodedLike`)."""

    payload: Buffer
    codec: int = RAW_CODEC
    flags: int = 0


def raw_chunks(array: Array) -> Iterator[tuple[RawChunk, ChunkPlan, int, int]]:
    """Yield (chunk, plan, index, count) of an array of any shape and order; contiguous ones are not copied."""
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
