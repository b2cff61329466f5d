"""Images to calibrate with: the user's own, or generated ones whose statistics are like a photograph's."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from splitd.calibration.images.preprocess import Preprocessing, prepare_image
from splitd.errors import InputError

log = logging.getLogger(__name__)

GENERATED = "generated"  # the value of `accuracy.samples` that stands for generated images
MAX_FILE_BYTES = 64 << 20  # a larger file is cut off, and then refused as a truncated image
SPECTRAL_SLOPE = 1.2
LENS_CUTOFF = 0.3  # cycles per pixel

Images = npt.NDArray[np.uint8]


def generated_images(count: int, height: int, width: int, *, seed: int = 0) -> Images:
    """Return `count` colour images (count, height, width, 3): noise with the amplitude spectrum of natural scenes.

    White noise would not do: its activations have other ranges, and JPEG cannot compress it. Amplitudes fall about as
    1/f (Field, "Relations between the statistics of natural images", 1987), the lens takes the highest frequencies, and
    the channels are mostly brightness. At 224 x 224 their JPEGs are as large as those of photographs: 12 KB at quality
    75, 28 KB at 95.
    """
    rng = np.random.default_rng(seed)
    return np.stack([_scene(rng, height, width) for _ in range(count)])


def load_samples(directory: Path, preprocessing: Preprocessing, *, limit: int) -> Images:
    """Return up to `limit` images of a directory, in the order of their names, prepared for the model.

    Files that are not images are skipped and logged.

    Raises:
        InputError: The directory cannot be read, or holds no image.
    """
    try:
        paths = sorted(path for path in directory.iterdir() if path.is_file())
    except OSError as error:
        raise InputError(f"{directory}: the sample images cannot be read ({error.strerror or error})") from error
    images: list[Images] = []
    for path in paths:
        if len(images) == limit:
            break
        images += _prepared(path, preprocessing)
    if not images:
        raise InputError(f"{directory}: there is no image here to calibrate with; put JPEG or PNG files in it")
    return np.stack(images)


def repeated(images: Images, count: int) -> Images:
    """Return exactly `count` images, starting over where there are fewer."""
    return np.ascontiguousarray(images[np.arange(count) % len(images)])


def _prepared(path: Path, preprocessing: Preprocessing) -> list[Images]:
    try:
        with path.open("rb") as file:
            return [prepare_image(file.read(MAX_FILE_BYTES), preprocessing)]
    except (InputError, OSError) as error:
        log.warning("%s: skipped, %s", path, error)
        return []


def _scene(rng: np.random.Generator, height: int, width: int) -> Images:
    brightness = _noise(rng, height, width)[..., None]
    colour = np.stack([_noise(rng, height, width) for _ in range(3)], axis=-1)
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
