"""What crosses the link at a cut: tensors to encoded chunks on the device, chunks to tensors on the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from splitd.errors import WireError
from splitd.native.codecs import (
    ChunkPlan,
    EncodedChunk,
    chunk_plan_at,
    decode_chunk,
    encode_chunk,
    flatten,
    parse_codec,
    plan_chunks,
)
from splitd.transport.messages import Chunk, TensorMeta

Array = npt.NDArray[Any]

RAW = "raw"  # the uint8 image as it is; k = 0 only
LOCAL = "-"  # no offloading: nothing crosses


class Piece(NamedTuple):
    """One chunk of one tensor, ready to be sent."""

    tensor_index: int
    plan: ChunkPlan
    chunk_index: int
    chunk_count: int
    chunk: EncodedChunk


def metas(arrays: Sequence[Array]) -> tuple[TensorMeta, ...]:
    """Return what the header says about each tensor."""
    return tuple(TensorMeta(array.shape, array.dtype.name) for array in arrays)


def encode(arrays: Sequence[Array], codec: str) -> Iterator[Piece]:
    """Yield the chunks of all tensors, each encoded when it is asked for, so that encoding overlaps sending."""
    spec = parse_codec("f32" if codec == RAW else codec)
    for tensor_index, array in enumerate(arrays):
        plans = plan_chunks(array.shape, spec)
        flat = flatten(array)
        for index, plan in enumerate(plans):
            yield Piece(tensor_index, plan, index, len(plans), encode_chunk(spec, flat, plan))


def decode(tensors: Sequence[TensorMeta], chunks: Sequence[Sequence[Chunk]]) -> tuple[Array, ...]:
    """Return the tensors that a complete request holds.

    Raises:
        CodecError: A payload is not what its header says.
    """
    return tuple(_decode_one(meta, parts) for meta, parts in zip(tensors, chunks, strict=True))


def _decode_one(meta: TensorMeta, chunks: Sequence[Chunk]) -> Array:
    out = np.empty(meta.shape, np.dtype(meta.dtype))
    flat = out.reshape(-1)
    for chunk in chunks:
        plan = chunk_plan_at(meta.shape, chunk.first_element, chunk.n_elements)
        decode_chunk(chunk.codec, chunk.flags, chunk.payload, plan, flat)
    return out


def check_shapes(arrays: Sequence[Array], expected: Sequence[tuple[int, ...]]) -> None:
    """Compare what came with what the cut has.

    Raises:
        WireError: Another number of tensors, shape or dtype.
    """
    got = [(array.shape, array.dtype.name) for array in arrays]
    wanted = [(shape, "float32") for shape in expected]
    if got != wanted:
        raise WireError(f"this cut has the tensors {wanted}, but {got} came")
