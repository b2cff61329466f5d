"""A model as an exported graph, and the places where it can be cut.

The graph comes from `torch.export` with a dynamic batch dimension; running it is bit-identical to the module. A *step*
is a node whose value depends on the input's data. A *position* lies after each step; what is computed before it and
used after it is *live* and would cross the link there. Values that do not depend on the input (position biases, masks,
shapes) never cross: each end computes them itself.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from splitd.calibration.model.blocks import ModuleStack, assign_blocks
from splitd.calibration.model.failures import cause, quiet
from splitd.calibration.model.inputs import PackedInputs, cast_at_use
from splitd.calibration.model.mutation import rename_mutated
from splitd.calibration.model.shapes import BatchShape, batch_shape, depends_on_values, grows_with_batch
from splitd.errors import ModelError

log = logging.getLogger(__name__)

Granularity = Literal["block", "op"]

# The batch size of the example input: 0 and 1 are special to torch.export, so a graph traced with them may not be
# valid for other sizes.
_EXAMPLE_BATCH = 2
_MAX_BATCH = 4096
_FLOAT32_BYTES = 4
_IMAGE_INPUT_RANK = 4  # batch, channels, height, width
NOT_PLAIN = "what is live there is not float32 tensors only, with shapes that the batch size decides"
# Left in the graph by torch.export to check assumptions; they compute nothing.
_CHECKS = ("_assert", "sym_constrain", "_guards")


@dataclass(frozen=True)
class Cut:
    """One position at which the model can be cut, and what crosses there for each sample.

    `shapes` are per sample, without the batch dimension; `elements` is their total |h_l|; `bytes_f32` their size as
    float32; `ratio` is c_l = |h_l| / |x|; `natural` is c_l < 1; `compressive` a natural one whose c_l is strictly
    smaller than that of every earlier position (Bakhtiarnia et al., arXiv 2205.11269); `node_index` is the last step
    of the head.
    """

    name: str
    module: str
    shapes: tuple[tuple[int, ...], ...]
    elements: int
    bytes_f32: int
    ratio: float
    natural: bool
    compressive: bool
    node_index: int


class Graph:
    """An exported program, prepared for cutting.

    Args:
        program: exported with one float32 input (batch, ...) whose batch dimension is dynamic. It is taken over:
            its graph is rewritten so that no later node refers to a value that was overwritten in place.

    Raises:
        ModelError: the program has not one float32 input with a dynamic batch, it keeps state, or its outputs are not
            tensors with one row for each sample.
    """

    def __init__(self, program: ExportedProgram) -> None:
        cast_at_use(program.graph)
        self.program = program if rename_mutated(program.graph) else _functional(program)
        nodes = list(self.program.graph.nodes)
        self.constants = _lifted_tensors(self.program)
        self.input = _input_node(self.program)
        self.input_shape = _value_shape(self.input)
        self.outputs = _output_nodes(self.program)
        self.steps = _data_dependent(nodes, self.input)
        self.module_stacks: tuple[ModuleStack, ...] = tuple(module_stack(node) for node in self.steps)
        self.live: tuple[tuple[fx.Node, ...] | None, ...] = tuple(_live_sets(self))
        self.output_shapes = tuple(_output_shape(node) for node in self.outputs)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one input sample; ModelError for a network that takes no images."""
        if len(self.input_shape.fixed) != _IMAGE_INPUT_RANK:
            raise ModelError(f"this network takes no images but tensors {self.input_shape.per_sample}")
        _, channels, height, width = self.input_shape.fixed
        return channels, height, width

    def live_shapes(self, index: int) -> tuple[BatchShape, ...]:
        """Shapes of what is live after step `index`; ModelError where something else than float32 tensors is live."""
        live = self.live[index]
        if live is None:
            raise ModelError(f"the model cannot be cut after {self.steps[index].name}: {NOT_PLAIN}")
        return tuple(_value_shape(node) for node in live)


def export_graph(module: nn.Module, example_shape: tuple[int, ...]) -> Graph:
    """Export `module` (in eval mode) for inputs (batch, *example_shape), float32, any batch size.

    Works on the meta device too: nothing is computed, only shapes.

    Raises:
        ModelError: the module cannot be exported, or only for a fixed batch size; one line, the whole is logged.
    """
    parameter = next(module.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    example = torch.zeros(_EXAMPLE_BATCH, *example_shape, device=device)
    dynamic = ({0: Dim("batch", min=1, max=_MAX_BATCH)},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the library's own internals; the outcome is checked below
        try:
            with quiet():
                program = torch.export.export(module, (example,), dynamic_shapes=dynamic, strict=False)
        except Exception as error:  # tracing runs the model's own code, which can raise anything
            log.debug("torch.export failed", exc_info=error)
            raise ModelError(f"the model cannot be exported for {example_shape} inputs: {cause(error)}") from error
        return Graph(program)


def find_cuts(graph: Graph, granularity: Granularity) -> tuple[Cut, ...]:
    """Return every position of the graph in execution order.

    "block": after each block (see `splitd.calibration.model.blocks`); "op": after each step. Left out are the end of
    the model and positions where something else than float32 tensors is live: a list (between `split` and its parts),
    quantised numbers, a mask, rows whose number depends on the values.
    """
    if granularity == "block":
        return _rate(graph, [(block, block, index) for block, index in _block_ends(graph)])
    paths = (stack[-1][0] for stack in graph.module_stacks)
    return _rate(graph, [(node.name, path, i) for i, (node, path) in enumerate(zip(graph.steps, paths, strict=True))])


def _block_ends(graph: Graph) -> list[tuple[str, int]]:
    blocks = assign_blocks(graph.module_stacks)
    ends = {block: index for index, block in enumerate(blocks) if block is not None}
    return sorted(ends.items(), key=lambda item: item[1])


def _rate(graph: Graph, positions: Sequence[tuple[str, str, int]]) -> tuple[Cut, ...]:
    cuts = []
    lowest = math.inf
    input_elements = graph.input_shape.elements
    for name, module, index in positions:
        live = graph.live[index]
        if live is None or set(live) == set(graph.outputs):
            continue
        shapes = graph.live_shapes(index)
        elements = sum(shape.elements for shape in shapes)
        cuts.append(
            Cut(
                name=name,
                module=module,
                shapes=tuple(shape.per_sample for shape in shapes),
                elements=elements,
                bytes_f32=elements * _FLOAT32_BYTES,
                ratio=elements / input_elements,
                natural=elements < input_elements,
                compressive=elements < min(lowest, input_elements),
                node_index=index,
            )
        )
        lowest = min(lowest, elements)
    return tuple(cuts)


def _live_sets(graph: Graph) -> Iterator[tuple[fx.Node, ...] | None]:
    """Yield for each step the tensors that cross after it, in execution order; None where others would, too."""
    order = {node: index for index, node in enumerate((graph.input, *graph.steps), start=-1)}
    end = len(graph.steps)
    last_use = {node: max((_use(user, order, end) for user in node.users), default=-1) for node in order}
    last_use.update(dict.fromkeys(graph.outputs, end))
    live: list[fx.Node] = [graph.input]
    plain = cache(_is_plain)
    for index, step in enumerate(graph.steps):
        live.append(step)
        live = [node for node in live if last_use[node] > index]
        yield tuple(live) if all(map(plain, live)) else None


def _use(user: fx.Node, order: Mapping[fx.Node, int], end: int) -> int:
    """Position of a use; reading a size is none, because the batch size is known on both ends."""
    return order.get(user, end if user.op == "output" else -1)


def _data_dependent(nodes: list[fx.Node], source: fx.Node) -> tuple[fx.Node, ...]:
    reached = {source}
    for node in nodes:
        runs = node.op == "call_function" and not is_check(node) and _is_value(node.meta.get("val"))
        if runs and not reached.isdisjoint(node.all_input_nodes):
            reached.add(node)
    return tuple(node for node in nodes if node in reached and node is not source)


def is_check(node: fx.Node) -> bool:
    """Tell whether a node only checks an assumption of the export."""
    name = getattr(node.target, "__name__", str(node.target))
    return name.startswith(_CHECKS)


def _is_value(value: object) -> bool:
    """Tensors and lists of tensors are values; numbers that depend on the batch size alone are not."""
    return isinstance(value, torch.Tensor | tuple | list)


def _lifted_tensors(program: ExportedProgram) -> dict[str, torch.Tensor]:
    """Parameters, buffers and constants by the name of their placeholder; the tensors are the module's own."""
    tensors: dict[str, torch.Tensor] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT or spec.target is None:
            continue
        source = program.state_dict if spec.target in program.state_dict else program.constants
        value = source.get(spec.target)
        if not isinstance(value, torch.Tensor):
            raise ModelError(f"the exported program needs {spec.target}, which is not a tensor")
        tensors[spec.arg.name] = value
    return tensors


def _is_plain(node: fx.Node) -> bool:
    """Tell whether the value can cross: a float32 tensor whose shape depends on the batch size alone."""
    value = node.meta["val"]
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32 and grows_with_batch(value.shape)


def _input_node(program: ExportedProgram) -> fx.Node:
    names = program.graph_signature.user_inputs
    nodes: list[fx.Node] = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    value = nodes[0].meta["val"] if len(nodes) == 1 and len(names) == 1 else None
    if not isinstance(value, torch.Tensor) or value.dim() == 0 or value.dtype != torch.float32:
        raise ModelError("the model must take one float32 tensor with a batch dimension")
    if _value_shape(nodes[0]).axis != 0:
        raise ModelError(
            "the program was exported for one batch size; export it with "
            "dynamic_shapes=({0: torch.export.Dim('batch')},)"
        )
    return nodes[0]


def _output_nodes(program: ExportedProgram) -> tuple[fx.Node, ...]:
    state = [spec.target for spec in program.graph_signature.output_specs if spec.kind is not OutputKind.USER_OUTPUT]
    if state:
        raise ModelError(f"the model keeps state between calls ({state[0]}), which two machines cannot share")
    output = next(node for node in program.graph.nodes if node.op == "output")
    nodes = fx.node.map_aggregate(output.args[0], lambda node: node)
    if not isinstance(nodes, list | tuple) or not nodes:
        raise ModelError("the model returns no tensor")
    if not all(isinstance(node, fx.Node) and isinstance(node.meta["val"], torch.Tensor) for node in nodes):
        raise ModelError("the model must return tensors only")
    return tuple(nodes)


def _output_shape(node: fx.Node) -> BatchShape:
    shape = node.meta["val"].shape
    if not grows_with_batch(shape):
        raise ModelError(f"the output {node.name} has not one row for each sample: {_say(shape)}")
    found = _value_shape(node)
    if found.axis != 0 or found.fixed[0] != 1:
        raise ModelError(f"the first dimension of the output {node.name} is not the batch: its shape is {_say(shape)}")
    return found


def _say(shape: torch.Size) -> str:
    """Write a shape with `batch` for its symbol and `?` for what depends on the values."""
    sizes = (size if isinstance(size, int) else "?" if depends_on_values(size) else "batch" for size in shape)
    return f"({', '.join(map(str, sizes))})"


def _value_shape(node: fx.Node) -> BatchShape:
    return batch_shape(node.meta["val"].shape, node.name)


def module_stack(node: fx.Node) -> ModuleStack:
    """Return the modules a node ran in, the root first; a second call of a module (`path@1`) counts as the module."""
    entries = node.meta.get("nn_module_stack", {}).values()
    stack = [(path.split("@")[0], kind if isinstance(kind, str) else kind.__qualname__) for path, kind in entries]
    if stack and stack[0][1].endswith(PackedInputs.__name__):
        # Only splitd knows of the wrapper: blocks keep the names that the network's author gave them.
        stack = [(path.removeprefix("network").removeprefix("."), kind) for path, kind in stack[1:]]
    return stack or [("", "")]


def _functional(program: ExportedProgram) -> ExportedProgram:
    """Return the program without in-place operators; needed only where one writes through a view."""
    functional: ExportedProgram = program.run_decompositions({})
    return functional
