"""An application's image becomes what the model was trained on: decoded, resized, cropped, normalised.

The steps are those of timm's evaluation transform, bit for bit, but free of torch, with two exceptions. An image of the
model's own size is not enlarged to be cropped again, as `crop_pct` below 1 would have it. A JPEG of twice the needed
size or more is decoded at 1/2 to 1/8 of it (the decoder leaves out the finest frequencies): that takes a third of the
time and moves the mean pixel by less than SCALED_DECODING_LEVELS.

Images come from strangers: size is checked before anything is decoded, and only plain raster formats are tried (Pillow
would run Ghostscript on an EPS).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, UnidentifiedImageError

from splitd.calibration.images.preprocessing import MAX_IMAGE_PIXELS, Preprocessing
from splitd.errors import InputError

ImageArray = npt.NDArray[np.uint8]

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# A scaled JPEG stays so much larger than needed, in each direction: the resampling filter needs something to work on.
_DECODING_MARGIN = 2
# Of 255: how far scaled decoding may move a pixel, on the mean of an image; a JPEG of quality 95 is 1 to 3 off itself.
SCALED_DECODING_LEVELS = 2.0
_JPEG_MAGIC = b"\xff\xd8\xff"
_RGB = 3
_MODES = {1: "L", _RGB: "RGB"}
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_WITH_TRANSPARENCY = ("LA", "PA", "RGBA", "RGBa", "La")


def prepare_image(data: bytes | memoryview | npt.NDArray[np.uint8], preprocessing: Preprocessing | None) -> ImageArray:
    """Return the image as the model's input size, uint8 (H, W, C), C-contiguous.

    `data` is an encoded image (JPEG, PNG, WebP, BMP, GIF, TIFF, PPM; converted to the model's one or three channels) or
    uint8 pixels (height, width, channels), for one channel also (height, width). An image that has the model's size
    already is taken as it is: whoever cut it to that size has prepared it.

    Raises:
        InputError: not an image, truncated, too large, or an array of another shape or dtype; an encoded image where
            the model has neither one nor three channels; any image where there is no preprocessing.
    """
    known = _required(preprocessing)
    if isinstance(data, np.ndarray):
        return _fit_pixels(_checked_pixels(data, known.size[0]), known)
    return _pixels(_fit(decode_image(bytes(data), known.size[0], _least_sides(known)), known, known.mean))


def normalise(batch: ImageArray, preprocessing: Preprocessing | None) -> npt.NDArray[np.float32]:
    """Return prepared images (B, H, W, C) uint8 as the model's input (B, C, H, W) float32, C-contiguous.

    Raises:
        InputError: another shape or dtype than `prepare_image` gives for this model, or there is no preprocessing.
    """
    known = _required(preprocessing)
    channels, height, width = known.size
    if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[1:] != (height, width, channels):
        raise InputError(
            f"images must be uint8 (batch, {height}, {width}, {channels}), not {batch.dtype} {batch.shape}"
        )
    values = np.ascontiguousarray(batch.transpose(0, 3, 1, 2), dtype=np.float32)
    values /= np.float32(255)
    values -= np.array(known.mean, dtype=np.float32)[:, None, None]
    values /= np.array(known.std, dtype=np.float32)[:, None, None]
    return values


def decode_image(data: bytes, channels: int = _RGB, least: tuple[int, int] = (0, 0)) -> Image.Image:
    """Decode an encoded image to RGB, or to grey for one channel.

    A JPEG comes reduced by 2 to 8 if neither side gets below `least` (width, height) by that; with 0, in full.

    Raises:
        InputError: it is no image, truncated, above MAX_IMAGE_PIXELS, or images have no such number of channels.
    """
    if channels not in _MODES:
        raise InputError(
            f"this network takes {channels} channels: hand in arrays (height, width, {channels}), no files"
        )
    if data.startswith(_JPEG_MAGIC):
        return _decoded(partial(_decode_jpeg, mode=_MODES[channels], least=least), data)
    return _decoded(partial(_decode_other, mode=_MODES[channels]), data)


def _required(preprocessing: Preprocessing | None) -> Preprocessing:
    if preprocessing is None:
        raise InputError(
            "this network has no preprocessing, so it takes prepared float32 tensors only; for images say in both "
            "configurations how they are prepared: model.preprocessing, `imagenet` or its fields"
        )
    return preprocessing


def _decoded(decode: Callable[[bytes], Image.Image], data: bytes) -> Image.Image:
    try:
        return decode(data)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"not an image in a known format ({', '.join(FORMATS)})") from error
    except Exception as error:  # decoders fail in many ways on damaged data: ValueError, OSError, SyntaxError, zlib's
        raise InputError(f"the image is damaged or truncated: {error}") from error


def _decode_jpeg(data: bytes, mode: str, least: tuple[int, int]) -> Image.Image:
    height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    _check_pixels(width, height)
    if colorspace in {"CMYK", "YCCK"}:
        return _decode_other(data, mode)
    colours = "GRAY" if mode == "L" else "RGB"
    # Below a factor of 2 decoding is no faster than in full.
    limits = {"min_width": least[0], "min_height": least[1], "min_factor": 2}
    reducible = 0 < 2 * least[0] <= width and 0 < 2 * least[1] <= height
    pixels = simplejpeg.decode_jpeg(data, colours, **(limits if reducible else {}))
    return Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels)


def _least_sides(preprocessing: Preprocessing) -> tuple[int, int]:
    """Return (width, height) below which nothing is decoded: the resized image and the margin."""
    height, width = (math.floor(side / preprocessing.crop_pct) for side in preprocessing.size[1:])
    return _DECODING_MARGIN * width, _DECODING_MARGIN * height


def _decode_other(data: bytes, mode: str) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _check_pixels(*image.size)
        image.load()
        return _convert(image, mode)


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """Convert to RGB or L: 16-bit grey keeps its upper byte, transparency is dropped."""
    if image.mode in _SIXTEEN_BIT_MODES:
        upper = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return Image.fromarray(upper).convert(mode)
    if image.mode == "F":
        raise InputError("floating-point images have no defined range; send 8 or 16 bit ones")
    if image.mode in _WITH_TRANSPARENCY or "transparency" in image.info:
        return image.convert("RGBA").convert("RGB").convert(mode)
    return image.convert(mode)


def _checked_pixels(pixels: npt.NDArray[np.uint8], channels: int) -> ImageArray:
    planes = pixels[:, :, None] if channels == 1 and pixels.ndim == 2 else pixels
    if planes.dtype != np.uint8 or planes.ndim != 3 or planes.shape[2] != channels or 0 in planes.shape:
        raise InputError(f"pixels must be uint8 (height, width, {channels}), not {pixels.dtype} {pixels.shape}")
    _check_pixels(planes.shape[1], planes.shape[0])
    return planes


def _fit_pixels(pixels: ImageArray, preprocessing: Preprocessing) -> ImageArray:
    channels, height, width = preprocessing.size
    if pixels.shape[:2] == (height, width):
        return np.ascontiguousarray(pixels)
    if channels == _RGB:
        return _pixels(_fit(Image.fromarray(np.ascontiguousarray(pixels)), preprocessing, preprocessing.mean))
    planes = [Image.fromarray(np.ascontiguousarray(pixels[:, :, i])) for i in range(channels)]
    fitted = [_fit(plane, preprocessing, (mean,)) for plane, mean in zip(planes, preprocessing.mean, strict=True)]
    return np.stack([np.asarray(plane) for plane in fitted], axis=2)


def _pixels(image: Image.Image) -> ImageArray:
    pixels = np.asarray(image, dtype=np.uint8, order="C")
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_IMAGE_PIXELS:
        raise InputError(f"an image of {width} x {height} pixels is over the limit of {MAX_IMAGE_PIXELS} pixels")


def _fit(image: Image.Image, preprocessing: Preprocessing, means: tuple[float, ...]) -> Image.Image:
    _, height, width = preprocessing.size
    if image.size == (width, height):
        return image
    scaled = _scaled_size(image.size, preprocessing)
    _check_pixels(*scaled)  # a line of 1 x 50 000 pixels would become 256 x 12 800 000
    resampling = Image.Resampling[preprocessing.interpolation.upper()]
    resized = image if image.size == scaled else image.resize(scaled, resampling)
    if preprocessing.crop_mode == "border":
        resized = _pad(resized, (width, height), means)
    left, top = round((resized.width - width) / 2), round((resized.height - height) / 2)
    return resized.crop((left, top, left + width, top + height))


def _scaled_size(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """Return (width, height) after resizing and before cropping, rounded as timm and torchvision do."""
    width, height = size
    target_height, target_width = (math.floor(side / preprocessing.crop_pct) for side in preprocessing.size[1:])
    if preprocessing.crop_mode == "squash":
        return target_width, target_height
    if preprocessing.crop_mode == "center" and target_width == target_height:
        if width <= height:
            return target_width, int(target_width * height / width)
        return int(target_width * width / height), target_width
    choose = max if preprocessing.crop_mode == "border" else min
    ratio = choose(height / target_height, width / target_width)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def _pad(image: Image.Image, size: tuple[int, int], means: tuple[float, ...]) -> Image.Image:
    """Centre the image on a canvas of the mean colour that is at least (width, height)."""
    canvas_size = max(size[0], image.width), max(size[1], image.height)
    if canvas_size == image.size:
        return image
    colour = tuple(round(255 * value) for value in means)
    canvas = Image.new(image.mode, canvas_size, colour if len(colour) > 1 else colour[0])
    canvas.paste(image, ((canvas_size[0] - image.width) // 2, (canvas_size[1] - image.height) // 2))
    return canvas
