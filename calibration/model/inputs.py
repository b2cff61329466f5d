"""What a network takes: one tensor or several, of any dtype; always handed in as one float32 tensor.

The chain, the local protocol and the wire know one kind of prepared input: a float32 tensor for each sample. A network
that takes something else is wrapped: whole numbers are cut out of float32, which holds them exactly up to 2**24, and
several inputs lie one after the other in one row.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from splitd.errors import ModelError

EXAMPLE_INPUTS = "example_inputs"
"""Name of the attribute by which a module of the user's own says what it takes: tensors with a batch dimension."""

_CASTABLE = (
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)
_CASTS = (torch.ops.aten.to.dtype, torch.ops.aten.ne.Scalar)


@dataclass(frozen=True)
class InputPart:
    """One of a network's inputs: `shape` for one sample, without the batch dimension; `dtype` as torch names it."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if self.dtype not in _CASTABLE:
            raise ModelError(f"the network takes {self.dtype}, which float32 does not hold")

    @property
    def elements(self) -> int:
        """Elements of one sample."""
        return math.prod(self.shape)

    @property
    def dtype_name(self) -> str:
        """The dtype without the library's name."""
        return str(self.dtype).removeprefix("torch.")


class PackedInputs(nn.Module):
    """A network behind one float32 input: (B, *shape) for one part, rows (B, N) for several, in their order."""

    def __init__(self, network: nn.Module, parts: Sequence[InputPart]) -> None:
        super().__init__()
        self.network = network
        self._parts = tuple(parts)

    def forward(self, packed: torch.Tensor) -> Any:
        """Run the network on the parts."""
        if len(self._parts) == 1:
            return self.network(_cast(packed, self._parts[0].dtype))
        values, start = [], 0
        for part in self._parts:
            row = packed.narrow(1, start, part.elements)
            values.append(_cast(row.reshape(packed.size(0), *part.shape), part.dtype))
            start += part.elements
        return self.network(*values)


def packed_module(module: nn.Module, parts: Sequence[InputPart]) -> nn.Module:
    """Return the module behind one float32 input; the module itself where it takes that."""
    if len(parts) == 1 and parts[0].dtype == torch.float32:
        return module
    return PackedInputs(module, parts)


def packed_shape(parts: Sequence[InputPart]) -> tuple[int, ...]:
    """Return the shape of the one input for one sample."""
    return parts[0].shape if len(parts) == 1 else (sum(part.elements for part in parts),)


def cast_at_use(graph: fx.Graph) -> None:
    """Give each use of a cast that `PackedInputs` made a cast of its own: what is live in between is float32."""
    for node in list(graph.nodes):
        if node.target in _CASTS and made_by_wrapper(node):
            for user in list(node.users):
                with graph.inserting_before(user):
                    own = graph.node_copy(node)
                own.meta = dict(node.meta)
                user.replace_input_with(node, own)
            graph.erase_node(node)


def made_by_wrapper(node: fx.Node) -> bool:
    """Tell whether a node ran in `PackedInputs` itself, not in its network."""
    kinds = [kind for _, kind in node.meta.get("nn_module_stack", {}).values()]
    return len(kinds) == 1 and str(kinds[0]).endswith(PackedInputs.__name__)


def declared_inputs(module: nn.Module) -> tuple[InputPart, ...] | None:
    """Return what the module's `example_inputs` say, None if it has none.

    Raises:
        ModelError: They are no tensors with a batch dimension, or there are none though `forward` needs several.
    """
    examples = getattr(module, EXAMPLE_INPUTS, None)
    if examples is None:
        _check_takes_one(module)
        return None
    tensors = (examples,) if isinstance(examples, torch.Tensor) else tuple(examples)
    if not tensors or not all(isinstance(one, torch.Tensor) and one.dim() > 0 for one in tensors):
        raise ModelError(f"{EXAMPLE_INPUTS} must be tensors with a batch dimension, in the order of forward")
    return tuple(InputPart(tuple(one.shape[1:]), one.dtype) for one in tensors)


def _check_takes_one(module: nn.Module) -> None:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(module.forward).parameters.values()
    needed = [one.name for one in parameters if one.kind in kinds and one.default is inspect.Parameter.empty]
    if len(needed) > 1:
        raise ModelError(
            f"forward takes {len(needed)} inputs ({', '.join(needed)}): say which with an attribute "
            f"{EXAMPLE_INPUTS} of the module, a tuple of tensors with a batch dimension"
        )


def _cast(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if dtype == torch.bool:
        return values != 0
    return values if dtype == torch.float32 else values.to(dtype)
