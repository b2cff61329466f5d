"""A bundle of a few kilobytes without torch: two segments, whole-numbered weights, so its answers are exact everywhere.

python -m tests.support.small_bundle FILE      writes it, as tests/support/bundles/golden.splitd was written
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from splitd.calibration.bundle import Bundle, Reference, write_bundle
from splitd.calibration.chain import ChainDescription, CutFacts, TensorSpec
from splitd.calibration.images import Preprocessing

OPSET = 17
IR_VERSION = 8
MADE_WITH = {"splitd": "by hand"}
CODEBOOK = b"a codebook"
KERNEL = np.arange(-3, 3, dtype=np.float32).reshape(2, 3, 1, 1)
WEIGHTS = np.arange(6, dtype=np.float32).reshape(2, 3)


def description() -> ChainDescription:
    return ChainDescription(
        digest="0123456789abcdef" * 2,
        model="small",
        names=("input", "conv", "output"),
        cuts=(
            CutFacts(48, 1.0, natural=False, compressive=False),
            CutFacts(8, 8 / 48, natural=True, compressive=True),
            CutFacts(0, 0.0, natural=False, compressive=False),
        ),
        crossing=((TensorSpec((1, 3, 4, 4)),), (TensorSpec((1, 2, 2, 2)),), (TensorSpec((1, 3)),)),
        head_share=(0.0, 0.8, 1.0),
        preprocessing=Preprocessing(size=(3, 4, 4), mean=(0.5,) * 3, std=(0.25,) * 3),
        labels=("ant", "bee", "cat"),
    )


def model(*nodes: onnx.NodeProto, inputs: list[int], outputs: list[int], **constants: np.ndarray) -> bytes:
    """A model from `x` to `y`, both with the batch first."""
    graph = helper.make_graph(
        list(nodes),
        "segment",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", *outputs])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
    return made.SerializeToString(deterministic=True)


def segments() -> list[bytes]:
    conv = helper.make_node("Conv", ["x", "kernel"], ["z"], strides=[2, 2])
    relu = helper.make_node("Relu", ["z"], ["y"])
    mean = helper.make_node("ReduceMean", ["x"], ["z"], axes=[2, 3], keepdims=0)
    gemm = helper.make_node("Gemm", ["z", "weights"], ["y"])
    return [
        model(conv, relu, inputs=[3, 4, 4], outputs=[2, 2, 2], kernel=KERNEL),
        model(mean, gemm, inputs=[2, 2, 2], outputs=[3], weights=WEIGHTS),
    ]


def reference() -> Reference:
    inputs = np.arange(2 * 48, dtype=np.float32).reshape(2, 3, 4, 4)
    live = np.einsum("oc,bcyx->boyx", KERNEL[:, :, 0, 0], inputs[:, :, ::2, ::2])
    return Reference(inputs, (np.maximum(live, 0).mean((2, 3)) @ WEIGHTS,))


def write(path: Path) -> Bundle:
    return write_bundle(path, description(), segments(), reference=reference(), codebook=CODEBOOK, made_with=MADE_WITH)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
