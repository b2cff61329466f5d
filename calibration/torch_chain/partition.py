"""A model cut at chosen places into a chain of segments: heads and tails over one set of weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import fx
from torch.utils._pytree import tree_leaves

from splitd.calibration.model import BatchShape, Cut, Graph, LoadedModel
from splitd.calibration.torch_chain.segments import build_segment
from splitd.errors import ModelError, UsageError

Live = tuple[torch.Tensor, ...]
"""What is live at a cut: all that must cross there."""


class Partition:
    """The chain of segments between the chosen cuts.

    Split k = 0..K: head(k) runs segments 0..k-1, tail(k) runs segments k..K-1; k = 0 is full offloading, k = K no
    offloading. Changing the split is changing k: the segments are built once and share the model's weights.

    Args:
        model: the model or its graph.
        cuts: strictly in execution order, from `find_cuts`; may be empty.

    Attributes:
        names: of the cuts k = 0..K: `input`, the chosen cuts, `output`.
        crossing: for k = 0..K the shapes of the tensors that cross there, as functions of the batch size.

    Raises:
        UsageError: the cuts are not in execution order.
    """

    def __init__(self, model: LoadedModel | Graph, cuts: Sequence[Cut]) -> None:
        graph = model.graph if isinstance(model, LoadedModel) else model
        ends = [cut.node_index for cut in cuts]
        if ends != sorted(set(ends)):
            raise UsageError("the cuts of a partition must differ and be in execution order")
        bounds = [-1, *ends, len(graph.steps) - 1]
        self.cuts = tuple(cuts)
        self.names = ("input", *(cut.name for cut in cuts), "output")
        self.K = len(self.names) - 1
        self.segments: tuple[fx.GraphModule, ...] = tuple(
            build_segment(graph, start + 1, end) for start, end in pairwise(bounds)
        )
        crossing = ((graph.input_shape,), *(graph.live_shapes(end) for end in ends), graph.output_shapes)
        self._reference = model.module if isinstance(model, LoadedModel) else build_segment(graph, 0, bounds[-1])
        self.crossing: tuple[tuple[BatchShape, ...], ...] = crossing

    @property
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the model's outputs per sample, without the batch dimension."""
        return self.shapes(self.K)

    def shapes(self, k: int) -> tuple[tuple[int, ...], ...]:
        """Shapes per sample, without the batch dimension, of the tensors that cross at split k."""
        return tuple(shape.per_sample for shape in self.crossing[k])

    def batch_shapes(self, k: int, batch: int) -> tuple[tuple[int, ...], ...]:
        """Whole shapes of the tensors that cross at split k for `batch` samples."""
        return tuple(shape.at(batch) for shape in self.crossing[k])

    def head(self, k: int, x: torch.Tensor) -> Live:
        """Run segments 0..k-1 on x (batch, C, H, W) float32; return what crosses at split k."""
        return self._run(0, k, (x,))

    def tail(self, k: int, live: Sequence[torch.Tensor]) -> Live:
        """Run segments k..K-1 on what crosses at split k, which stays as it is; k = 0 is the whole chain."""
        return self._run(k, self.K, live)

    def segment(self, i: int, live: Sequence[torch.Tensor]) -> Live:
        """Run segment i alone, from split i to split i + 1."""
        return self._run(i, i + 1, live)

    def verify(self, x: torch.Tensor) -> None:
        """Prove on x that every split gives the bits of the unsplit model.

        Raises:
            ModelError: naming the first split whose outputs differ.
        """
        with torch.inference_mode():
            expected = tree_leaves(self._reference(x))
        live: Live = (x,)
        for k, name in enumerate(self.names):
            outputs = self.tail(k, live)
            if not all(_same_bits(a, b) for a, b in zip(outputs, expected, strict=True)):
                raise ModelError(f"cutting at {name} changes the result; this model cannot be split there")
            live = self.segment(k, live) if k < self.K else live

    def _run(self, first: int, end: int, live: Sequence[torch.Tensor]) -> Live:
        values = list(live)
        with torch.inference_mode():
            for segment in self.segments[first:end]:
                values = list(segment(values))
        return tuple(values)


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Compare bit for bit, so that equal NaNs count as equal."""
    return a.shape == b.shape and torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
