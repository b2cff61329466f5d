"""Shapes of exported tensors: each dimension is an integer or a multiple of the batch size."""

from __future__ import annotations

import math
from typing import TypeGuard

import torch
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from splitd.errors import ModelError

Dimension = int | torch.SymInt


class BatchShape:
    """A tensor's shape as a function of the batch size.

    Args:
        fixed: the dimensions at batch size 1.
        axis: which dimension grows with the batch, None if none does.

    A shape may hold several samples per batch element in one dimension (Swin folds its windows into the batch, so
    its first dimension is 64·b): `fixed[axis]` is that multiple.
    """

    __slots__ = ("axis", "fixed")

    def __init__(self, fixed: tuple[int, ...], axis: int | None) -> None:
        self.fixed = fixed
        self.axis = axis

    def at(self, batch: int) -> tuple[int, ...]:
        """Return the whole shape for `batch` samples."""
        return tuple(size * batch if i == self.axis else size for i, size in enumerate(self.fixed))

    @property
    def per_sample(self) -> tuple[int, ...]:
        """The shape of one sample: without the batch dimension, which stays only where it holds several rows each."""
        if self.axis is None or self.fixed[self.axis] != 1:
            return self.fixed
        return self.fixed[: self.axis] + self.fixed[self.axis + 1 :]

    @property
    def elements(self) -> int:
        """Elements per sample."""
        return math.prod(self.fixed)


def batch_shape(shape: torch.Size, what: str) -> BatchShape:
    """Return `shape` as a function of the batch size.

    Raises:
        ModelError: the input's values decide a dimension, or not at most one is a multiple of the batch size.
    """
    if not grows_with_batch(shape):
        raise ModelError(f"{what}: the input's values decide the shape {tuple(shape)}")
    ones = [_dimension_at(size, 1) for size in shape]
    twos = [_dimension_at(size, 2) for size in shape]
    growing = [i for i, (one, two) in enumerate(zip(ones, twos, strict=True)) if one != two]
    if len(growing) > 1 or any(twos[i] != 2 * ones[i] for i in growing):
        raise ModelError(f"{what}: the shape {tuple(shape)} does not grow with the batch size along one dimension")
    return BatchShape(tuple(ones), growing[0] if growing else None)


def depends_on_values(size: Dimension) -> bool:
    """Tell whether a dimension depends on the input's values (the length of `boxes[mask]`), not on its size alone."""
    return is_symbolic(size) and bool(free_unbacked_symbols(size))


def grows_with_batch(shape: torch.Size) -> bool:
    """Tell whether the batch size alone decides the shape, so that `batch_shape` may be asked for it."""
    return not any(map(depends_on_values, shape))


def is_symbolic(value: object) -> TypeGuard[torch.SymInt]:
    """Tell whether an exported value is a number that depends on the batch size."""
    return isinstance(value, torch.SymInt)


def _dimension_at(size: Dimension, batch: int) -> int:
    """Evaluate one dimension; the graph has one symbol, the batch size."""
    if not is_symbolic(size):
        return int(size)
    expression = size.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, batch)))
