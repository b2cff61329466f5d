"""What every kernel of an exported program computes and moves, counted on the graph, not guessed from layer names."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import Node

from splitd.calibration.model import Graph, batch_shape
from splitd.calibration.study.flops import Shape, arithmetic_of

FLOAT32_BYTES = 4
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class KernelTable:
    """One row per kernel in the order of execution; per-sample figures grow with the batch, weights do not.

    `steps` are positions in `Graph.steps`.
    """

    steps: Ints
    flops: Ints
    depthwise: NDArray[np.bool_]
    activation_bytes: Ints
    weight_bytes: Ints

    @property
    def total_flops(self) -> int:
        """Operations of one forward pass of one sample."""
        return int(self.flops.sum())

    def kernels_up_to(self, step: int) -> int:
        """Return how many kernels run up to and including this step."""
        return int(np.searchsorted(self.steps, step, side="right"))


@dataclass(frozen=True)
class _Row:
    step: int
    flops: int
    depthwise: bool
    activation_bytes: int
    weight_bytes: int


def count_kernels(graph: Graph) -> KernelTable:
    """Return what each kernel of the graph's steps computes and moves; parameters and buffers count as weights."""
    weights = frozenset(graph.constants)
    rows = [_row(index, node, weights) for index, node in enumerate(graph.steps) if _is_kernel(node)]
    return KernelTable(
        steps=np.array([row.step for row in rows], dtype=np.int64),
        flops=np.array([row.flops for row in rows], dtype=np.int64),
        depthwise=np.array([row.depthwise for row in rows], dtype=np.bool_),
        activation_bytes=np.array([row.activation_bytes for row in rows], dtype=np.int64),
        weight_bytes=np.array([row.weight_bytes for row in rows], dtype=np.int64),
    )


def _is_kernel(node: Node) -> bool:
    """Views, tuple unpacking and eval-mode dropout start no kernel."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):  # noqa: SLF001 - no public name
        return False
    inactive_dropout = node.target.overloadpacket is torch.ops.aten.dropout and not node.args[2]
    return not node.target.is_view and not inactive_dropout


def _row(step: int, node: Node, weights: frozenset[str]) -> _Row:
    sources = [source for source in node.all_input_nodes if _tensors(source)]
    output = _tensors(node)
    arguments = torch.fx.node.map_arg(node.args, _shape_of_node)
    arithmetic = arithmetic_of(node.target, arguments, output[0] if output else ())
    read = [shape for source in sources if source.name not in weights for shape in _tensors(source)]
    constant = [shape for source in sources if source.name in weights for shape in _tensors(source)]
    return _Row(
        step=step,
        flops=arithmetic.flops,
        depthwise=arithmetic.depthwise,
        activation_bytes=FLOAT32_BYTES * sum(math.prod(shape) for shape in (*read, *output)),
        weight_bytes=FLOAT32_BYTES * sum(math.prod(shape) for shape in constant),
    )


def _shape_of_node(node: Node) -> Any:
    shapes = _tensors(node)
    return shapes[0] if len(shapes) == 1 else shapes


def _tensors(node: Node) -> list[Shape]:
    """Return the shapes of a node's tensor values at batch size one; empty for numbers."""
    value = node.meta.get("val")
    values = value if isinstance(value, (list, tuple)) else [value]
    return [batch_shape(one.shape, node.name).fixed for one in values if isinstance(one, torch.Tensor)]
