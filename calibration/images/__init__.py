"""Images on their way into a network: decoded, resized, cropped, normalised; and sample images to measure with.

It works on numpy arrays and needs no torch.
"""

from splitd.calibration.images.preprocess import normalise, prepare_image
from splitd.calibration.images.preprocessing import Preprocessing, PreprocessingChoice
from splitd.calibration.images.samples import (
    GENERATED,
    Images,
    Samples,
    generated_images,
    generated_samples,
    load_samples,
    repeated,
)

__all__ = [
    "GENERATED",
    "Images",
    "Preprocessing",
    "PreprocessingChoice",
    "Samples",
    "generated_images",
    "generated_samples",
    "load_samples",
    "normalise",
    "prepare_image",
    "repeated",
]
