"""Builds one runnable piece of an exported graph."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

import torch
from torch import fx, nn

from splitd.calibration.model import BatchShape, Graph, batch_shape, is_check, mutates, out_of_place, storage_root
from splitd.errors import ModelError


def build_segment(graph: Graph, first: int, last: int) -> fx.GraphModule:
    """Return steps first..last (inclusive) as a module: `forward(live: list[Tensor]) -> tuple[Tensor, ...]`.

    It takes what is live before `first` and returns what is live after `last`. The list is emptied at once, so that a
    tensor is freed as soon as the segment no longer needs it, if the caller keeps no other reference. It never writes
    to the tensors it is given. Parameters are those of the graph, not copies.
    """
    sources = (graph.input,) if first == 0 else graph.live[first - 1]
    results = graph.outputs if last == len(graph.steps) - 1 else graph.live[last]
    if sources is None or results is None:
        raise ModelError("the model cannot be cut where a list of tensors is live")
    builder = _Builder(graph.constants, sources)
    for step in graph.steps[first : last + 1]:
        builder.copy(step)
    return builder.finish(results)


class _Builder:
    """Copies nodes into a new graph, and with them whatever they need that does not depend on the input's data."""

    def __init__(self, constants: Mapping[str, torch.Tensor], sources: Sequence[fx.Node]) -> None:
        self._constants = constants
        self._root = nn.Module()
        self._graph = fx.Graph()
        self._graph.set_codegen(_ListCodeGen())
        self._copies = {source: self._graph.placeholder(source.name) for source in sources}
        self._given = frozenset(sources)
        self._batch = _batch_size(self._graph, [(self._copies[node], _shape(node)) for node in sources])

    def copy(self, node: fx.Node) -> fx.Node:
        """Copy one node and, first, its missing inputs."""
        if node not in self._copies:
            self._copies[node] = self._new(node)
        return self._copies[node]

    def finish(self, results: Sequence[fx.Node]) -> fx.GraphModule:
        """Close the graph; results that were given pass through."""
        self._graph.output(tuple(self.copy(node) for node in results))
        self._graph.lint()
        return fx.GraphModule(self._root, self._graph)

    def _new(self, node: fx.Node) -> fx.Node:
        if node.op == "placeholder":
            return self._constant(node)
        if node.target is torch.ops.aten.sym_size.int:
            return self._size(node)
        if node.op != "call_function" or is_check(node):
            raise ModelError(f"the exported graph has a {node.op} node ({node.name}), which splitd cannot run")
        copied = self._graph.node_copy(node, self.copy)
        if mutates(node) and storage_root(node) in self._given:
            copied.target = out_of_place(node)
        return copied

    def _constant(self, node: fx.Node) -> fx.Node:
        if node.name not in self._constants:
            raise ModelError(f"the exported graph uses {node.name} where it is not live")
        if not hasattr(self._root, node.name):
            tensor = self._constants[node.name]
            if isinstance(tensor, nn.Parameter):
                self._root.register_parameter(node.name, tensor)
            else:
                self._root.register_buffer(node.name, tensor)
        return self._graph.get_attr(node.name)

    def _size(self, node: fx.Node) -> fx.Node:
        """A dimension of a tensor that may not be here, as a multiple of the batch size."""
        shape = batch_shape(torch.Size([node.meta["val"]]), node.name)
        if shape.fixed[0] == 1:
            return self._batch
        return self._graph.call_function(operator.mul, (self._batch, shape.fixed[0]))


def _batch_size(graph: fx.Graph, sources: Sequence[tuple[fx.Node, BatchShape]]) -> fx.Node:
    """Add a node that reads the batch size from one of the live tensors."""
    for node, shape in sources:
        if shape.axis is not None:
            size = graph.call_method("size", (node, shape.axis))
            rows = shape.fixed[shape.axis]
            return size if rows == 1 else graph.call_function(operator.floordiv, (size, rows))
    raise ModelError("the model cannot be cut where no live tensor depends on the batch size")


def _shape(node: fx.Node) -> BatchShape:
    return batch_shape(node.meta["val"].shape, node.name)


class _ListCodeGen(fx.graph.CodeGen):
    """Code that takes its inputs from a list and empties it, so that the caller's list keeps none of them alive."""

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str, **_: object) -> str:
        names = [var.split(":")[0].split("=")[0].strip() for var in free_vars]
        lines = ["def forward(self, live):", f"    {', '.join(names)}, = live", "    live.clear()"]
        return "\n".join(lines)
