"""A small network for tests with real daemons: 64 x 64 pixels, six blocks, five natural bottlenecks."""

from __future__ import annotations

import torch
from torch import nn

from splitd.calibration.images import Preprocessing


class Block(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.relu(self.conv(x))


class Tiny(nn.Module):
    def __init__(self, side: int = 64) -> None:
        super().__init__()
        widths = ((3, 8, 2), (8, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 32, 2))
        self.blocks = nn.Sequential(*(Block(*width) for width in widths))
        self.head = nn.Linear(32, 10)
        self.preprocessing = Preprocessing.imagenet((3, side, side))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(x).mean((2, 3)))


def make() -> nn.Module:
    return Tiny()


def make_for_photographs() -> nn.Module:
    """Images of 150 KB: at 2 MB/s such a transfer is long enough to be timed through a relay that sends every 2 ms."""
    return Tiny(224)
