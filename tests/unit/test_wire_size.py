"""What a transfer costs on the wire is what transport really makes of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from splitd.native import crossing
from splitd.native.plan import (
    header_bytes,
    raw_sent_bytes,
    sent_bytes,
    stream_sent_bytes,
    tensor_sent_bytes,
)
from splitd.native.spec import AS_GIVEN, parse
from splitd.transport.wire.frames import encode
from splitd.transport.wire.messages import Chunk, TensorMeta
from splitd.transport.wire.raw_tensors import raw_chunks


def message_bytes(array: npt.NDArray[np.generic], label: str) -> list[int]:
    """The bytes of each message that carries a chunk of the array."""
    sizes = []
    for piece in crossing.encode((array,), label):
        chunk = Chunk(
            model_digest="0" * 32,
            deadline_ms=5000,
            cut=3,
            tensor_index=0,
            tensor_count=1,
            tensor=TensorMeta(array.shape, array.dtype.name),
            codec=piece.codec,
            flags=piece.flags,
            chunk_index=piece.chunk_index,
            chunk_count=piece.chunk_count,
            first_element=piece.first_element,
            n_elements=piece.n_elements,
            payload=piece.payload,
        )
        sizes.append(sum(len(frame) for frame in encode(chunk, epoch=7, request_id=1 << 40)))
    return sizes


def noise(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_the_header_of_a_float32_tensor_of_four_dimensions_is_120_bytes() -> None:
    (size,) = message_bytes(noise(1, 2, 3, 4), "f32")
    assert size - 4 * 24 == header_bytes(4) == 120


@pytest.mark.parametrize("shape", [(), (5,), (2, 1000), (1, 24, 56, 56), (2, 3, 4, 5, 6, 7)], ids=str)
def test_headers_grow_with_the_dimensions(shape: tuple[int, ...]) -> None:
    sizes = message_bytes(noise(*shape), "f32")
    assert sent_bytes(4 * int(np.prod(shape)), len(sizes), len(shape)) == sum(sizes)


@pytest.mark.parametrize("shape", [(1, 24, 56, 56), (8, 320, 7, 7), (1, 3, 600, 800), (2, 197, 768)], ids=str)
@pytest.mark.parametrize(("label", "value_bytes"), [("f32", 4), ("f16", 2), ("u8", 1)])
def test_the_size_of_a_tensor_is_known_beforehand(shape: tuple[int, ...], label: str, value_bytes: int) -> None:
    sizes = message_bytes(noise(*shape), label)
    assert tensor_sent_bytes(shape, parse(label), value_bytes) == sum(sizes)


def test_so_is_that_of_a_stream_of_files() -> None:
    stream = np.zeros(100_000, np.uint8)
    assert stream_sent_bytes(stream.size) == sum(message_bytes(stream, AS_GIVEN))


def test_and_that_of_a_result() -> None:
    for batch in (1, 8, 256):
        result = noise(batch, 1000)
        sizes = [len(chunk.payload) + header_bytes(2) for chunk, _, _, _ in raw_chunks(result)]
        assert raw_sent_bytes(result.size, result.itemsize) == sum(sizes)
