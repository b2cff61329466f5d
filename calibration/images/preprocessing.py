"""How a network wants its images, and what a configuration may say about it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from PIL import Image

from splitd.errors import ModelError

# 150 MB as RGB: above any camera's usual picture, below what a compressed bomb of some kilobytes would unfold to.
MAX_IMAGE_PIXELS = 50_000_000
CROP_MODES = ("center", "squash", "border")
Preset = Literal["imagenet", "none"]
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_IMAGE_RANK = 3


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
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        if len(self.size) != _IMAGE_RANK or min(self.size) < 1 or math.prod(self.size[1:]) > MAX_IMAGE_PIXELS:
            raise ModelError(f"preprocessing: size {self.size} must be (channels, height, width) in pixels")
        if self.interpolation.upper() not in Image.Resampling.__members__:
            raise ModelError(f"preprocessing: there is no interpolation {self.interpolation}")
        if self.crop_mode not in CROP_MODES:
            raise ModelError(f"preprocessing: crop_mode {self.crop_mode} must be one of {', '.join(CROP_MODES)}")
        if not 0.1 <= self.crop_pct <= 1.0:
            raise ModelError(f"preprocessing: crop_pct {self.crop_pct} must lie between 0.1 and 1")
        if not (len(self.mean) == len(self.std) == self.size[0]) or min(self.std) <= 0:
            raise ModelError("preprocessing: mean and std need one value for each channel, std above 0")

    @classmethod
    def imagenet(cls, size: tuple[int, int, int]) -> Preprocessing:
        """Return ImageNet's mean and deviation, bicubic, nothing cropped off the shorter side."""
        return cls(size, _IMAGENET_MEAN, _IMAGENET_STD)


@dataclass(frozen=True)
class PreprocessingChoice:
    """What a configuration says about preprocessing; None where it leaves a field to the preset, or to the model.

    `preset` is "imagenet", "none" (the application hands in prepared tensors) or None: what the model itself brings.
    The other fields are those of `Preprocessing`.
    """

    preset: Preset | None = None
    size: tuple[int, int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: str | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None

    def __post_init__(self) -> None:
        if self.preset not in (None, *get_args(Preset)):
            raise ModelError(f"preprocessing: {self.preset} must be one of {', '.join(get_args(Preset))}")
        if self.preset == "none" and self.fields():
            raise ModelError(f"preprocessing: none has no {', '.join(self.fields())}")

    def fields(self) -> dict[str, Any]:
        """Return the fields of `Preprocessing` that are given."""
        return {name: value for name, value in asdict(self).items() if name != "preset" and value is not None}

    def settle(self, own: Preprocessing | None, shape: tuple[int, ...]) -> Preprocessing | None:
        """Return the preprocessing in force; None: there is none.

        Args:
            own: What the model brings.
            shape: The network's input for one sample, without the batch dimension.

        Raises:
            ModelError: The fields do not fit each other or the network, or mean and std are given by nobody.
        """
        if self.preset == "none":
            return None
        given = self.fields()
        if self.preset is None and not given:
            return own
        size = _image_size(shape)
        if given.setdefault("size", size) != size:
            raise ModelError(f"preprocessing: size {self.size}, but the network takes {size}")
        if self.preset == "imagenet":
            return replace(Preprocessing.imagenet(size), **given)
        if own is not None:
            return replace(own, **given)
        if self.mean is None or self.std is None:
            raise ModelError("preprocessing: mean and std are needed, since this network brings none of its own")
        return Preprocessing(**given)


def _image_size(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) != _IMAGE_RANK:
        raise ModelError(f"preprocessing: this network takes no images but tensors {shape}; set it to none")
    channels, height, width = shape
    return channels, height, width
