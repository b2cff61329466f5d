"""Floating-point operations of one ATen node, from its shapes: one small handler per operator, in a registry.

Definitions: a multiply-add counts as two; only operators with a reduction of products are counted (convolutions, matrix
products, attention), as in torch.utils.flop_counter, which the tests compare with. Everything else is memory traffic.
Shapes are per sample: the batch dimension is 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Shape = tuple[int, ...]
aten = torch.ops.aten


@dataclass(frozen=True)
class Arithmetic:
    """Operations of one node per sample; `depthwise` tells convolutions with one input channel per group apart."""

    flops: int
    depthwise: bool = False


Handler = Callable[[Sequence[Any], Shape], Arithmetic]
HANDLERS: dict[Any, Handler] = {}
NOTHING = Arithmetic(0)


def arithmetic_of(target: Any, args: Sequence[Any], output: Shape) -> Arithmetic:
    """Return the operations of one call; `args` holds shapes in place of tensors, `output` is the result's shape."""
    handler = HANDLERS.get(getattr(target, "overloadpacket", target))
    return handler(args, output) if handler is not None else NOTHING


def handles(*packets: Any) -> Callable[[Handler], Handler]:
    """Register the handler of these operators."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(packets, handler))
        return handler

    return register


@handles(aten.conv1d, aten.conv2d, aten.conv3d)
def _convolution(args: Sequence[Any], output: Shape) -> Arithmetic:
    # weight: (out channels, in channels / groups, *kernel)
    weight: Shape = args[1]
    return Arithmetic(2 * math.prod(output) * math.prod(weight[1:]), depthwise=weight[1] == 1 and weight[0] > 1)


@handles(aten.convolution, aten._convolution)  # noqa: SLF001 - the operator's name
def _general_convolution(args: Sequence[Any], output: Shape) -> Arithmetic:
    transposed = bool(args[6])
    # transposed: every input value meets the whole kernel of (in channels, out channels / groups, *kernel)
    return _convolution(args, output) if not transposed else Arithmetic(2 * math.prod(args[0]) * math.prod(args[1][1:]))


@handles(aten.linear)
def _linear(args: Sequence[Any], output: Shape) -> Arithmetic:
    # (..., in) x (out, in) -> (..., out)
    return Arithmetic(2 * math.prod(output) * args[1][-1])


@handles(aten.mm, aten.bmm, aten.matmul)
def _matmul(args: Sequence[Any], output: Shape) -> Arithmetic:
    # (..., n, k) x (..., k, m) -> (..., n, m)
    return Arithmetic(2 * math.prod(output) * args[0][-1])


@handles(aten.addmm, aten.baddbmm)
def _matmul_added(args: Sequence[Any], output: Shape) -> Arithmetic:
    return _matmul(args[1:], output)


@handles(aten.scaled_dot_product_attention)
def _attention(args: Sequence[Any], output: Shape) -> Arithmetic:
    # query (..., q, d), key (..., s, d), value (..., s, v) -> (..., q, v): scores, then the weighted sum
    keys, depth = args[1][-2:]
    return Arithmetic(2 * math.prod(output[:-1]) * keys * (depth + output[-1]))


@handles(aten.einsum)
def _einsum(args: Sequence[Any], output: Shape) -> Arithmetic:
    del output
    equation, operands = args
    if "..." in equation or len(operands) != 2:
        return NOTHING
    labels = equation.replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(labels, operands, strict=True):
        sizes.update(zip(term, shape, strict=True))
    return Arithmetic(2 * math.prod(sizes.values()))
