"""A network in one file, NET.splitd: segments as ONNX, cuts, preprocessing, labels, reference samples, checksums.

It holds data only, and nothing in it is executed but graphs of the standard ONNX operators. It needs no torch.
"""

from splitd.calibration.bundle.graphs import check_graph
from splitd.calibration.bundle.proof import MAX_RELATIVE_ERROR, prove_runner, relative_error
from splitd.calibration.bundle.reading import Bundle, Reference, open_bundle
from splitd.calibration.bundle.standard import standard_graph
from splitd.calibration.bundle.writing import write_bundle

__all__ = [
    "MAX_RELATIVE_ERROR",
    "Bundle",
    "Reference",
    "check_graph",
    "open_bundle",
    "prove_runner",
    "relative_error",
    "standard_graph",
    "write_bundle",
]
