"""Inputs to calibrate with: the user's own, or generated ones; images whose statistics are like a photograph's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from splitd.calibration.images.preprocess import prepare_image
from splitd.calibration.images.preprocessing import Preprocessing
from splitd.errors import InputError

log = logging.getLogger(__name__)

GENERATED = "generated"  # the value of `accuracy.samples` that stands for generated images
MAX_FILE_BYTES = 64 << 20  # a larger file is cut off, and then refused as a truncated image
SPECTRAL_SLOPE = 1.2
LENS_CUTOFF = 0.3  # cycles per pixel

Images = npt.NDArray[np.uint8]
Samples = npt.NDArray[Any]
"""Images, uint8 (n, H, W, C); where a network has no preprocessing, prepared float32 tensors (n, ...)."""


def generated_samples(count: int, shape: tuple[int, ...], preprocessing: Preprocessing | None) -> Samples:
    """Return `count` inputs of a network that takes `shape` for one sample.

    Images where there is preprocessing. Otherwise float32 numbers, uniform in 0..2: nothing is known of what they
    mean, and cut to whole numbers they are 0 and 1, which every vocabulary has.
    """
    if preprocessing is not None:
        channels, height, width = preprocessing.size
        return generated_images(count, height, width, channels=channels)
    return 2 * np.random.default_rng(0).random((count, *shape), dtype=np.float32)


def generated_images(count: int, height: int, width: int, *, channels: int = 3, seed: int = 0) -> Images:
    """Return `count` images (count, height, width, channels): noise with the amplitude spectrum of natural scenes.

    White noise would not do: its activations have other ranges, and JPEG cannot compress it. Amplitudes fall about as
    1/f (Field, "Relations between the statistics of natural images", 1987), the lens takes the highest frequencies, and
    the channels are mostly brightness. At 224 x 224 their JPEGs are as large as those of photographs: 12 KB at quality
    75, 28 KB at 95.
    """
    rng = np.random.default_rng(seed)
    return np.stack([_scene(rng, height, width, channels) for _ in range(count)])


def load_samples(
    directory: Path, preprocessing: Preprocessing | None, *, limit: int, shape: tuple[int, ...] = ()
) -> Samples:
    """Return up to `limit` samples of a directory, in the order of their names, prepared for the model.

    They are images. Where there is no preprocessing they are `.npy` files, each a float32 array of `shape`: the
    network's input for one sample. Files that are neither are skipped and logged.

    Raises:
        InputError: The directory cannot be read, or holds no sample.
    """
    try:
        paths = sorted(path for path in directory.iterdir() if path.is_file())
    except OSError as error:
        raise InputError(f"{directory}: the samples cannot be read ({error.strerror or error})") from error
    samples: list[Samples] = []
    for path in paths:
        if len(samples) == limit:
            break
        samples += _prepared(path, preprocessing, shape)
    if not samples:
        wanted = "JPEG or PNG files" if preprocessing is not None else f".npy files, float32 {shape}, one a sample"
        raise InputError(f"{directory}: there is no sample here to calibrate with; put {wanted} in it")
    return np.stack(samples)


def repeated(samples: Samples, count: int) -> Samples:
    """Return exactly `count` samples, starting over where there are fewer."""
    return np.ascontiguousarray(samples[np.arange(count) % len(samples)])


def _prepared(path: Path, preprocessing: Preprocessing | None, shape: tuple[int, ...]) -> list[Samples]:
    try:
        if preprocessing is None:
            return [_tensor(path, shape)]
        with path.open("rb") as file:
            return [prepare_image(file.read(MAX_FILE_BYTES), preprocessing)]
    except (InputError, OSError) as error:
        log.warning("%s: skipped, %s", path, error)
        return []


def _tensor(path: Path, shape: tuple[int, ...]) -> Samples:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: what is too large is refused unread
    except (ValueError, EOFError) as error:
        raise InputError(f"not a numpy array: {error}") from error
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != np.float32:
        raise InputError(f"this network takes float32 {shape}")
    return np.array(array)


def _scene(rng: np.random.Generator, height: int, width: int, channels: int) -> Images:
    brightness = _noise(rng, height, width)[..., None]
    colour = np.stack([_noise(rng, height, width) for _ in range(channels)], axis=-1)
    contrast, level = rng.uniform(30, 70), rng.uniform(90, 160)
    return np.clip(level + contrast * (0.9 * brightness + 0.4 * colour), 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float64]:
    """Return a plane of noise, smooth like a photograph, with mean 0 and standard deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1.0
    amplitude = np.exp(-((frequency / LENS_CUTOFF) ** 2)) / frequency**SPECTRAL_SLOPE
    amplitude[0, 0] = 0.0
    plane = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) * amplitude, s=(height, width))
    return np.asarray(plane / max(float(plane.std()), 1e-12))
