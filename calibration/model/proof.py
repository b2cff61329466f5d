"""Proves at start that the first dimension is the batch, and that the exported network says what the eager one says.

The agent puts the inputs of several applications into one batch and hands each its rows of the outputs. That is right
only for a network that answers each sample by itself, whatever the batch size. Shapes in the exported graph are not
enough: they were traced with one batch size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch.utils._pytree import tree_leaves

from splitd.calibration.model.graph import Graph
from splitd.errors import ModelError

# A slow network is proved on fewer batch sizes; what is left out is found by whoever compares results.
BUDGET_S = 10.0
# Sizes and which of the samples: one, all three, then two others.
_BATCHES = ((0, 1), (0, 3), (1, 3))
_SAMPLES = 3
# Other batch sizes take other kernels (1e-6), and a dynamically quantised layer scales by the whole batch (1e-2).
# What mixes samples is wrong by more than half.
MIXING_TOLERANCE = 0.1
# One batch, the same operators: equal to the bit where torch fuses nothing.
EXPORT_TOLERANCE = 1e-4

Outputs = list[torch.Tensor]
Run = Callable[[torch.Tensor], object]


def prove_batch(eager: Run, graph: Graph, device: torch.device, *, clock: Callable[[], float] = time.monotonic) -> None:
    """Compare eager and exported network on batches of 1, 3 and 2 of different samples, for about `BUDGET_S` at most.

    Raises:
        ModelError: Shapes are not what the graph says, values differ between eager and exported, or a sample's rows
            depend on what else is in its batch.
    """
    exported = graph.program.module()
    started_s = clock()
    samples = _samples(graph, device)
    alone: dict[int, Outputs] = {}
    with torch.inference_mode():
        for first, end in _BATCHES:
            batch = samples[first:end]
            found = _checked(eager, batch, graph)
            _compare(found, _checked(exported, batch, graph), EXPORT_TOLERANCE, _EXPORTED)
            for i in range(first, end):
                rows = [output[i - first : i - first + 1] for output in found]
                _compare(alone.setdefault(i, rows), rows, MIXING_TOLERANCE, _MIXED)
            if clock() - started_s > BUDGET_S:
                return


_EXPORTED = "the exported network does not say what the network itself says"
_MIXED = "what it says about a sample depends on the other samples of the batch"


def _samples(graph: Graph, device: torch.device) -> torch.Tensor:
    """Numbers in 0..2: as whole numbers they are 0 and 1, which every vocabulary has."""
    generator = torch.Generator().manual_seed(0)
    return (2 * torch.rand(graph.input_shape.at(_SAMPLES), generator=generator)).to(device)


def _checked(run: Run, batch: torch.Tensor, graph: Graph) -> Outputs:
    try:
        found: Outputs = tree_leaves(run(batch))
    except Exception as error:  # the network's own code
        raise ModelError(f"the network fails on a batch of {len(batch)}: {type(error).__name__}: {error}") from error
    expected = [shape.at(len(batch)) for shape in graph.output_shapes]
    shapes = [tuple(output.shape) for output in found]
    if shapes != expected:
        raise ModelError(
            f"the first dimension of the outputs is not the batch: {len(batch)} samples give {shapes}, not {expected}"
        )
    return found


def _compare(expected: Sequence[torch.Tensor], found: Sequence[torch.Tensor], tolerance: float, what: str) -> None:
    for index, (a, b) in enumerate(zip(expected, found, strict=True)):
        if not a.is_floating_point():  # classes and indices: a tie may fall either way
            continue
        scale = float(a.abs().amax()) if a.numel() else 0.0
        error = float((a - b).abs().amax()) if a.numel() else 0.0
        if error > tolerance * scale:  # false for what is not finite: random weights may well overflow
            raise ModelError(f"{what}: output {index} differs by {error / scale if scale else error:.2g}")
