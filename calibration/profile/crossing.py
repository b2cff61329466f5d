"""What crosses the link at one position, to bytes and back: images at k = 0, activations after it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from splitd.native.codecs import LOSSLESS, decode_tensor, encode_tensor, parse_codec
from splitd.native.images import decode_images, encode_images

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
        CodecError: The label is unknown, or its JPEG quality is not in 1..100.
    """
    if match := _JPEG.fullmatch(label):
        return _encode_jpeg(arrays[0], int(match[1]))
    spec = _BYTES_AS_THEY_ARE if label == RAW else parse_codec(label)
    parts = [(encode_tensor(spec, array), array.shape, array.dtype) for array in arrays]
    n_bytes = sum(len(chunk.payload) for chunks, _, _ in parts for _, chunk in chunks)
    return Crossing(n_bytes, lambda: tuple(decode_tensor(*part) for part in parts))


def _encode_jpeg(images: Array, quality: int) -> Crossing:
    batch, height, width, channels = images.shape
    payload = encode_images(images, quality)
    return Crossing(len(payload), lambda: (decode_images(payload, (batch, height, width, channels)),))
