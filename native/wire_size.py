"""What a tensor costs on the wire: its payload and the headers of its chunks. The only place that adds them up.

Profile, candidates, simulation and study ask here. Framing of ZeroMQ (a few bytes a message) and of TCP/IP (about 3 %)
is left out on purpose: the link's rate is estimated from arrivals that are counted as header and payload, so what lies
below them is in the rate already.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from splitd.native.plan import chunk_count, plane_count, raw_chunk_count
from splitd.native.spec import CodecSpec

HEADER_BYTES = 88
"""A DATA or RESULT header without dimensions: prefix 32, digest 16, fields 36, checksum 4 (docs/wire-format.md)."""
DIMENSION_BYTES = 8
PLANE_WORD_BYTES = 4
"""Step and zero point of a quantised plane; PARAMETER_BYTES in quantise.h."""

_IMAGE_BATCH_RANK = 4
_RESULT_RANK = 2  # (batch, classes)


def header_bytes(rank: int) -> int:
    """The header of one chunk of a tensor with `rank` dimensions."""
    return HEADER_BYTES + DIMENSION_BYTES * rank


def sent_bytes(payload_bytes: int, chunks: int, rank: int = _IMAGE_BATCH_RANK) -> int:
    """What `chunks` messages that share a payload are on the wire."""
    return payload_bytes + chunks * header_bytes(rank)


def raw_sent_bytes(n_elements: int, item_bytes: int, rank: int = _RESULT_RANK) -> int:
    """What a tensor is that crosses as its own bytes, as results do."""
    return sent_bytes(n_elements * item_bytes, raw_chunk_count(n_elements, item_bytes), rank)


def stream_sent_bytes(n_bytes: int, spec: CodecSpec) -> int:
    """What a stream of image files is, lengths included; `spec` is that of JPEG or of files as they were given."""
    return sent_bytes(n_bytes, chunk_count((n_bytes,), spec), rank=1)


def tensor_sent_bytes(shape: Sequence[int], spec: CodecSpec, value_bytes: float, *, plane_words: bool) -> float:
    """What a tensor would be if its values took `value_bytes` each: for codecs that are assumed, not measured."""
    planes = plane_count(shape, spec) if plane_words else 0
    return prod(shape) * value_bytes + planes * PLANE_WORD_BYTES + chunk_count(shape, spec) * header_bytes(len(shape))
