"""What crosses the link for one batch: labels, and the way there and back as both daemons go it."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg

from splitd.errors import CodecError, WireError
from splitd.native import crossing, images
from splitd.native.crossing import Array, Piece
from splitd.native.spec import CODECS, parse, parse_tensor_codec, tensor_labels

IMAGES = np.stack([np.add.outer(np.arange(40), np.arange(56))[..., None] * [1, 2, 1] % 200] * 3).astype(np.uint8)
SIZE = (3, 40, 56)
LABELS = (*tensor_labels(), "raw", "jpeg1", "jpeg90", "jpeg100", "as-given", "-")


def prepare(file: bytes) -> npt.NDArray[np.uint8]:
    """As a server prepares the application's own files; here they have the right size already."""
    pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(file)
    return pixels


def by_tensor(pieces: list[Piece]) -> list[list[Piece]]:
    return [list(group) for _, group in groupby(pieces, key=lambda piece: piece.tensor_index)]


def cross_input(label: str, given: list[Array] | list[bytes], batch: int) -> Array:
    tensors = crossing.tensors_of(given, label)
    chunks = by_tensor(list(crossing.encode(tensors, label)))
    assert crossing.batch_of(tensors, chunks, 8) == batch
    return crossing.decode_input(tensors, chunks, batch, SIZE, prepare)


@pytest.mark.parametrize("label", LABELS)
def test_labels_name_themselves(label: str) -> None:
    assert parse(label).label == label


@pytest.mark.parametrize(
    "label", ["", "u9", "u8+zip", "u8h+lz4", "+lz4", "u8+", "jpeg", "jpeg0", "jpeg101", "jpeg090", "jpeg90+lz4", "raw1"]
)
def test_unknown_labels_are_refused_with_the_known_ones(label: str) -> None:
    with pytest.raises(CodecError, match=r"u8h.*raw, jpeg1 to jpeg100, as-given for images"):
        parse(label)


@pytest.mark.parametrize("label", ["raw", "jpeg90", "as-given", "-"])
def test_only_tensor_codecs_can_be_configured_at_a_cut(label: str) -> None:
    assert parse_tensor_codec("u8+lz4") == parse("u8+lz4")
    with pytest.raises(CodecError, match="does not carry the tensors of a cut"):
        parse_tensor_codec(label)


def test_what_crosses_as_an_image_and_what_brings_back_every_bit() -> None:
    assert [label for label in LABELS if crossing.is_image(label)] == ["raw", "jpeg1", "jpeg90", "jpeg100", "as-given"]
    lossless = {label for label in LABELS if crossing.is_lossless(label)}
    assert lossless == {"f32", "f32+lz4", "f32x", "raw", "as-given", "-"}


def test_every_codec_that_crosses_has_its_own_label_and_an_id_of_one_byte() -> None:
    assert len({codec.label for codec in CODECS.values()}) == len(CODECS)
    assert all(0 <= codec.id <= 255 for codec in CODECS.values() if codec.carries != "nothing")


@pytest.mark.parametrize("label", tensor_labels())
def test_several_tensors_cross_and_come_back(label: str) -> None:
    rng = np.random.default_rng(1)
    given = [rng.standard_normal(shape).astype(np.float32) for shape in ((2, 8, 20, 20), (2, 16, 7, 7), (2, 5))]
    tensors = crossing.tensors_of(given, label)
    chunks = by_tensor(list(crossing.encode(tensors, label)))
    back = crossing.decode(tensors, chunks)
    crossing.check_shapes(back, [array.shape for array in given])
    assert crossing.batch_of(tensors, chunks, 8) == 2
    for before, after in zip(given, back, strict=True):
        assert np.abs(before - after).max() < 0.5
        assert not crossing.is_lossless(label) or before.tobytes() == after.tobytes()


def test_a_tensor_may_lie_in_memory_in_any_order() -> None:
    tensor = np.asfortranarray(np.random.default_rng(0).standard_normal((2, 6, 10, 10)).astype(np.float32))
    (back,) = crossing.decode([tensor], by_tensor(list(crossing.encode([tensor], "f32x"))))
    assert np.array_equal(back, tensor)


def test_a_tensor_is_encoded_only_as_far_as_it_is_asked_for() -> None:
    tensor = np.zeros((1, 64, 56, 56), np.float32)
    pieces = crossing.encode((tensor,), "f32")
    first = next(pieces)
    assert first.chunk_count > 2
    tensor[0, -1] = 1
    assert np.frombuffer(list(pieces)[-1].payload, np.float32)[-1] == 1


def test_raw_images_come_back_bit_for_bit_and_jpeg_alike() -> None:
    assert np.array_equal(cross_input("raw", [IMAGES], 3), IMAGES)
    assert np.abs(cross_input("jpeg95", [IMAGES], 3).astype(int) - IMAGES).mean() < 6


def test_the_applications_own_files_are_prepared_by_the_server() -> None:
    files = [simplejpeg.encode_jpeg(image, 80) for image in IMAGES]
    assert np.array_equal(cross_input("as-given", files, 3), np.stack([prepare(file) for file in files]))


def test_prepared_tensors_cross_at_full_offloading_too() -> None:
    tensor = np.random.default_rng(0).standard_normal((2, *SIZE)).astype(np.float32)
    assert np.array_equal(cross_input("f32", [tensor], 2), tensor)


def test_a_stream_is_joined_once_and_counted_without(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [simplejpeg.encode_jpeg(np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8), 100)] * 3
    tensors = crossing.tensors_of(files, "as-given")
    chunks = by_tensor(list(crossing.encode(tensors, "as-given")))
    assert len(chunks[0]) > 2
    joins: list[int] = []
    joined = crossing._joined
    monkeypatch.setattr(crossing, "_joined", lambda parts: joins.append(len(parts)) or joined(parts))
    assert crossing.batch_of(tensors, chunks, 8) == 3
    assert joins == []
    crossing.decode_input(tensors, chunks, 3, SIZE, prepare)
    assert joins == [len(chunks[0])]


def test_more_images_than_allowed_are_not_counted_on() -> None:
    stream = np.frombuffer(images.join_files([b""] * 1000), np.uint8)
    chunks = by_tensor(list(crossing.encode((stream,), "as-given")))
    assert crossing.batch_of((stream,), chunks, 8) == 9


@pytest.mark.parametrize(
    "tensor",
    [np.zeros((1, 40, 56, 4), np.uint8), np.zeros((1, 3, 40, 40), np.float32), np.zeros((1, *SIZE), np.float64)],
    ids=["channels", "size", "dtype"],
)
def test_an_input_of_another_shape_or_dtype_is_refused(tensor: Array) -> None:
    with pytest.raises(WireError, match="this model takes"):
        cross_input("f32", [tensor], 1)


def test_two_tensors_are_no_input() -> None:
    tensors = crossing.tensors_of([np.zeros((1, *SIZE), np.float32)] * 2, "f32")
    with pytest.raises(WireError, match="2 came"):
        crossing.decode_input(tensors, by_tensor(list(crossing.encode(tensors, "f32"))), 1, SIZE, prepare)


def test_a_cut_takes_its_own_shapes_only() -> None:
    arrays = (np.zeros((2, 3), np.float32),)
    crossing.check_shapes(arrays, [(2, 3)])
    for expected in ([(2, 4)], [(2, 3), (2, 3)], []):
        with pytest.raises(WireError, match="this cut has the tensors"):
            crossing.check_shapes(arrays, expected)
