"""A segment as an ONNX graph with a dynamic batch dimension."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram

from splitd.calibration.model import BatchShape
from splitd.calibration.torch_chain.partition import Live, Partition
from splitd.errors import ModelError

EXPORTER_LOGS = ("torch.onnx", "onnxscript", "onnx_ir")
EXAMPLE_BATCH = 2  # a batch of one would be taken for a dimension that never changes
MAX_BATCH = 65_536  # as in the export of the whole model


class _Positional(nn.Module):
    """A segment with one argument for each tensor: segments take a list, which they empty."""

    def __init__(self, segment: fx.GraphModule) -> None:
        super().__init__()
        self.segment = segment

    def forward(self, *live: torch.Tensor) -> Live:
        outputs: Live = self.segment(list(live))
        return outputs


def export_segment(partition: Partition, i: int, device: torch.device | None = None) -> bytes:
    """Return segment i as a serialised ONNX model of the standard operators; inputs and outputs in the cut's order.

    Raises:
        ModelError: It uses something that ONNX has no operator for, or onnx and onnxscript are not installed.
    """
    try:
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")  # about the exporter's own internals; the result is proved afterwards
            exported = torch.onnx.export(
                export_program(partition, i, device), dynamo=True, optimize=True, verbose=False
            )
            assert exported is not None  # noqa: S101  # it is only where the exporter is told to write a file itself
            content: bytes = exported.model_proto.SerializeToString()
    except Exception as error:  # the exporter runs code of many packages, which can raise anything
        raise ModelError(
            f"segment {i} ({partition.names[i]}) cannot be exported to ONNX: {first_line(error)}"
        ) from error
    return content


def export_program(partition: Partition, i: int, device: torch.device | None = None) -> ExportedProgram:
    """Return segment i as torch exports it, with one argument for each tensor and a dynamic batch dimension."""
    segment = _Positional(partition.segments[i])
    dynamic = (_dynamic(partition.crossing[i]),)
    return torch.export.export(segment, example(partition, i, device), dynamic_shapes=dynamic, strict=False)


def _dynamic(shapes: tuple[BatchShape, ...]) -> tuple[dict[int, Any], ...]:
    batch = Dim("batch", min=1, max=MAX_BATCH)
    return tuple({} if one.axis is None else {one.axis: _rows(batch, one.fixed[one.axis])} for one in shapes)


def _rows(batch: Any, rows: int) -> Any:
    """Return the dimension that holds `rows` for each sample."""
    return batch if rows == 1 else rows * batch


def example(partition: Partition, i: int, device: torch.device | None = None) -> Live:
    """Return what is live before segment i for EXAMPLE_BATCH samples of zeros."""
    live: Live = tuple(torch.zeros(shape.at(EXAMPLE_BATCH), device=device) for shape in partition.crossing[0])
    for earlier in range(i):
        live = partition.segment(earlier, live)
    return tuple(tensor.clone() for tensor in live)  # made in inference mode, where tracing may not use them


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's own log, a line for each pass and node, off the daemon's."""
    loggers = [logging.getLogger(name) for name in EXPORTER_LOGS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text that says something; some are a graph of many pages."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
