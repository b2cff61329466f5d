"""Makes an exporter's ONNX model fit for a bundle, and checks it with the onnx package; needs that package."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from splitd.calibration.bundle.graphs import check_graph
from splitd.errors import ModelError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

# onnxruntime 1.17, the oldest that JetPack 6 has wheels of, knows operators up to opset 20.
MAX_OPSET = 20
STANDARD = ("", "ai.onnx")


def standard_graph(model: bytes) -> bytes:
    """Return the model as a bundle holds it: functions inlined, notes removed, nothing but standard operators.

    The notes are the exporter's: source lines, and paths of the machine it ran on.

    Raises:
        ModelError: It uses an operator that is not of the ONNX standard, or one of too new an opset; the onnx package
            is not installed.
    """
    try:
        import onnx  # noqa: PLC0415 - the extra `export`: a device opens bundles without it
        from onnx import inliner  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ModelError("exporting needs the onnx package: pip install 'splitd[export]'") from error
    try:
        loaded = onnx.load_from_string(model)
        loaded = inliner.inline_local_functions(loaded) if loaded.functions else loaded
        _forget_notes(loaded)
        opset = _standard_opset(loaded)
        for node in _nodes(loaded.graph):
            _check_operator(node, opset, known=onnx.defs.has(node.op_type, opset, ""))
        onnx.checker.check_model(loaded)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(f"the exported graph is not valid ONNX: {str(error).strip().splitlines()[0]}") from error
    plain: bytes = loaded.SerializeToString(deterministic=True)
    check_graph(plain)
    return plain


def _forget_notes(model: ModelProto) -> None:
    for holder in (model, model.graph, *_nodes(model.graph), *model.graph.input, *model.graph.output):
        holder.ClearField("doc_string")
        holder.ClearField("metadata_props")
    for tensor in model.graph.initializer:
        tensor.ClearField("doc_string")
        tensor.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    used = {node.domain for node in _nodes(model.graph)} | {""}
    kept = [opset for opset in model.opset_import if opset.domain in used]
    model.ClearField("opset_import")
    model.opset_import.extend(kept)


def _standard_opset(model: ModelProto) -> int:
    version = max((opset.version for opset in model.opset_import if opset.domain in STANDARD), default=0)
    if not 0 < version <= MAX_OPSET:
        raise ModelError(f"the exported graph has opset {version}, devices are sure to know 1 to {MAX_OPSET}")
    return int(version)


def _check_operator(node: NodeProto, opset: int, *, known: bool) -> None:
    if node.domain not in STANDARD or not known:
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise ModelError(f"the exported graph uses {name}, which is no standard ONNX operator of opset {opset}")


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield all nodes, those of graphs in attributes included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)
