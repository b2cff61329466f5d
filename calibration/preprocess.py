"""An application's image becomes what the model was trained on: decoded, resized, cropped, normalised.

Free of torch, so the client side of the intake and the tools can use it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preprocessing:
    """How a model wants its images; the fields are timm's (`resolve_model_data_config`).

    `size` is (channels, height, width) in pixels; `mean` and `std` are per channel of values scaled to 0..1;
    `crop_pct` is the share of the resized image that the centre crop keeps; `crop_mode` is "center" (resize the
    shorter side), "squash" (resize both sides) or "border" (resize the longer side and pad).
    """

    size: tuple[int, int, int]
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    crop_mode: str = "center"
