"""The identity of a model: what two machines compare before a tensor crosses between them."""

from __future__ import annotations

from dataclasses import astuple

import torch
import xxhash
from torch import fx

from splitd.calibration.images import Preprocessing
from splitd.calibration.model.graph import Graph, is_check, module_stack

# Where a graph says on which device a tensor is made; the two ends may well differ in that.
_MACHINE_ARGUMENTS = {"device", "pin_memory", "layout"}


def model_digest(graph: Graph, preprocessing: Preprocessing | None) -> str:
    """Return 32 hex digits over the graph's operators and shapes, the weights' bytes, and the preprocessing."""
    hasher = xxhash.xxh3_128()
    hasher.update(repr(preprocessing and astuple(preprocessing)).encode())
    for line in _graph_lines(graph):
        hasher.update(line.encode())
    for name in sorted(graph.constants):
        tensor = graph.constants[name]
        hasher.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        hasher.update(_element_bytes(tensor))
    return hasher.hexdigest()


def _graph_lines(graph: Graph) -> list[str]:
    """Write the graph with its nodes numbered: names, symbols and checks differ from process to process."""
    nodes = [node for node in graph.program.graph.nodes if node.op != "placeholder" and not is_check(node)]
    names = {node: f"%{number}" for number, node in enumerate(nodes)}
    names[graph.input] = "input"

    def text(argument: object) -> str:
        if isinstance(argument, fx.Node):
            return names.get(argument, argument.name)
        if isinstance(argument, list | tuple):
            return f"[{','.join(map(text, argument))}]"
        if isinstance(argument, slice):
            return text((argument.start, argument.stop, argument.step))
        return str(argument)

    lines = [f"input {graph.input_shape.fixed}\n"]
    for node in nodes:
        keywords = {key: text(value) for key, value in sorted(node.kwargs.items()) if key not in _MACHINE_ARGUMENTS}
        path = module_stack(node)[-1][0]
        lines.append(f"{names[node]} {node.target} {text(node.args)} {keywords} {path}\n")
    return lines


def _element_bytes(tensor: torch.Tensor) -> memoryview:
    """The tensor's elements in row-major order; both supported processors are little-endian."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
