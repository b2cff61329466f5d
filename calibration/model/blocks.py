"""Which modules are a model's *blocks*: the coarse positions at which the paper cuts.

One rule, on the module paths that the exported graph remembers:

    A block is an item of a series (`blocks.2.1`, `layer1.0`, `stages.0.blocks.3`, `features.denseblock1.denselayer7`)
    or the transition between two series (`features.transition1`, `stages.1.downsample`). A series inside a series is
    a stage and is taken apart; a series inside a block (`layer1.0.downsample.0`) belongs to that block.

A model with fewer than two such blocks is cut after each child of its root, containers (`Sequential`) taken apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# The modules that a node ran in, outermost first: (path, qualified class name). The root's path is empty.
ModuleStack = Sequence[tuple[str, str]]

_SERIES = r"(?:blocks?|layers?\d*|stages?\d*|levels|features|denseblock\d+|s\d+)"
_ITEM = r"(?:\d+|denselayer\d+|transition\d+|encoder_layer_\d+|b\d+)"
_BLOCK = re.compile(
    rf"^(?:[A-Za-z_]+\.)*?(?:{_SERIES}\.)+(?:\d+\.(?:{_SERIES}\.)*)*{_ITEM}$"
    r"|^(?:[A-Za-z_]+\.)*?(?:stages|layers|levels)\.\d+\.downsample$"
)
_CONTAINER_CLASS_PREFIX = "torch.nn.modules.container."
MIN_BLOCKS = 2


def assign_blocks(stacks: Sequence[ModuleStack]) -> list[str | None]:
    """Return for each module stack the path of the block it lies in, None outside every block."""
    named = [_series_block(stack) for stack in stacks]
    if len(set(named) - {None}) >= MIN_BLOCKS:
        return named
    return [_root_child(stack) for stack in stacks]


def _series_block(stack: ModuleStack) -> str | None:
    matches = [path for path, _ in stack if _BLOCK.match(path)]
    return matches[-1] if matches else None


def _root_child(stack: ModuleStack) -> str | None:
    modules = (path for path, kind in stack if path and not kind.startswith(_CONTAINER_CLASS_PREFIX))
    return next(modules, None)
