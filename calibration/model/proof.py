"""Proves at start that the first dimension is the batch, and that the exported network says what the eager one says.

The agent puts the inputs of several applications into one batch and hands each its rows of the outputs. That is right
only for a network that answers each sample by itself, whatever the batch size. Shapes in the exported graph are not
enough: they were traced with one batch size.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch.utils._pytree import tree_leaves

from splitd.calibration.model.graph import Graph
from splitd.errors import ModelError

# A slow network is proved on fewer batches; what is left out is found by whoever compares results.
BUDGET_S = 10.0
# Batches of one, of three (only the first sample the same), and of two of the five samples.
_BATCHES = ((0,), (0, 1, 2), (0, 3, 4), (1, 2))
_SAMPLES = 5
# One batch, the same operators: equal to the bit where torch fuses nothing.
EXPORT_TOLERANCE = 1e-4
# The first sample's row in two batches of one size comes from the same kernels: equal to the bit, but for layers that
# quantise by the range of the batch (1e-2). Rows of other batch sizes alone say nothing, since other kernels round
# differently, and an untrained tf_efficientnetv2_s blows that up to 0.8.
EQUAL, MIXED = 1e-5, 0.1

Outputs = list[torch.Tensor]
Run = Callable[[torch.Tensor], object]


def prove_batch(eager: Run, graph: Graph, device: torch.device, *, clock: Callable[[], float] = time.monotonic) -> None:
    """Compare eager and exported network on batches of 1, 3 and 2 of different samples, for about `BUDGET_S` at most.

    Raises:
        ModelError: Shapes are not what the graph says, values differ between eager and exported, or a sample's row
            depends on what else is in its batch.
    """
    exported = graph.program.module()
    started_s = clock()
    samples = _samples(graph, device)
    rows: list[Outputs] = []  # of the first sample
    with torch.inference_mode():
        for chosen in _BATCHES:
            batch = samples[list(chosen)]
            found = _checked(eager, batch, graph)
            worst = _difference(found, _checked(exported, batch, graph))
            if worst > EXPORT_TOLERANCE:
                raise ModelError(f"the exported network does not say what the network itself says (off by {worst:.2g})")
            rows += [[output[:1] for output in found]] if chosen[0] == 0 else []
            if clock() - started_s > BUDGET_S:
                break
    _check_rows(rows)


def _check_rows(rows: Sequence[Outputs]) -> None:
    """Compare the first sample's rows alone, and in two batches of three."""
    if len(rows) < 3:
        return
    alone, one, other = rows
    beside_others, in_company = _difference(one, other), _difference(alone, one)
    if beside_others > MIXED or (beside_others > EQUAL and in_company > MIXED):
        raise ModelError(
            "what it says about a sample depends on the other samples of the batch "
            f"(off by {max(beside_others, in_company):.2g})"
        )


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


def _difference(expected: Sequence[torch.Tensor], found: Sequence[torch.Tensor]) -> float:
    """Return the largest difference of any output as a share of its largest value.

    Classes and indices do not count, since a tie may fall either way, nor does what is not finite: random weights may
    well overflow.
    """
    worst = 0.0
    for a, b in zip(expected, found, strict=True):
        if a.is_floating_point() and a.numel():
            scale, error = float(a.abs().amax()), float((a - b).abs().amax())
            share = error / scale if scale else error
            worst = max(worst, share) if math.isfinite(share) else worst
    return worst
