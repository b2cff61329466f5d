"""Pieces of the executors that load ONNX: exported segments, the same for all of them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from splitd.calibration.executors.protocols import BuildPlan


def make_onnx(plan: BuildPlan, i: int) -> bytes:
    """Return segment i as ONNX; seconds where it is exported. Raises ModelError."""
    return plan.source.onnx(i)


def onnx_shelf(plan: BuildPlan) -> str:
    """Return the folder's name: what is exported depends on torch, whose exporter it is."""
    del plan
    try:
        return f"onnx-{version('torch')}"
    except PackageNotFoundError:
        return "onnx"
