"""Images at full offloading: raw, JPEG at a quality, and files passed through."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st

from splitd.errors import CodecError
from splitd.native import images
from splitd.native.codecs import decode_chunk, encode_chunk
from splitd.native.images import Images
from splitd.native.plan import plan_chunks
from splitd.native.spec import CodecId, parse


def photographs(count: int = 3, height: int = 48, width: int = 64) -> Images:
    """Smooth gradients: what JPEG is made for."""
    y, x = np.mgrid[:height, :width]
    planes = [(x * 3 + y * (k + 1)) % 256 // 2 + 40 for k in range(3)]
    return np.stack([np.stack(planes, axis=-1)] * count).astype(np.uint8)


def test_jpeg_images_come_back_alike_and_smaller() -> None:
    batch = photographs()
    stream = images.encode_images(batch, 90)
    back = images.decode_images(stream, (3, 48, 64, 3))
    assert len(stream) < batch.nbytes / 3
    assert np.abs(back.astype(int) - batch).mean() < 6


def test_a_higher_quality_takes_more_bytes() -> None:
    sizes = [len(images.encode_images(photographs(), quality)) for quality in (50, 75, 95)]
    assert sizes == sorted(sizes)


def test_the_applications_files_pass_through_untouched() -> None:
    files = [simplejpeg.encode_jpeg(photographs(1, height)[0], 80) for height in (32, 48, 100)]
    stream = np.frombuffer(images.join_files(files), np.uint8)
    back = np.empty(stream.size, np.uint8)
    for plan in plan_chunks(stream.shape, parse("as-given")):
        chunk = encode_chunk(parse("as-given"), stream, plan)
        assert chunk.codec == CodecId.JPEG_AS_GIVEN
        decode_chunk(chunk.codec, chunk.flags, chunk.payload, plan, back)
    assert [bytes(file) for file in images.split_files(back.tobytes(), 3)] == files


def test_raw_images_travel_without_a_copy() -> None:
    batch = photographs()
    plan = plan_chunks(batch.shape, parse("raw"))[0]
    chunk = encode_chunk(parse("raw"), batch.reshape(-1), plan)
    assert chunk.codec == CodecId.IMAGE_RAW
    assert np.shares_memory(np.frombuffer(chunk.payload, np.uint8), batch)


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_a_quality_outside_of_1_to_100_is_refused(quality: int) -> None:
    with pytest.raises(CodecError, match="quality"):
        images.encode_images(photographs(), quality)


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 8, 8, 4), (0, 0)])
def test_what_is_not_a_batch_of_rgb_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CodecError):
        images.encode_images(np.zeros(shape, np.uint8), 90)


def test_an_image_larger_than_announced_is_refused_before_it_is_decoded() -> None:
    bomb = simplejpeg.encode_jpeg(np.zeros((4000, 4000, 3), np.uint8))
    with pytest.raises(CodecError, match="4000 x 4000"):
        images.decode_images(images.join_files([bomb]), (1, 48, 64, 3))


@pytest.mark.parametrize("count", [0, 2, 4])
def test_another_number_of_files_is_refused(count: int) -> None:
    with pytest.raises(CodecError):
        images.decode_images(images.encode_images(photographs(), 90), (count, 48, 64, 3))


@given(place=st.integers(0, 10_000), flip=st.integers(1, 255), keep=st.integers(0, 10_000))
def test_damaged_streams_decode_to_the_announced_shape_or_are_refused(place: int, flip: int, keep: int) -> None:
    stream = bytearray(images.encode_images(photographs(1), 80))
    stream[place % len(stream)] ^= flip
    try:
        back = images.decode_images(bytes(stream[: keep or None]), (1, 48, 64, 3))
    except CodecError:
        return
    assert back.shape == (1, 48, 64, 3)


@given(st.binary(max_size=64), st.integers(0, 5))
def test_any_bytes_are_files_that_fill_them_or_refused(payload: bytes, count: int) -> None:
    try:
        files = images.split_files(payload, count)
    except CodecError:
        return
    assert sum(len(file) + images.LENGTH_BYTES for file in files) == len(payload)


@given(st.lists(st.binary(max_size=9), max_size=6), st.lists(st.integers(0, 80), max_size=6), st.integers(0, 7))
def test_files_are_counted_alike_however_the_stream_is_cut(files: list[bytes], cuts: list[int], most: int) -> None:
    stream = images.join_files(files)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    parts = [stream[start:end] for start, end in pairwise(edges)]
    assert images.count_files(parts, most) == min(len(files), most + 1)


@given(st.binary(min_size=1, max_size=64), st.integers(0, 64))
def test_counting_any_bytes_gives_what_splits_or_a_refusal(payload: bytes, cut: int) -> None:
    parts = [payload[:cut], payload[cut:]]
    try:
        count = images.count_files(parts, 100)
    except CodecError:
        return
    assert len(images.split_files(payload, count)) == count


def test_no_more_files_are_counted_than_asked() -> None:
    class Watched(bytes):
        reads = 0

        def __getitem__(self, index: Any) -> Any:
            Watched.reads += 1
            return super().__getitem__(index)

    assert images.count_files([Watched(4 * 1000)], 8) == 9
    assert Watched.reads <= 9
