"""The blocks of timm's EfficientNets as their own modules report them, for comparison with the cuts of their graphs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from splitd.calibration.model.graph import Cut

Shapes = Mapping[str, tuple[int, ...]]


def block_shapes(module: nn.Module, size: int) -> Shapes:
    """What `module.blocks[i][j]` return for square images of `size` pixels, per sample, in execution order.

    The module is on the meta device.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, output: torch.Tensor) -> None:
        shapes[name] = tuple(output.shape[1:])

    handles = [
        block.register_forward_hook(lambda _m, _i, output, name=f"blocks.{i}.{j}": note(name, output))
        for i, stage in enumerate(module.blocks)
        for j, block in enumerate(stage)
    ]
    with torch.inference_mode():
        module(torch.zeros(1, 3, size, size, device="meta"))
    for handle in handles:
        handle.remove()
    return shapes


def assert_cuts_are_blocks(cuts: Sequence[Cut], blocks: Shapes, size: int) -> None:
    """One cut after each block, in their order, with its shape; every derived figure as docs/method.md defines it."""
    assert [(cut.name, cut.shapes) for cut in cuts] == [(name, (shape,)) for name, shape in blocks.items()]
    lowest = image = 3 * size * size
    for cut, shape in zip(cuts, blocks.values(), strict=True):
        elements = math.prod(shape)
        assert (cut.elements, cut.bytes_f32, cut.ratio) == (elements, 4 * elements, elements / image)
        assert cut.natural == (elements < image)
        assert cut.compressive == (elements < lowest)
        lowest = min(lowest, elements)
