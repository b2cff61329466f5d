"""What crosses the link at one position, to bytes and back: images at k = 0, activations after it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg

from splitd.errors import CodecError
from splitd.native.codecs import LOSSLESS, ChunkPlan, EncodedChunk, decode_tensor, encode_tensor, parse_codec

RAW = "raw"  # the uint8 image as it is
_JPEG = re.compile(r"jpeg(\d{1,3})")
_BYTES_AS_THEY_ARE = parse_codec("f32")  # tensors that are not float32 travel as their own bytes

Array = npt.NDArray[Any]
Arrays = tuple[Array, ...]


@dataclass(frozen=True)
class Crossing:
    """Encoded arrays: `n_bytes` of payload, and how to get the arrays back."""

    n_bytes: int
    decode: Callable[[], Arrays]


def is_image_codec(label: str) -> bool:
    """Tell whether a label names a codec for the input images (k = 0): `raw`, or `jpeg1` to `jpeg100`."""
    return label == RAW or _JPEG.fullmatch(label) is not None


def is_lossless(label: str) -> bool:
    """Tell whether a codec brings back every bit of what it is given."""
    return label == RAW or (not is_image_codec(label) and parse_codec(label).codec in LOSSLESS)


def encode_crossing(label: str, arrays: Sequence[Array]) -> Crossing:
    """Encode uint8 images (batch, H, W, 3) or the activations at a cut.

    Raises:
        CodecError: The label is unknown.
    """
    if match := _JPEG.fullmatch(label):
        return _encode_jpeg(arrays[0], _quality(match))
    spec = _BYTES_AS_THEY_ARE if label == RAW else parse_codec(label)
    parts = [(array.shape, array.dtype, encode_tensor(spec, array)) for array in arrays]
    n_bytes = sum(len(chunk.payload) for _, _, chunks in parts for _, chunk in chunks)
    return Crossing(n_bytes, lambda: tuple(_decode(*part) for part in parts))


def check_codec(label: str) -> str:
    """Return the label if there is such a codec, for images or for tensors; raises CodecError otherwise."""
    if match := _JPEG.fullmatch(label):
        _quality(match)
    elif label != RAW:
        parse_codec(label)
    return label


def _decode(shape: Sequence[int], dtype: npt.DTypeLike, chunks: Sequence[tuple[ChunkPlan, EncodedChunk]]) -> Array:
    return decode_tensor(chunks, shape, dtype)


def _quality(match: re.Match[str]) -> int:
    quality = int(match[1])
    if not 1 <= quality <= 100:
        raise CodecError(f"{match[0]}: a JPEG quality lies in 1..100")
    return quality


def _encode_jpeg(images: Array, quality: int) -> Crossing:
    files = [
        simplejpeg.encode_jpeg(image, quality=quality, colorspace="RGB", colorsubsampling="420") for image in images
    ]
    return Crossing(sum(map(len, files)), lambda: (np.stack([simplejpeg.decode_jpeg(file) for file in files]),))
