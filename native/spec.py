"""Which codecs there are: their stable ids on the wire and the labels that configurations and profiles use."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from splitd.errors import CodecError

Bytes = bytes | bytearray | memoryview


class CodecId(IntEnum):
    """How a chunk's payload is laid out. The numbers are on the wire: they are never reused for something else."""

    F32 = 0
    F16 = 1
    U8 = 2
    F32X = 3
    U8H = 4
    U6H = 5
    U4H = 6
    IMAGE_RAW = 16
    JPEG = 17
    JPEG_AS_GIVEN = 18


FLAG_LZ4 = 1
"""The payload is the codec's, byte-shuffled by item and LZ4-compressed."""

KNOWN_FLAGS = FLAG_LZ4

_LABELS = {codec.name.lower(): codec for codec in CodecId if codec < CodecId.IMAGE_RAW}
_WITH_LZ4 = frozenset({CodecId.F32, CodecId.F16, CodecId.U8})
LOSSLESS = frozenset({CodecId.F32, CodecId.F32X})
"""Codecs that bring back the very bits of any float32 tensor."""
RAW_BYTES = frozenset({CodecId.F32, CodecId.IMAGE_RAW, CodecId.JPEG, CodecId.JPEG_AS_GIVEN})
"""Codecs whose payload is the elements' own bytes: plain tensors of any dtype, and what `images` makes."""


class CodecSpec(NamedTuple):
    """A tensor codec as configured: what encoders are asked for. A chunk may still fall back to F32."""

    codec: CodecId
    flags: int
    label: str


def tensor_labels() -> tuple[str, ...]:
    """Every label that `parse_codec` takes."""
    return tuple(_LABELS) + tuple(f"{label}+lz4" for label, codec in _LABELS.items() if codec in _WITH_LZ4)


def parse_codec(label: str) -> CodecSpec:
    """The codec that a label such as `u8` or `f32+lz4` names; CodecError lists the labels there are."""
    name, plus, option = label.partition("+")
    codec = _LABELS.get(name)
    if codec is None or (plus and (option != "lz4" or codec not in _WITH_LZ4)):
        raise CodecError(f"unknown codec {label!r}; there are {', '.join(tensor_labels())}")
    return CodecSpec(codec, FLAG_LZ4 if plus else 0, label)
