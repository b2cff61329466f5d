"""What applications may hand in: images, and prepared tensors of any rank, whole numbers among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from splitd.agent.client.client import _as_items
from splitd.agent.client.pack import pack_inputs
from splitd.agent.client.protocol import Item, Request, decode_request, encode_request, kind_of
from splitd.calibration.images import Preprocessing, generated_samples, load_samples
from splitd.errors import InputError


def received(item: Item) -> Item:
    frames = encode_request(Request(1, kind_of(item), (item,), None))
    return decode_request([bytes(frame) for frame in frames]).items[0]


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (20, 30, 3), (20, 30, 7)])
def test_images_have_any_number_of_channels(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(received(image), image)


@pytest.mark.parametrize("shape", [(100_000,), (2, 9), (3, 8, 8), (1, 2, 3, 4, 5, 6, 7)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "int8", "bool"])
def test_prepared_tensors_have_any_rank_and_cross_as_float32(shape: tuple[int, ...], dtype: str) -> None:
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    found = received(array)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    assert np.array_equal(found, array)


def test_whole_numbers_that_float32_does_not_hold_are_refused() -> None:
    assert received(np.array([-(1 << 24), 1 << 24]))[1] == 1 << 24
    for value in ((1 << 24) + 1, -(1 << 24) - 1, -(1 << 63)):
        with pytest.raises(InputError, match="whole numbers"):
            received(np.array([value]))


@pytest.mark.parametrize("array", [np.zeros(5, np.uint8), np.zeros((), np.float32), np.zeros(3, np.complex64)])
def test_what_is_neither_is_refused(array: np.ndarray) -> None:
    with pytest.raises(InputError, match="an input is image bytes"):
        kind_of(array)


@pytest.mark.parametrize(
    ("array", "count"),
    [
        (np.zeros((4, 5), np.uint8), 1),
        (np.zeros((4, 5, 3), np.uint8), 1),
        (np.zeros((2, 4, 5, 3), np.uint8), 2),
        (np.zeros(7, np.int64), 1),
        (np.zeros((4, 7), np.int64), 4),
        (np.zeros((3, 8, 8), np.float32), 1),
        (np.zeros((2, 3, 8, 8), np.float32), 2),
    ],
)
def test_an_array_is_one_input_or_a_batch(array: np.ndarray, count: int) -> None:
    assert len(_as_items(array)) == count
    assert len(_as_items([array])) == 1


def test_several_inputs_become_one_row_in_their_order() -> None:
    row = pack_inputs(np.array([[0.5, 1.5]]), [3, 4], True)
    assert row.dtype == np.float32
    assert row.tolist() == [0.5, 1.5, 3, 4, 1]


def test_generated_samples_are_images_or_numbers_that_every_vocabulary_has() -> None:
    grey = generated_samples(2, (1, 8, 9), Preprocessing((1, 8, 9), (0.5,), (1.0,)))
    assert (grey.shape, grey.dtype) == ((2, 8, 9, 1), np.uint8)
    numbers = generated_samples(3, (12,), None)
    assert (numbers.shape, numbers.dtype) == ((3, 12), np.float32)
    assert set(numbers.astype(np.int64).ravel().tolist()) == {0, 1}


def test_samples_without_preprocessing_are_numpy_files(tmp_path: Path) -> None:
    good = np.arange(6, dtype=np.float32)
    np.save(tmp_path / "b.npy", good)
    np.save(tmp_path / "a.npy", good + 1)
    np.save(tmp_path / "c.npy", good[:5])
    np.save(tmp_path / "d.npy", good.astype(np.float64))
    np.save(tmp_path / "e.npy", np.array([None] * 6), allow_pickle=True)
    (tmp_path / "f.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "g.npy").write_bytes(b"")
    samples = load_samples(tmp_path, None, limit=9, shape=(6,))
    assert np.array_equal(samples, np.stack([good + 1, good]))


def test_a_directory_without_samples_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.npy files, float32 \(6,\)"):
        load_samples(tmp_path, None, limit=9, shape=(6,))
