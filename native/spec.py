"""The registry of codecs: their ids on the wire, their labels, and what is true of each.

A label says how something crosses: `f32`, `u8h`, `u8+lz4` for the tensors at a cut; `raw`, `jpeg90` (JPEG made by the
device, at that quality) and `as-given` (the application's own JPEG files) for images at full offloading; `-` where
nothing crosses. Configurations, profiles, decisions and status all use these labels, and `parse` is their one parser.

A new codec is an id and an entry here, its kernel (in `kernels/` with its twin in `pure/`, or in `images`), and its row
in docs/codecs.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Literal, NamedTuple

from splitd.errors import CodecError

Bytes = bytes | bytearray | memoryview

RAW = "raw"
AS_GIVEN = "as-given"
LOCAL = "-"

FLAG_LZ4 = 1
"""The payload is the codec's, byte-shuffled by item and LZ4-compressed."""

KNOWN_FLAGS = FLAG_LZ4
_LZ4_OPTION = "lz4"
BEST_QUALITY = 100
_QUALITIES = frozenset(str(quality) for quality in range(1, BEST_QUALITY + 1))


class CodecId(IntEnum):
    """How a chunk's payload is laid out. The numbers are on the wire: they are never reused for something else."""

    NOTHING = -1  # no offloading: never on the wire
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


@dataclass(frozen=True, slots=True)
class Codec:
    """What is true of one codec.

    `label` is followed by a quality where `has_quality`. `carries` says what it is made for. `value_bytes` is what a
    value counts for when a tensor is cut into chunks. `own_bytes`: the payload is the elements' own bytes, whatever the
    dtype. `plane_words`: every plane has its parameters in front. `is_stream`: what crosses is one run of image files.
    """

    id: CodecId
    label: str
    carries: Literal["tensors", "pixels", "files", "nothing"] = "tensors"
    value_bytes: int = 1
    lossless: bool = False
    own_bytes: bool = False
    plane_words: bool = False
    takes_lz4: bool = False
    is_stream: bool = False
    has_quality: bool = False


_REGISTERED = (
    Codec(CodecId.NOTHING, LOCAL, "nothing", lossless=True),
    Codec(CodecId.F32, "f32", value_bytes=4, lossless=True, own_bytes=True, takes_lz4=True),
    Codec(CodecId.F16, "f16", value_bytes=2, takes_lz4=True),
    Codec(CodecId.U8, "u8", plane_words=True, takes_lz4=True),
    # Only the exponents are coded. A block of them wants many values behind its table of code lengths, so a chunk has
    # as many as the scratch memory takes, though they are more than the usual 64 KB.
    Codec(CodecId.F32X, "f32x", lossless=True),
    # Entropy-coded values count as a byte each: how much less they take is known only afterwards.
    Codec(CodecId.U8H, "u8h", plane_words=True),
    Codec(CodecId.U6H, "u6h", plane_words=True),
    Codec(CodecId.U4H, "u4h", plane_words=True),
    Codec(CodecId.IMAGE_RAW, RAW, "pixels", lossless=True, own_bytes=True),
    Codec(CodecId.JPEG, "jpeg", "pixels", own_bytes=True, is_stream=True, has_quality=True),
    Codec(CodecId.JPEG_AS_GIVEN, AS_GIVEN, "files", lossless=True, own_bytes=True, is_stream=True),
)
CODECS: dict[int, Codec] = {codec.id: codec for codec in _REGISTERED}
_BY_LABEL = {codec.label: codec for codec in _REGISTERED}
OWN_BYTES = frozenset(codec.id for codec in _REGISTERED if codec.own_bytes)
"""Codecs whose payload is the elements' own bytes; looked up for every chunk."""
STREAMS = frozenset(codec.id for codec in _REGISTERED if codec.is_stream)


class CodecSpec(NamedTuple):
    """A codec as a label names it: what encoders are asked for. A chunk may still fall back to F32."""

    codec: CodecId
    flags: int
    label: str
    quality: int = 0


@lru_cache(maxsize=1024)  # labels come from a peer's profile too, so the cache has an end
def parse(label: str) -> CodecSpec:
    """The codec that a label names; CodecError lists the labels there are."""
    stem, plus, option = label.partition("+")
    name = stem.rstrip("0123456789")
    codec = _BY_LABEL.get(stem) or _BY_LABEL.get(name)
    if codec is None or (plus and not (codec.takes_lz4 and option == _LZ4_OPTION)):
        raise _unknown(label)
    quality = stem[len(name) :] if codec.has_quality else ""
    # One label for one thing: `jpeg090` would be another key in every table than `jpeg90`.
    if stem != codec.label + quality or (codec.has_quality and quality not in _QUALITIES):
        raise _unknown(label)
    return CodecSpec(codec.id, FLAG_LZ4 if plus else 0, label, int(quality or 0))


def parse_tensor_codec(label: str) -> CodecSpec:
    """As `parse`, for what may be configured at a cut; CodecError for a codec that carries images or nothing."""
    spec = parse(label)
    if CODECS[spec.codec].carries != "tensors":
        raise CodecError(f"codec {label} does not carry the tensors of a cut; {', '.join(tensor_labels())} do")
    return spec


def tensor_labels() -> tuple[str, ...]:
    """The labels of every codec for the tensors at a cut."""
    tensors = [codec for codec in _REGISTERED if codec.carries == "tensors"]
    plain = tuple(codec.label for codec in tensors)
    return plain + tuple(f"{codec.label}+{_LZ4_OPTION}" for codec in tensors if codec.takes_lz4)


def is_image(label: str) -> bool:
    """Whether a label stands for images, which cross at full offloading only, rather than for tensors."""
    return CODECS[parse(label).codec].carries in {"pixels", "files"}


def is_lossless(label: str) -> bool:
    """Whether a codec brings back every bit of what it is given."""
    return CODECS[parse(label).codec].lossless


def _unknown(label: str) -> CodecError:
    images = f"{RAW}, jpeg1 to jpeg{BEST_QUALITY}, {AS_GIVEN}"
    return CodecError(
        f"unknown codec {label!r}; there are {', '.join(tensor_labels())} for tensors, {images} for images"
    )
