"""Images as they cross the link at full offloading: raw uint8, JPEG at a quality, or the application's own JPEG files.

Either way the bytes travel as a tensor of uint8 in the chunks of `codecs` (ids IMAGE_RAW and JPEG, bytes untouched):
raw as (batch, height, width, 3), JPEG as one dimension, a stream of files, each behind its length as a 32-bit
little-endian integer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import simplejpeg

from splitd.errors import CodecError
from splitd.native.spec import BEST_QUALITY, Bytes

LENGTH_BYTES = 4
# Photographs: half the chroma resolution each way, as every camera does.
_SUBSAMPLING = "420"

Images = npt.NDArray[np.uint8]


def encode_images(batch: Images, quality: int) -> bytes:
    """A batch (B, H, W, 3) of RGB as a stream of JPEG files; CodecError: another shape or quality."""
    if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[3] != 3:
        raise CodecError(f"{batch.dtype} of shape {batch.shape} is not a batch of uint8 RGB images")
    if not 1 <= quality <= BEST_QUALITY:
        raise CodecError(f"a JPEG quality lies in 1..{BEST_QUALITY}, not at {quality}")
    return join_files([_encode(np.ascontiguousarray(image), quality) for image in batch])


def decode_images(payload: Bytes, shape: tuple[int, int, int, int]) -> Images:
    """The batch of a stream whose images all have the size that `shape` (B, H, W, 3) says.

    CodecError: damage, another number of files, other sizes. Sizes are read before anything is allocated.
    """
    batch, height, width, channels = shape
    if channels != 3:
        raise CodecError(f"images have 3 channels, not {channels}")
    files = split_files(payload, batch)
    for file in files:
        _check_size(file, height, width)
    out = np.empty(shape, np.uint8)
    for image, file in zip(out, files, strict=True):
        _decode(file, image)
    return out


def join_files(files: Sequence[bytes]) -> bytes:
    """The stream of JPEG files as they are: what the application gave is passed through untouched."""
    return b"".join(len(file).to_bytes(LENGTH_BYTES, "little") + file for file in files)


def count_files(payloads: Sequence[Bytes], most: int) -> int:
    """The number of files in a stream that lies in `payloads` one after the other, or `most` + 1 where there are more.

    Nothing is copied or joined, so a thread that must not stop may ask. CodecError: the stream ends within a file.
    """
    starts = list(accumulate(map(len, payloads), initial=0))
    position = count = 0
    # Files of no bytes are the cheapest to claim: `most` bounds the work of a payload that is nothing but lengths.
    while position < starts[-1] and count <= most:
        position += LENGTH_BYTES + _length_at(payloads, starts, position)
        count += 1
    if count <= most and position != starts[-1]:
        raise CodecError(f"a stream of {starts[-1]} bytes ends within image {count - 1}")
    return count


def _length_at(payloads: Sequence[Bytes], starts: Sequence[int], position: int) -> int:
    """The length that begins at byte `position` of the stream; it may lie across two payloads or be cut short."""
    index = bisect_right(starts, position) - 1
    offset = position - starts[index]
    found = bytes(payloads[index][offset : offset + LENGTH_BYTES])
    while len(found) < LENGTH_BYTES and (index := index + 1) < len(payloads):
        found += bytes(payloads[index][: LENGTH_BYTES - len(found)])
    return int.from_bytes(found, "little")


def split_files(payload: Bytes, count: int) -> list[memoryview]:
    """The `count` files of a stream, as views; CodecError if their lengths do not fill the payload exactly."""
    view, position = memoryview(payload), 0
    files: list[memoryview] = []
    for _ in range(count):
        start = position + LENGTH_BYTES
        position = start + int.from_bytes(view[position:start], "little")
        if start > len(view) or position > len(view):
            raise CodecError(f"a stream of {len(view)} bytes ends within image {len(files)} of {count}")
        files.append(view[start:position])
    if position != len(view):
        raise CodecError(f"{len(view) - position} bytes follow the last of {count} images")
    return files


def _encode(image: Images, quality: int) -> bytes:
    try:
        file: bytes = simplejpeg.encode_jpeg(image, quality, "RGB", _SUBSAMPLING)
    except ValueError as error:
        raise CodecError(f"cannot compress an image of shape {image.shape}: {error}") from error
    return file


def _check_size(file: memoryview, height: int, width: int) -> None:
    try:
        found = simplejpeg.decode_jpeg_header(file)[:2]
    except ValueError as error:
        raise CodecError(f"not a JPEG: {error}") from error
    if found != (height, width):
        raise CodecError(f"an image of {found[0]} x {found[1]} pixels where {height} x {width} were announced")


def _decode(file: memoryview, out: Images) -> None:
    try:
        simplejpeg.decode_jpeg(file, "RGB", buffer=out)
    except ValueError as error:
        raise CodecError(f"damaged JPEG: {error}") from error
