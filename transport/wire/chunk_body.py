"""The body of DATA and RESULT: one chunk of one tensor, every field checked against every other."""

from __future__ import annotations

import math
import struct

import numpy as np

from splitd.errors import WireError
from splitd.transport.wire.fields import Reader, pack_digest
from splitd.transport.wire.limits import (
    MAX_CHUNKS_PER_REQUEST,
    MAX_DEADLINE_MS,
    MAX_DIMS,
    MAX_TENSOR_BYTES,
    MAX_TENSORS,
    NO_DEADLINE_MS,
)
from splitd.transport.wire.messages import Buffer, Chunk, TensorMeta

# Codes are part of the wire format and never reused.
DTYPES = (
    "float32",
    "float16",
    "float64",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "bool",
)
_DTYPE_CODES = {name: code for code, name in enumerate(DTYPES)}
_ITEM_BYTES = tuple(np.dtype(name).itemsize for name in DTYPES)

RAW_CODEC = 0  # with no flags: the elements' own bytes, so the payload's length follows from the header

# deadline_ms, cut, tensor_index, tensor_count, codec, flags, dtype, ndim,
# chunk_index, chunk_count, first_element, n_elements
_FIXED = struct.Struct("<IHBBBBBBIIQQ")
_DIMS = tuple(struct.Struct(f"<{ndim}Q") for ndim in range(MAX_DIMS + 1))


def pack_chunk(chunk: Chunk) -> bytes:
    """Return the body of a chunk's header; raises WireError for a chunk that the peer would refuse."""
    ndim = len(chunk.tensor.shape)
    if ndim > MAX_DIMS:
        raise WireError(f"a tensor of {ndim} dimensions; at most {MAX_DIMS} cross the link")
    if chunk.tensor.dtype not in _DTYPE_CODES:
        raise WireError(f"dtype {chunk.tensor.dtype} does not cross the link")
    check_chunk(chunk)
    fixed = _FIXED.pack(
        NO_DEADLINE_MS if chunk.deadline_ms is None else chunk.deadline_ms,
        chunk.cut,
        chunk.tensor_index,
        chunk.tensor_count,
        chunk.codec,
        chunk.flags,
        _DTYPE_CODES[chunk.tensor.dtype],
        ndim,
        chunk.chunk_index,
        chunk.chunk_count,
        chunk.first_element,
        chunk.n_elements,
    )
    return pack_digest(chunk.model_digest) + fixed + _DIMS[ndim].pack(*chunk.tensor.shape)


def unpack_chunk(reader: Reader, payload: Buffer, *, is_result: bool) -> Chunk:
    """Return the chunk of a header's body; raises WireError if any field is impossible or contradicts another."""
    digest = reader.digest()
    (deadline_ms, cut, tensor_index, tensor_count, codec, flags, dtype, ndim, *ranges) = reader.ints(_FIXED)
    if dtype >= len(DTYPES):
        raise WireError(f"unknown dtype code {dtype}")
    if ndim > MAX_DIMS:
        raise WireError(f"{ndim} dimensions; at most {MAX_DIMS} are allowed")
    chunk_index, chunk_count, first_element, n_elements = ranges
    chunk = Chunk(
        model_digest=digest,
        deadline_ms=None if deadline_ms == NO_DEADLINE_MS else deadline_ms,
        cut=cut,
        tensor_index=tensor_index,
        tensor_count=tensor_count,
        tensor=TensorMeta(reader.ints(_DIMS[ndim]), DTYPES[dtype]),
        codec=codec,
        flags=flags,
        chunk_index=chunk_index,
        chunk_count=chunk_count,
        first_element=first_element,
        n_elements=n_elements,
        payload=payload,
        is_result=is_result,
    )
    check_chunk(chunk)
    return chunk


def check_chunk(chunk: Chunk) -> None:
    """Raise WireError unless all fields of the chunk are within limits and agree with each other."""
    if not 0 <= chunk.tensor_index < chunk.tensor_count <= MAX_TENSORS:
        raise WireError(f"tensor {chunk.tensor_index} of {chunk.tensor_count} (at most {MAX_TENSORS})")
    if not 0 <= chunk.chunk_index < chunk.chunk_count <= MAX_CHUNKS_PER_REQUEST:
        raise WireError(f"chunk {chunk.chunk_index} of {chunk.chunk_count} (at most {MAX_CHUNKS_PER_REQUEST})")
    if chunk.deadline_ms is not None and not 0 <= chunk.deadline_ms <= MAX_DEADLINE_MS:
        raise WireError(f"a deadline of {chunk.deadline_ms} ms; at most {MAX_DEADLINE_MS} is allowed")
    _check_elements(chunk)


def _check_elements(chunk: Chunk) -> None:
    item_bytes = _ITEM_BYTES[_DTYPE_CODES[chunk.tensor.dtype]]
    if any(size < 0 for size in chunk.tensor.shape):
        raise WireError(f"a negative size in shape {chunk.tensor.shape}")
    # Python integers: a product beyond 64 bits is large, not wrapped. Zeros are left out because numpy refuses an empty
    # array whose other dimensions overflow.
    if math.prod(size for size in chunk.tensor.shape if size) * item_bytes > MAX_TENSOR_BYTES:
        raise WireError(f"a tensor of shape {chunk.tensor.shape} is over the limit of {MAX_TENSOR_BYTES} bytes")
    elements = chunk.tensor.n_elements
    if chunk.first_element < 0 or chunk.n_elements < 0 or chunk.first_element + chunk.n_elements > elements:
        raise WireError(
            f"elements {chunk.first_element}+{chunk.n_elements} are outside a tensor of {elements} elements"
        )
    if chunk.chunk_count > max(1, elements) or (chunk.n_elements == 0) != (elements == 0):
        raise WireError(f"{chunk.chunk_count} chunks, one of {chunk.n_elements} elements, for a tensor of {elements}")
    if chunk.codec == RAW_CODEC and chunk.flags == 0 and len(chunk.payload) != chunk.n_elements * item_bytes:
        raise WireError(f"{len(chunk.payload)} raw bytes for {chunk.n_elements} elements of {chunk.tensor.dtype}")
