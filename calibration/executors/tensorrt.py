"""`tensorrt`: segments compiled by torch_tensorrt for the NVIDIA GPU at hand."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version

from splitd.calibration.chain import Runner
from splitd.calibration.executors.eager import model_chain
from splitd.calibration.executors.protocols import Availability, BuildPlan, Executor, Found, Missing, Piece

NAME = "tensorrt"
PACKAGE = "torch_tensorrt"
REMEDY = "pip install torch-tensorrt for this torch and CUDA; on a Jetson the wheel of its vendor"


def find(device: str) -> Availability:
    """Tell whether it is installed and the device is a GPU."""
    if device == "cpu":
        return Missing("TensorRT runs on NVIDIA GPUs only", "set device.name: cuda")
    if importlib.util.find_spec(PACKAGE) is None:
        return Missing("torch_tensorrt is not installed", REMEDY)
    return Found(version(PACKAGE))


def load(plan: BuildPlan, piece: Piece) -> Runner:
    """Load the engines."""
    from splitd.calibration.torch_chain import TensorrtRunner, open_device  # noqa: PLC0415

    partition = model_chain(plan, NAME)
    return TensorrtRunner(partition, open_device(plan.device, plan.threads), [piece(i) for i in range(plan.count)])


def make(plan: BuildPlan, i: int) -> bytes:
    """Compile segment i; takes minutes."""
    from splitd.calibration.torch_chain import compile_engine, open_device  # noqa: PLC0415

    return compile_engine(model_chain(plan, NAME), i, open_device(plan.device, plan.threads))


def shelf(plan: BuildPlan) -> str:
    """Return the folder's name; an engine runs on the kind of GPU that it was compiled on."""
    from splitd.calibration.torch_chain import gpu_name, open_device  # noqa: PLC0415

    return f"{NAME}-{version(PACKAGE)}-{gpu_name(open_device(plan.device, plan.threads))}"


TENSORRT = Executor(NAME, "TensorRT by torch_tensorrt, for NVIDIA GPUs", find, load, make, shelf, needs_torch=True)
