"""How a tensor is cut into chunks, and what these cost on the wire.

A chunk holds whole planes, about one message's worth, and there are at least as many as a packet train wants. Profile,
candidates, simulation and study all ask here for sizes. Framing of ZeroMQ (a few bytes a message) and of TCP/IP (about
3 %) is left out on purpose: the link's rate is estimated from arrivals that count header and payload, so what lies
below them is in the rate already.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

from splitd.errors import CodecError
from splitd.native.spec import AS_GIVEN, CODECS, CodecSpec, parse

DEFAULT_TARGET_BYTES = 65_536
"""A header is 0.2 % of it; encoding the next chunk overlaps sending this one, so much larger ones would wait longer."""
MAX_CHUNK_ELEMENTS = 65_536
"""Bounds the codecs' scratch memory and stops a hostile chunk; the same number as in kernels/common.h."""
MAX_TENSOR_ELEMENTS = 1 << 31
"""Far above any batch of activations; stops a hostile shape before a list of its chunks is made."""
MIN_CHUNK_BYTES = 4096
"""A header is 3 % of it: finer chunks would cost more than their arrival times tell."""
MIN_CHUNKS = 6
"""The receiver times a transfer from the spacing of its chunks, first one left out: fewer say little."""


HEADER_BYTES = 88
"""A DATA or RESULT header without dimensions: prefix 32, digest 16, fields 36, checksum 4 (docs/wire-format.md)."""
DIMENSION_BYTES = 8
PLANE_WORD_BYTES = 4
"""Step and zero point of a quantised plane; PARAMETER_BYTES in kernels/quantise.h."""


_IMAGE_BATCH_RANK = 4
_RESULT_RANK = 2  # (batch, classes)


class ChunkPlan(NamedTuple):
    """A run of a tensor's elements in C order: `n_elements` from `first_element`, whole planes of `plane_elements`.

    `row_elements` is the tensor's last dimension where it has rows within planes (rank 4 and more), else 0.
    """

    first_element: int
    n_elements: int
    plane_elements: int
    row_elements: int = 0


def plane_size(shape: Sequence[int]) -> int:
    """Elements that share quantisation parameters: one (sample, channel), one row of a matrix, else everything."""
    kept = {0: 0, 1: 0, 2: 1}.get(len(shape), 2)
    return prod(shape[kept:])


def row_size(shape: Sequence[int]) -> int:
    """The distance of vertical neighbours within a plane; 0 where planes have no rows."""
    return shape[-1] if len(shape) >= 4 else 0


def plan_chunks(
    shape: Sequence[int], spec: CodecSpec, target_bytes: int = DEFAULT_TARGET_BYTES
) -> tuple[ChunkPlan, ...]:
    """Cuts a tensor of `shape` (batch dimension included) into chunks of about `target_bytes`, in order.

    A plane larger than a chunk is cut into pieces, which count as planes. An empty tensor is one chunk of nothing.
    CodecError: a negative dimension or more than MAX_TENSOR_ELEMENTS.
    """
    total = _checked_total(shape)
    if total == 0:
        return (ChunkPlan(0, 0, 1),)
    plane, row = plane_size(shape), row_size(shape)
    wanted = _wanted(total, spec, target_bytes)
    runs = _whole_planes(total, plane, wanted) if plane <= wanted else _pieces(total, plane, wanted)
    return tuple(ChunkPlan(first, n, min(n, plane), row) for first, n in runs)


def chunk_plan_at(shape: Sequence[int], first_element: int, n_elements: int) -> ChunkPlan:
    """The plan of one received chunk, from the tensor's shape; CodecError if no sender would cut there."""
    total = _checked_total(shape)
    if total == 0 and first_element == 0 and n_elements == 0:
        return ChunkPlan(0, 0, 1)
    if first_element < 0 or not 0 < n_elements <= min(MAX_CHUNK_ELEMENTS, total - first_element):
        raise CodecError(f"chunk {first_element}+{n_elements} does not lie in a tensor of {total} elements")
    plane = plane_size(shape)
    offset = first_element % plane
    if offset + n_elements > plane and (offset or n_elements % plane):
        raise CodecError(f"chunk {first_element}+{n_elements} cuts across planes of {plane} elements")
    return ChunkPlan(first_element, n_elements, min(n_elements, plane), row_size(shape))


def chunk_count(shape: Sequence[int], spec: CodecSpec) -> int:
    """How many chunks `plan_chunks` cuts a tensor of `shape` into, without making them."""
    total = _checked_total(shape)
    if total == 0:
        return 1
    plane, wanted = plane_size(shape), _wanted(total, spec)
    if plane <= wanted:
        return -(-total // (wanted // plane * plane))
    return total // plane * -(-plane // wanted)


def plane_count(shape: Sequence[int], spec: CodecSpec) -> int:
    """How many planes have parameters of their own: a plane larger than a chunk has some for each of its pieces."""
    total, plane = _checked_total(shape), plane_size(shape)
    if total == 0:
        return 0
    return total // plane if plane <= _wanted(total, spec) else chunk_count(shape, spec)


def plan_raw(n_elements: int, item_bytes: int) -> tuple[ChunkPlan, ...]:
    """Cuts a tensor whose elements cross as their own bytes (a result, of any dtype) anywhere between two elements.

    Chunks have the same bounds as those of encoded tensors; an empty tensor is one chunk of nothing.
    """
    step = _raw_step(n_elements, item_bytes)
    firsts = range(0, max(1, n_elements), step)
    sizes = [min(step, n_elements - first) for first in firsts]
    return tuple(ChunkPlan(first, n, max(1, n)) for first, n in zip(firsts, sizes, strict=True))


def raw_chunk_count(n_elements: int, item_bytes: int) -> int:
    """How many chunks `plan_raw` makes."""
    return max(1, -(-n_elements // _raw_step(n_elements, item_bytes)))


def header_bytes(rank: int) -> int:
    """The header of one chunk of a tensor with `rank` dimensions."""
    return HEADER_BYTES + DIMENSION_BYTES * rank


def sent_bytes(payload_bytes: int, chunks: int, rank: int = _IMAGE_BATCH_RANK) -> int:
    """What `chunks` messages that share a payload are on the wire."""
    return payload_bytes + chunks * header_bytes(rank)


def raw_sent_bytes(n_elements: int, item_bytes: int, rank: int = _RESULT_RANK) -> int:
    """What a tensor is that crosses as its own bytes, as results do."""
    return sent_bytes(n_elements * item_bytes, raw_chunk_count(n_elements, item_bytes), rank)


def stream_sent_bytes(n_bytes: int) -> int:
    """What a stream of image files is (`images.join_files`), `n_bytes` long with their lengths."""
    return sent_bytes(n_bytes, chunk_count((n_bytes,), parse(AS_GIVEN)), rank=1)


def tensor_sent_bytes(shape: Sequence[int], spec: CodecSpec, value_bytes: float) -> float:
    """What a tensor would be if each value took `value_bytes` behind the plane words: for codecs that are assumed."""
    planes = plane_count(shape, spec) if CODECS[spec.codec].plane_words else 0
    return prod(shape) * value_bytes + planes * PLANE_WORD_BYTES + chunk_count(shape, spec) * header_bytes(len(shape))


def _raw_step(n_elements: int, item_bytes: int) -> int:
    chunk_bytes = min(DEFAULT_TARGET_BYTES, max(MIN_CHUNK_BYTES, -(-n_elements * item_bytes // MIN_CHUNKS)))
    return max(1, chunk_bytes // item_bytes)


def _checked_total(shape: Sequence[int]) -> int:
    total = prod(shape)
    if any(size < 0 for size in shape) or total > MAX_TENSOR_ELEMENTS:
        raise CodecError(f"a tensor of shape {tuple(shape)} is outside 0..{MAX_TENSOR_ELEMENTS} elements")
    return total


def _wanted(total: int, spec: CodecSpec, target_bytes: int = DEFAULT_TARGET_BYTES) -> int:
    """Elements of a chunk, before planes are taken into account."""
    value_bytes = CODECS[spec.codec].value_bytes
    most = max(1, min(MAX_CHUNK_ELEMENTS, target_bytes // value_bytes))
    least = min(most, MIN_CHUNK_BYTES // value_bytes)
    return min(most, max(least, total // MIN_CHUNKS))


def _whole_planes(total: int, plane: int, wanted: int) -> Iterator[tuple[int, int]]:
    step = wanted // plane * plane
    for first in range(0, total, step):
        yield first, min(step, total - first)


def _pieces(total: int, plane: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Every plane in nearly equal pieces, so that none is a sliver."""
    count = -(-plane // wanted)
    edges = [plane * i // count for i in range(count + 1)]
    for start in range(0, total, plane):
        for low, high in itertools.pairwise(edges):
            yield start + low, high - low
