"""Images become the model's input: timm's own transform is the reference, and bad images are typed errors."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import simplejpeg
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval

from splitd.calibration.images.preprocess import SCALED_DECODING_LEVELS, normalise, prepare_image
from splitd.calibration.images.preprocessing import MAX_IMAGE_PIXELS, Preprocessing, PreprocessingChoice
from splitd.errors import InputError, ModelError

PREPROCESSING = replace(Preprocessing.imagenet((3, 64, 64)), crop_pct=0.875)


def photo(width: int = 97, height: int = 71) -> Image.Image:
    """A picture with smooth and busy parts."""
    rows, columns = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(7).integers(0, 60, (height, width))
    channels = [rows * 180 // height + noise, columns * 180 // width + noise, (rows + columns) % 200]
    return Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(97, 71), (71, 97), (64, 63), (500, 333), (30, 40), (73, 73)])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("target", [(64, 64), (48, 80)])
def test_prepares_and_normalises_exactly_as_timm(
    size: tuple[int, int], crop_mode: str, target: tuple[int, int]
) -> None:
    p = replace(Preprocessing.imagenet((3, *target)), crop_pct=0.875, crop_mode=crop_mode)
    transform = transforms_imagenet_eval(
        target, crop_pct=p.crop_pct, crop_mode=crop_mode, interpolation=p.interpolation, mean=p.mean, std=p.std
    )
    image = photo(*size)
    expected = transform(image).numpy()
    assert np.array_equal(normalise(prepare_image(np.asarray(image), p)[None], p)[0], expected)


def test_prepared_images_are_contiguous_rgb_of_the_models_size() -> None:
    prepared = prepare_image(encoded(photo(), "PNG"), PREPROCESSING)
    assert prepared.shape == (64, 64, 3)
    assert prepared.dtype == np.uint8
    assert prepared.flags.c_contiguous
    batch = normalise(np.stack([prepared, prepared]), PREPROCESSING)
    assert batch.shape == (2, 3, 64, 64)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_give_the_pixels_themselves(kind: str) -> None:
    image = photo()
    assert np.array_equal(
        prepare_image(encoded(image, kind), PREPROCESSING), prepare_image(np.asarray(image), PREPROCESSING)
    )


def smooth_photo(width: int, height: int) -> Image.Image:
    """Like a camera's picture: the finer a detail, the fainter."""
    rng = np.random.default_rng(11)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1.0
    planes = []
    for _ in range(3):
        waves = rng.standard_normal((2, height, width // 2 + 1))
        plane = np.fft.irfft2((waves[0] + 1j * waves[1]) / frequency**1.2, (height, width))
        planes.append((plane - plane.mean()) / plane.std() * 50 + 128)
    return Image.fromarray(np.clip(np.stack(planes, axis=2), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(300, 300), (640, 480), (1600, 1200), (1200, 150)])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_a_large_jpeg_that_is_decoded_smaller_stays_within_the_tolerance(
    crop_mode: str, size: tuple[int, int], mode: str
) -> None:
    channels = len(mode)
    half = (0.5,) * channels
    p = Preprocessing((channels, 64, 64), half, half, crop_pct=0.875, crop_mode=crop_mode)
    data = encoded(smooth_photo(*size).convert(mode), "JPEG", quality=92)
    in_full = prepare_image(np.asarray(Image.open(io.BytesIO(data))), p)
    difference = np.abs(prepare_image(data, p).astype(int) - in_full)
    assert difference.mean() < SCALED_DECODING_LEVELS
    assert difference.max() < 8 * SCALED_DECODING_LEVELS


def test_a_jpeg_below_twice_the_needed_size_is_decoded_in_full() -> None:
    data = encoded(photo(145, 144), "JPEG", quality=92)
    pixels = simplejpeg.decode_jpeg(data)
    assert np.array_equal(prepare_image(data, PREPROCESSING), prepare_image(pixels, PREPROCESSING))


def test_an_image_of_the_models_own_size_is_taken_as_it_is() -> None:
    pixels = np.asarray(photo(64, 64))
    assert PREPROCESSING.crop_pct < 1
    assert np.shares_memory(prepare_image(pixels, PREPROCESSING), pixels)
    assert np.array_equal(prepare_image(encoded(photo(64, 64), "PNG"), PREPROCESSING), pixels)


def test_jpeg_is_close_to_the_pixels() -> None:
    image = photo().resize((400, 300), Image.Resampling.BILINEAR)
    from_jpeg = prepare_image(encoded(image, "JPEG", quality=95), PREPROCESSING).astype(int)
    assert np.abs(from_jpeg - prepare_image(np.asarray(image), PREPROCESSING)).mean() < 3


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("L", "JPEG"),
        ("L", "PNG"),
        ("CMYK", "JPEG"),
        ("P", "PNG"),
        ("P", "GIF"),
        ("RGBA", "PNG"),
        ("LA", "PNG"),
        ("1", "PNG"),
    ],
)
def test_other_colour_modes_are_converted(mode: str, kind: str) -> None:
    image = photo().convert(mode)
    expected = prepare_image(np.asarray(image.convert("RGB")), PREPROCESSING).astype(int)
    prepared = prepare_image(encoded(image, kind), PREPROCESSING)
    assert np.abs(prepared - expected).mean() < 8


def test_sixteen_bit_grey_keeps_the_upper_byte() -> None:
    grey = np.asarray(photo().convert("L"))
    sixteen = Image.fromarray((grey.astype(np.uint16) << 8) | 0x7F)
    expected = prepare_image(np.stack([grey] * 3, axis=2), PREPROCESSING)
    assert np.array_equal(prepare_image(encoded(sixteen, "PNG"), PREPROCESSING), expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_image_is_an_input_error(kind: str, share: float) -> None:
    data = encoded(photo(), kind)
    with pytest.raises(InputError):
        prepare_image(data[: int(len(data) * share)], PREPROCESSING)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"no image at all", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n\x1a\n" + b"\0" * 99]
)
def test_what_is_no_image_is_an_input_error(data: bytes) -> None:
    with pytest.raises(InputError):
        prepare_image(data, PREPROCESSING)


def test_flipped_bits_never_raise_anything_but_an_input_error() -> None:
    rng = np.random.default_rng(3)
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP"):
        original = encoded(photo(), kind)
        for _ in range(60):
            damaged = bytearray(original)
            for position in rng.integers(0, len(damaged), 5):
                damaged[position] ^= 1 << int(rng.integers(8))
            try:
                prepared = prepare_image(bytes(damaged), PREPROCESSING)
            except InputError:
                continue
            assert prepared.shape == (64, 64, 3)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    side = int(MAX_IMAGE_PIXELS**0.5) + 1
    bomb = encoded(Image.new("1", (side, side)), "PNG")
    assert len(bomb) < 20_000
    with pytest.raises(InputError, match="over the limit"):
        prepare_image(bomb, PREPROCESSING)


def test_a_line_that_would_grow_beyond_the_limit_is_refused() -> None:
    with pytest.raises(InputError, match="over the limit"):
        prepare_image(np.zeros((1, 60_000, 3), np.uint8), Preprocessing.imagenet((3, 224, 224)))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_arrays_of_another_kind_are_input_errors(pixels: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"uint8 \(height, width, 3\)"):
        prepare_image(pixels, PREPROCESSING)


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 3, 64, 64), (1, 64, 63, 3)])
def test_normalise_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="uint8"):
        normalise(np.zeros(shape, np.uint8), PREPROCESSING)


@pytest.mark.parametrize(
    "fields",
    [{"interpolation": "magic"}, {"crop_mode": "round"}, {"crop_pct": 0.0}, {"mean": (0.5,)}, {"std": (1.0, 0.0, 1.0)}],
)
def test_settings_that_do_not_exist_are_model_errors(fields: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="preprocessing"):
        replace(Preprocessing.imagenet((3, 64, 64)), **fields)


GREY = Preprocessing((1, 28, 32), (0.5,), (0.25,), crop_pct=0.875)
FIVE = Preprocessing((5, 28, 32), (0.1, 0.2, 0.3, 0.4, 0.5), (0.2,) * 5, crop_mode="border")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_files_are_decoded_to_grey_for_a_network_of_one_channel(kind: str, mode: str) -> None:
    image = photo().convert(mode)
    prepared = prepare_image(encoded(image, kind), GREY)
    assert prepared.shape == (28, 32, 1)
    exact = prepare_image(np.asarray(image.convert("L")), GREY)
    assert np.abs(prepared.astype(int) - exact).mean() < 8


def test_grey_pixels_come_with_and_without_their_channel() -> None:
    grey = np.asarray(photo().convert("L"))
    assert np.array_equal(prepare_image(grey, GREY), prepare_image(grey[:, :, None], GREY))
    values = normalise(prepare_image(grey, GREY)[None], GREY)
    assert values.shape == (1, 1, 28, 32)


def test_each_plane_of_many_channels_is_prepared_like_a_grey_image() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 5)).astype(np.uint8)
    prepared = prepare_image(pixels, FIVE)
    for i, mean in enumerate(FIVE.mean):
        one = Preprocessing((1, 28, 32), (mean,), (0.2,), crop_mode="border")
        assert np.array_equal(prepared[:, :, i], prepare_image(pixels[:, :, i], one)[:, :, 0])


def test_files_have_no_five_channels() -> None:
    with pytest.raises(InputError, match=r"hand in arrays \(height, width, 5\)"):
        prepare_image(encoded(photo(), "PNG"), FIVE)


def test_pixels_of_the_right_size_are_not_copied() -> None:
    pixels = np.asarray(photo(64, 64))
    assert prepare_image(pixels, Preprocessing.imagenet((3, 64, 64))) is pixels


@pytest.mark.parametrize("image", [encoded(photo(), "PNG"), np.zeros((64, 64, 3), np.uint8)])
def test_without_preprocessing_images_are_refused_and_the_way_out_is_named(image: bytes | np.ndarray) -> None:
    with pytest.raises(InputError, match=r"model\.preprocessing"):
        prepare_image(image, None)


def test_a_choice_of_preprocessing_stands_above_the_models_own() -> None:
    own = Preprocessing((3, 8, 8), (0.1,) * 3, (0.2,) * 3)
    assert PreprocessingChoice().settle(own, (3, 8, 8)) == own
    assert PreprocessingChoice().settle(None, (3, 8, 8)) is None
    assert PreprocessingChoice("none").settle(own, (3, 8, 8)) is None
    assert PreprocessingChoice("imagenet").settle(own, (3, 8, 8)) == Preprocessing.imagenet((3, 8, 8))
    assert PreprocessingChoice(crop_pct=0.5).settle(own, (3, 8, 8)) == replace(own, crop_pct=0.5)
    grey = PreprocessingChoice(mean=(0.5,), std=(1.0,)).settle(None, (1, 8, 9))
    assert grey == Preprocessing((1, 8, 9), (0.5,), (1.0,))


@pytest.mark.parametrize(
    ("fields", "shape", "message"),
    [
        ({"crop_pct": 0.5}, (3, 8, 8), "mean and std are needed"),
        ({"preset": "none", "crop_pct": 0.5}, (3, 8, 8), "none has no crop_pct"),
        ({"preset": "imagenet"}, (1, 8, 8), "one value for each channel"),
        ({"preset": "imagenet"}, (100,), "takes no images"),
        ({"preset": "imagenet", "size": (3, 9, 9)}, (3, 8, 8), "the network takes"),
        ({"preset": "cifar"}, (3, 8, 8), "must be one of imagenet, none"),
    ],
)
def test_a_choice_that_does_not_fit_the_network_is_refused(
    fields: dict[str, object], shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        PreprocessingChoice(**fields).settle(None, shape)


def test_works_without_torch() -> None:
    code = "import sys, splitd.calibration.images.preprocess; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
