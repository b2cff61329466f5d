"""Small members of large families, as a user's own `module:function` models: the operators are those of the family."""

from __future__ import annotations

import timm
from torch import nn


def densenet() -> nn.Module:
    """Thirteen values are live at the end of the first of its two dense blocks."""
    return timm.create_model("densenet121", block_config=(12, 4), growth_rate=8, num_classes=10)


def vit() -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", img_size=64, depth=4, embed_dim=48, num_classes=10)


def swin() -> nn.Module:
    """For 56 pixels: four windows, shifted and masked in every second block, then one."""
    widths = {"embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)}
    return timm.create_model("swin_tiny_patch4_window7_224", img_size=56, num_classes=10, **widths)
