"""`inductor`: segments that torch compiled beforehand with a C++ or Triton compiler, weights frozen in."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from importlib.metadata import version

from splitd.calibration.chain import Runner
from splitd.calibration.executors.cache import cpu_flags
from splitd.calibration.executors.eager import REMEDY, model_chain
from splitd.calibration.executors.protocols import Availability, BuildPlan, Executor, Found, Missing, Piece

NAME = "inductor"
COMPILERS = ("c++", "g++", "clang++")


def find(device: str) -> Availability:
    """Tell whether torch and a compiler are installed, without loading torch."""
    if importlib.util.find_spec("torch") is None:
        return Missing("torch is not installed", REMEDY)
    if device == "cpu" and not any(shutil.which(name) for name in COMPILERS):
        return Missing("there is no C++ compiler", "apt install g++")
    if device != "cpu" and importlib.util.find_spec("triton") is None:
        return Missing("triton, which compiles for GPUs, is not installed", "pip install triton")
    return Found(version("torch"))


def load(plan: BuildPlan, piece: Piece) -> Runner:
    """Load the packages."""
    from splitd.calibration.torch_chain import InductorRunner, open_device  # noqa: PLC0415

    partition = model_chain(plan, NAME)
    return InductorRunner(partition, open_device(plan.device, plan.threads), [piece(i) for i in range(plan.count)])


def make(plan: BuildPlan, i: int) -> bytes:
    """Compile segment i; takes some seconds."""
    from splitd.calibration.torch_chain import compile_segment, open_device  # noqa: PLC0415

    return compile_segment(model_chain(plan, NAME), i, open_device(plan.device, plan.threads))


def shelf(plan: BuildPlan) -> str:
    """Return the folder's name; code for one processor's instructions may not run on another."""
    hardware = hashlib.blake2b(f"{cpu_flags()} {plan.device}".encode(), digest_size=8).hexdigest()
    return f"{NAME}-{version('torch')}-{hardware}"


INDUCTOR = Executor(NAME, "segments compiled by torch, weights frozen in", find, load, make, shelf, needs_torch=True)
