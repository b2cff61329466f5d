"""What crosses the link: tensors and images to encoded chunks on the device, chunks to tensors on the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from splitd.calibration.images import Preprocessing, prepare_image
from splitd.calibration.profile import RAW, is_image_codec
from splitd.errors import WireError
from splitd.native.codecs import (
    ChunkPlan,
    CodecId,
    CodecSpec,
    EncodedChunk,
    chunk_plan_at,
    decode_chunk,
    encode_chunk,
    flatten,
    parse_codec,
    plan_chunks,
)
from splitd.native.images import (
    AS_GIVEN_SPEC,
    JPEG_SPEC,
    RAW_SPEC,
    count_files,
    decode_images,
    encode_images,
    join_files,
    split_files,
)
from splitd.transport.wire import Chunk, TensorMeta

Array = npt.NDArray[Any]

AS_GIVEN = "jpeg"  # the application's own JPEG files, untouched; k = 0 only
LOCAL = "-"  # no offloading: nothing crosses


class Piece(NamedTuple):
    """One chunk of one tensor, ready to be sent."""

    tensor_index: int
    plan: ChunkPlan
    chunk_index: int
    chunk_count: int
    chunk: EncodedChunk


def image_stream(batch: Array, codec: str) -> tuple[Array, CodecSpec]:
    """Return what crosses for uint8 images (B, H, W, 3) with an image codec (`raw`, `jpeg90`, ...)."""
    if codec == RAW:
        return batch, RAW_SPEC
    return np.frombuffer(encode_images(batch, int(codec.removeprefix("jpeg"))), np.uint8), JPEG_SPEC


def file_stream(files: Sequence[bytes]) -> tuple[Array, CodecSpec]:
    """Return what crosses for the application's own JPEG files."""
    return np.frombuffer(join_files(files), np.uint8), AS_GIVEN_SPEC


def crosses_as_image(codec: str) -> bool:
    """Tell whether a label stands for images rather than tensors."""
    return codec == AS_GIVEN or is_image_codec(codec)


def metas(arrays: Sequence[Array]) -> tuple[TensorMeta, ...]:
    """Return what the header says about each tensor."""
    return tuple(TensorMeta(array.shape, array.dtype.name) for array in arrays)


def encode(arrays: Sequence[Array], codec: CodecSpec | str) -> Iterator[Piece]:
    """Yield the chunks of all tensors, each encoded when it is asked for, so that encoding overlaps sending."""
    spec = parse_codec(codec) if isinstance(codec, str) else codec
    for tensor_index, array in enumerate(arrays):
        plans = plan_chunks(array.shape, spec)
        flat = flatten(array)
        for index, plan in enumerate(plans):
            yield Piece(tensor_index, plan, index, len(plans), encode_chunk(spec, flat, plan))


def batch_of(tensors: Sequence[TensorMeta], chunks: Sequence[Sequence[Chunk]], most: int) -> int:
    """Return the number of samples of a request, or `most` + 1 where there are more.

    Raises:
        CodecError: A stream of images is cut short.
    """
    if _is_stream(chunks):
        return count_files([chunk.payload for chunk in chunks[0]], most)
    shape = tensors[0].shape
    return shape[0] if shape else 0


def decode_input(
    tensors: Sequence[TensorMeta], chunks: Sequence[Sequence[Chunk]], preprocessing: Preprocessing, most: int
) -> Array:
    """Return the images (B, H, W, 3) uint8, or prepared tensors (B, C, H, W) float32, of a request at k = 0.

    Raises:
        CodecError: A stream or payload is not what its header says.
        InputError: One of the application's files is no usable image.
        WireError: More than one tensor, or not this model's size.
    """
    if len(tensors) != 1:
        raise WireError(f"full offloading sends one tensor; {len(tensors)} came")
    channels, height, width = preprocessing.size
    if not _is_stream(chunks):
        (array,) = decode(tensors, chunks)
        wanted = (height, width, 3) if array.dtype == np.uint8 else (channels, height, width)
        if array.shape[1:] != wanted or array.dtype.name not in {"uint8", "float32"}:
            raise WireError(f"{array.dtype} of {array.shape[1:]} came; this model takes {wanted}")
        return array
    payload = _joined(chunks[0])
    batch = count_files((payload,), most)
    if chunks[0][0].codec == CodecId.JPEG:
        return decode_images(payload, (batch, height, width, 3))
    return np.stack([prepare_image(bytes(file), preprocessing) for file in split_files(payload, batch)])


def decode(tensors: Sequence[TensorMeta], chunks: Sequence[Sequence[Chunk]]) -> tuple[Array, ...]:
    """Return the tensors that a complete request holds.

    Raises:
        CodecError: A payload is not what its header says.
    """
    return tuple(_decode_one(meta, parts) for meta, parts in zip(tensors, chunks, strict=True))


def check_shapes(arrays: Sequence[Array], expected: Sequence[tuple[int, ...]]) -> None:
    """Compare what came with what the cut has.

    Raises:
        WireError: Another number of tensors, shape or dtype.
    """
    got = [(array.shape, array.dtype.name) for array in arrays]
    wanted = [(shape, "float32") for shape in expected]
    if got != wanted:
        raise WireError(f"this cut has the tensors {wanted}, but {got} came")


def _decode_one(meta: TensorMeta, chunks: Sequence[Chunk]) -> Array:
    out = np.empty(meta.shape, np.dtype(meta.dtype))
    flat = out.reshape(-1)
    for chunk in chunks:
        plan = chunk_plan_at(meta.shape, chunk.first_element, chunk.n_elements)
        decode_chunk(chunk.codec, chunk.flags, chunk.payload, plan, flat)
    return out


def _is_stream(chunks: Sequence[Sequence[Chunk]]) -> bool:
    return chunks[0][0].codec in {CodecId.JPEG, CodecId.JPEG_AS_GIVEN}


def _joined(chunks: Sequence[Chunk]) -> bytes:
    return b"".join(chunk.payload for chunk in chunks)
