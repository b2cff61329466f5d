"""In-place operators of an exported graph.

`torch.export` keeps `relu_`, `silu_` and the like. They save memory, but a cut must not let a tail overwrite the
activation that the device keeps for a fallback, nor let a value cross whose twin is overwritten later.
"""

from __future__ import annotations

import torch
from torch import fx
from torch._ops import OpOverload

# Composite operators that return their input, or a view of it, without saying so in their schema.
_MAYBE_ALIASING = {
    torch.ops.aten.contiguous.default,
    torch.ops.aten.dropout.default,
    torch.ops.aten.feature_dropout.default,
    torch.ops.aten.flatten.using_ints,
    torch.ops.aten.reshape.default,
    torch.ops.aten.to.device,
    torch.ops.aten.to.dtype,
}


def mutates(node: fx.Node) -> bool:
    """Tell whether the node overwrites one of its arguments."""
    return any(_writes(node))


def has_twin(writer: fx.Node) -> bool:
    """Tell whether there is an operator that computes the same as this in-place one without overwriting."""
    namespace, _, name = str(writer.target).partition(".")
    base, _, overload = name.rpartition(".")
    packet = getattr(torch.ops.aten, base.removesuffix("_"), None)
    return namespace == "aten" and base.endswith("_") and hasattr(packet, overload)


def out_of_place(writer: fx.Node) -> OpOverload:
    """Return the operator that computes what an in-place node computes, without overwriting."""
    _, base, overload = str(writer.target).split(".")
    twin: OpOverload = getattr(getattr(torch.ops.aten, base.removesuffix("_")), overload)
    return twin


def rename_mutated(graph: fx.Graph) -> bool:
    """Make every later use of an overwritten value a use of the operator that overwrote it.

    Returns False, with the graph as it was, if a *view* of an overwritten value is used afterwards, or an operator
    writes to something else than its first argument: such a graph has to be made functional first.
    """
    order = {node: i for i, node in enumerate(graph.nodes)}
    writers = [node for node in graph.nodes if mutates(node)]
    sharers: dict[fx.Node, list[fx.Node]] = {}
    for node in order:
        sharers.setdefault(storage_root(node), []).append(node)
    if any(_is_tangled(writer, sharers, order) for writer in writers):
        return False
    for writer in writers:
        written = writer.args[0]
        assert isinstance(written, fx.Node)  # noqa: S101 - _is_tangled has checked it
        for user in [user for user in written.users if order[user] > order[writer]]:
            user.replace_input_with(written, writer)
    return True


def aliases_input(node: fx.Node) -> bool:
    """Tell whether the node's value may share its memory with its first argument."""
    if node.op != "call_function":
        return False
    if node.target in _MAYBE_ALIASING or not isinstance(node.target, OpOverload):
        return True
    return any(argument.alias_info is not None for argument in _arguments(node))


def storage_root(node: fx.Node) -> fx.Node:
    """Follow aliases back to the node whose memory this node's value may share."""
    while aliases_input(node) and node.args and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def _is_tangled(writer: fx.Node, sharers: dict[fx.Node, list[fx.Node]], order: dict[fx.Node, int]) -> bool:
    written = writer.args[0] if writer.args else None
    if not isinstance(written, fx.Node):
        return True
    if any(_writes(writer)[1:]) or not has_twin(writer) or written.op == "placeholder":
        return True
    earlier = (node for node in sharers[storage_root(written)] if order[node] < order[writer])
    return any(order[user] > order[writer] for node in earlier if node is not written for user in node.users)


def _writes(node: fx.Node) -> list[bool]:
    """Tell for each argument in the operator's schema whether it is written to."""
    return [bool(argument.alias_info and argument.alias_info.is_write) for argument in _arguments(node)]


def _arguments(node: fx.Node) -> list[torch.Argument]:
    if node.op != "call_function" or not isinstance(node.target, OpOverload):
        return []
    return list(node.target._schema.arguments)  # noqa: SLF001 - torch has no public name for an operator's schema
