"""Images on their way into a network: decoded, resized, cropped, normalised; and sample images to measure with.

It works on numpy arrays and needs no torch.
"""

from splitd.calibration.images.preprocess import Preprocessing, normalise, prepare_image
from splitd.calibration.images.samples import GENERATED, Images, generated_images, load_samples, repeated

__all__ = [
    "GENERATED",
    "Images",
    "Preprocessing",
    "generated_images",
    "load_samples",
    "normalise",
    "prepare_image",
    "repeated",
]
