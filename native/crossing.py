"""What crosses the link for one batch: tensors or images to chunks on the device, chunks to arrays on the server.

Both daemons run these functions, and calibration times the very same ones. Received chunks and what a header says of a
tensor are described by protocols, because messages are the transport's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from splitd.errors import WireError
from splitd.native.codecs import EncodedChunk, decode_chunk, encode_chunk, flatten
from splitd.native.images import count_files, decode_images, encode_images, join_files, split_files
from splitd.native.plan import ChunkPlan, chunk_plan_at, plan_chunks, sent_bytes, stream_sent_bytes
from splitd.native.spec import (
    AS_GIVEN,
    CODECS,
    LOCAL,
    RAW,
    STREAMS,
    Bytes,
    CodecId,
    CodecSpec,
    is_image,
    is_lossless,
    parse,
)

__all__ = [
    "AS_GIVEN",
    "LOCAL",
    "RAW",
    "CodecSpec",
    "EncodedChunk",
    "Piece",
    "ReceivedChunk",
    "TensorLike",
    "batch_of",
    "check_shapes",
    "decode",
    "decode_input",
    "encode",
    "is_image",
    "is_lossless",
    "parse",
    "stream_sent_bytes",
    "tensors_of",
    "wire_bytes",
]

Array = npt.NDArray[Any]
Prepare = Callable[[bytes], Array]


class TensorLike(Protocol):
    """What a header says of a tensor; an array is one too."""

    @property
    def shape(self) -> tuple[int, ...]:
        """All dimensions, the batch's included."""

    @property
    def dtype(self) -> Any:
        """The dtype, or its name."""


class ReceivedChunk(Protocol):
    """One chunk of a tensor as it came; a `Piece` that was just encoded is one too."""

    @property
    def codec(self) -> int:
        """Codec id."""

    @property
    def flags(self) -> int:
        """Codec flags."""

    @property
    def first_element(self) -> int:
        """Index of its first element in the flattened tensor."""

    @property
    def n_elements(self) -> int:
        """Number of elements."""

    @property
    def payload(self) -> Bytes:
        """The bytes that crossed."""


class Piece(NamedTuple):
    """One chunk of one tensor, ready to be sent."""

    tensor_index: int
    plan: ChunkPlan
    chunk_index: int
    chunk_count: int
    chunk: EncodedChunk

    @property
    def codec(self) -> int:
        """Codec id that the chunk really has."""
        return self.chunk.codec

    @property
    def flags(self) -> int:
        """Codec flags that the chunk really has."""
        return self.chunk.flags

    @property
    def first_element(self) -> int:
        """Index of its first element in the flattened tensor."""
        return self.plan.first_element

    @property
    def n_elements(self) -> int:
        """Number of elements."""
        return self.plan.n_elements

    @property
    def payload(self) -> Bytes:
        """The bytes to send."""
        return self.chunk.payload


def tensors_of(given: Sequence[Array] | Sequence[bytes], label: str) -> tuple[Array, ...]:
    """Return what crosses as tensors, before it is encoded: headers are written from these.

    Args:
        given: The tensors at a cut; one batch of uint8 images (B, H, W, 3) for `raw` and `jpegQ`, of which the second
            is compressed here; the application's own files for `as-given`.
        label: How it crosses.

    Raises:
        CodecError: There is no such codec, or images of another shape or dtype were given.
    """
    spec = parse(label)
    entry = CODECS[spec.codec]
    if entry.carries == "files":
        return (_stream(join_files([bytes(file) for file in given])),)
    arrays = tuple(np.asarray(array) for array in given)
    return (_stream(encode_images(arrays[0], spec.quality)),) if entry.is_stream else arrays


def encode(tensors: Sequence[Array], label: str) -> Iterator[Piece]:
    """Yield the chunks of what `tensors_of` gave, each encoded when it is asked for: encoding overlaps sending."""
    spec = parse(label)
    for tensor_index, array in enumerate(tensors):
        plans = plan_chunks(array.shape, spec)
        flat = flatten(array)
        for index, plan in enumerate(plans):
            yield Piece(tensor_index, plan, index, len(plans), encode_chunk(spec, flat, plan))


def wire_bytes(tensors: Sequence[TensorLike], pieces: Sequence[Piece]) -> int:
    """Return what the pieces are on the wire, one header each."""
    return sum(sent_bytes(len(one.payload), 1, len(tensors[one.tensor_index].shape)) for one in pieces)


def batch_of(tensors: Sequence[TensorLike], chunks: Sequence[Sequence[ReceivedChunk]], most: int) -> int:
    """Return the number of samples of a complete request, or `most` + 1 where there are more; nothing is decoded.

    Raises:
        CodecError: A stream of images is cut short.
    """
    if _is_stream(chunks):
        return count_files([chunk.payload for chunk in chunks[0]], most)
    shape = tensors[0].shape
    return shape[0] if shape else 0


def decode(tensors: Sequence[TensorLike], chunks: Sequence[Sequence[ReceivedChunk]]) -> tuple[Array, ...]:
    """Return the tensors that a complete request holds; `chunks` are those of each, in order.

    Raises:
        CodecError: A payload is not what its header says.
    """
    return tuple(_decode_one(meta, parts) for meta, parts in zip(tensors, chunks, strict=True))


def decode_input(
    tensors: Sequence[TensorLike],
    chunks: Sequence[Sequence[ReceivedChunk]],
    batch: int,
    size: tuple[int, ...],
    prepare: Prepare,
) -> Array:
    """Return the images (B, H, W, 3) uint8, or prepared tensors (B, C, H, W) float32, of a request at full offloading.

    Args:
        tensors: What the headers say.
        chunks: Those of each tensor, in order.
        batch: What `batch_of` said, after the limit was checked.
        size: The model's input for one sample; (channels, height, width) where it takes images.
        prepare: Makes one of the application's own files an image (H, W, 3) uint8 of that size.

    Raises:
        CodecError: A stream or payload is not what its header says.
        InputError: One of the application's files is no usable image (raised by `prepare`).
        WireError: More than one tensor, or not this model's size.
    """
    if len(tensors) != 1:
        raise WireError(f"full offloading sends one tensor; {len(tensors)} came")
    pixels = (*size[1:], size[0])
    if _is_stream(chunks):
        stream = _joined(chunks[0])
        if chunks[0][0].codec == CodecId.JPEG:
            return decode_images(stream, _image_batch(batch, pixels))
        return np.stack([prepare(bytes(file)) for file in split_files(stream, batch)])
    (array,) = decode(tensors, chunks)
    wanted = pixels if array.dtype == np.uint8 else size
    if array.shape[1:] != wanted or array.dtype.name not in {"uint8", "float32"}:
        raise WireError(f"{array.dtype} of {array.shape[1:]} came; this model takes {wanted}")
    return array


def _image_batch(batch: int, pixels: tuple[int, ...]) -> tuple[int, int, int, int]:
    if len(pixels) != 3:
        raise WireError("images came; this model takes prepared tensors")
    height, width, channels = pixels
    return batch, height, width, channels


def check_shapes(arrays: Sequence[Array], expected: Sequence[tuple[int, ...]]) -> None:
    """Compare what came with what the cut has.

    Raises:
        WireError: Another number of tensors, shape or dtype.
    """
    got = [(array.shape, array.dtype.name) for array in arrays]
    wanted = [(shape, "float32") for shape in expected]
    if got != wanted:
        raise WireError(f"this cut has the tensors {wanted}, but {got} came")


def _decode_one(meta: TensorLike, chunks: Sequence[ReceivedChunk]) -> Array:
    out = np.empty(meta.shape, np.dtype(meta.dtype))
    flat = out.reshape(-1)
    for chunk in chunks:
        plan = chunk_plan_at(meta.shape, chunk.first_element, chunk.n_elements)
        decode_chunk(chunk.codec, chunk.flags, chunk.payload, plan, flat)
    return out


def _stream(joined: bytes) -> Array:
    return np.frombuffer(joined, np.uint8)


def _is_stream(chunks: Sequence[Sequence[ReceivedChunk]]) -> bool:
    return chunks[0][0].codec in STREAMS


def _joined(chunks: Sequence[ReceivedChunk]) -> Bytes:
    """The whole stream; copied only where it came in several chunks."""
    return chunks[0].payload if len(chunks) == 1 else b"".join(chunk.payload for chunk in chunks)
