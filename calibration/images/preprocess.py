"""An application's image becomes what the model was trained on: decoded, resized, cropped, normalised.

The steps are those of timm's evaluation transform, bit for bit, but free of torch. Images come from strangers: size is
checked before anything is decoded, and only plain raster formats are tried (Pillow would run Ghostscript on an EPS).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, UnidentifiedImageError

from splitd.errors import InputError, ModelError

ImageArray = npt.NDArray[np.uint8]

# 150 MB as RGB: above any camera's usual picture, below what a compressed bomb of some kilobytes would unfold to.
MAX_IMAGE_PIXELS = 50_000_000
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
CROP_MODES = ("center", "squash", "border")
_JPEG_MAGIC = b"\xff\xd8\xff"
_RGB = 3
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_WITH_TRANSPARENCY = ("LA", "PA", "RGBA", "RGBa", "La")


@dataclass(frozen=True)
class Preprocessing:
    """How a model wants its images; the fields are timm's (`resolve_model_data_config`).

    `size` is (channels, height, width) in pixels; `mean` and `std` are per channel of values scaled to 0..1;
    `crop_pct` is the share of the resized image that the centre crop keeps; `crop_mode` is "center" (resize the
    shorter side), "squash" (resize both sides) or "border" (resize the longer side and pad with the mean).

    Raises:
        ModelError: a field has a value that does not exist or contradicts another.
    """

    size: tuple[int, int, int]
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        if len(self.size) != 3 or min(self.size) < 1 or math.prod(self.size[1:]) > MAX_IMAGE_PIXELS:
            raise ModelError(f"preprocessing: size {self.size} must be (channels, height, width) in pixels")
        if self.interpolation.upper() not in Image.Resampling.__members__:
            raise ModelError(f"preprocessing: there is no interpolation {self.interpolation}")
        if self.crop_mode not in CROP_MODES:
            raise ModelError(f"preprocessing: crop_mode {self.crop_mode} must be one of {', '.join(CROP_MODES)}")
        if not 0.1 <= self.crop_pct <= 1.0:
            raise ModelError(f"preprocessing: crop_pct {self.crop_pct} must lie between 0.1 and 1")
        if not (len(self.mean) == len(self.std) == self.size[0]) or min(self.std) <= 0:
            raise ModelError("preprocessing: mean and std need one value for each channel, std above 0")


def prepare_image(data: bytes | memoryview | npt.NDArray[np.uint8], preprocessing: Preprocessing) -> ImageArray:
    """Return the image as the model's input size, uint8 (H, W, 3), C-contiguous.

    `data` is an encoded image (JPEG, PNG, WebP, BMP, GIF, TIFF, PPM; grey, CMYK, palette and 16-bit ones are
    converted) or uint8 RGB pixels (height, width, 3).

    Raises:
        InputError: not an image, truncated, too large, or an array of another shape or dtype.
    """
    if isinstance(data, np.ndarray):
        image = Image.fromarray(np.ascontiguousarray(_checked_pixels(data)))
    else:
        image = decode_image(bytes(data))
    return np.asarray(_fit(image, preprocessing), dtype=np.uint8, order="C")


def normalise(batch: ImageArray, preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """Return prepared images (B, H, W, 3) uint8 as the model's input (B, 3, H, W) float32, C-contiguous.

    Raises:
        InputError: another shape or dtype than `prepare_image` gives for this model.
    """
    channels, height, width = preprocessing.size
    if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[1:] != (height, width, channels):
        raise InputError(
            f"images must be uint8 (batch, {height}, {width}, {channels}), not {batch.dtype} {batch.shape}"
        )
    values = np.ascontiguousarray(batch.transpose(0, 3, 1, 2), dtype=np.float32)
    values /= np.float32(255)
    values -= np.array(preprocessing.mean, dtype=np.float32)[:, None, None]
    values /= np.array(preprocessing.std, dtype=np.float32)[:, None, None]
    return values


def decode_image(data: bytes) -> Image.Image:
    """Decode an encoded image to RGB; InputError if it is no image, truncated, or above MAX_IMAGE_PIXELS."""
    if data.startswith(_JPEG_MAGIC):
        return _decoded(_decode_jpeg, data)
    return _decoded(_decode_other, data)


def _decoded(decode: Callable[[bytes], Image.Image], data: bytes) -> Image.Image:
    try:
        return decode(data)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"not an image in a known format ({', '.join(FORMATS)})") from error
    except Exception as error:  # decoders fail in many ways on damaged data: ValueError, OSError, SyntaxError, zlib's
        raise InputError(f"the image is damaged or truncated: {error}") from error


def _decode_jpeg(data: bytes) -> Image.Image:
    height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    _check_pixels(width, height)
    if colorspace in {"CMYK", "YCCK"}:
        return _decode_other(data)
    return Image.fromarray(simplejpeg.decode_jpeg(data, colorspace="RGB"))


def _decode_other(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _check_pixels(*image.size)
        image.load()
        return _to_rgb(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: 16-bit grey keeps its upper byte, transparency is dropped."""
    if image.mode in _SIXTEEN_BIT_MODES:
        upper = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return Image.fromarray(upper).convert("RGB")
    if image.mode == "F":
        raise InputError("floating-point images have no defined range; send 8 or 16 bit ones")
    if image.mode in _WITH_TRANSPARENCY or "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def _checked_pixels(pixels: npt.NDArray[np.uint8]) -> ImageArray:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != _RGB or 0 in pixels.shape:
        raise InputError(f"pixels must be uint8 (height, width, 3), not {pixels.dtype} {pixels.shape}")
    _check_pixels(pixels.shape[1], pixels.shape[0])
    return pixels


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_IMAGE_PIXELS:
        raise InputError(f"an image of {width} x {height} pixels is over the limit of {MAX_IMAGE_PIXELS} pixels")


def _fit(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    _, height, width = preprocessing.size
    scaled = _scaled_size(image.size, preprocessing)
    _check_pixels(*scaled)  # a line of 1 x 50 000 pixels would become 256 x 12 800 000
    resampling = Image.Resampling[preprocessing.interpolation.upper()]
    resized = image if image.size == scaled else image.resize(scaled, resampling)
    if preprocessing.crop_mode == "border":
        resized = _pad(resized, width, height, preprocessing)
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


def _pad(image: Image.Image, width: int, height: int, preprocessing: Preprocessing) -> Image.Image:
    """Centre the image on a canvas of the mean colour that is at least width x height."""
    canvas_size = max(width, image.width), max(height, image.height)
    if canvas_size == image.size:
        return image
    red, green, blue = (round(255 * value) for value in preprocessing.mean)
    canvas = Image.new("RGB", canvas_size, (red, green, blue))
    canvas.paste(image, ((canvas_size[0] - image.width) // 2, (canvas_size[1] - image.height) // 2))
    return canvas
