"""`torch`: eager mode, the reference."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from typing import TYPE_CHECKING

from splitd.calibration.chain import Runner
from splitd.calibration.executors.protocols import Availability, BuildPlan, Executor, Found, Missing, Piece
from splitd.errors import ModelError

if TYPE_CHECKING:
    from splitd.calibration.torch_chain import Partition

REMEDY = "pip install 'splitd[models]', or the torch that the device's vendor gives"


def find(device: str) -> Availability:
    """Tell whether torch is installed, without loading it."""
    del device
    if importlib.util.find_spec("torch") is None:
        return Missing("torch is not installed", REMEDY)
    return Found(version("torch"))


def load(plan: BuildPlan, piece: Piece) -> Runner:
    """Run the source's own segments: nothing is built."""
    del piece
    from splitd.calibration.torch_chain import TorchRunner, open_device  # noqa: PLC0415

    return TorchRunner(model_chain(plan, "torch"), open_device(plan.device, plan.threads))


def model_chain(plan: BuildPlan, name: str) -> Partition:
    """Return the chain in torch; raises ModelError where there is none."""
    partition = plan.source.torch_chain()
    if partition is None:
        raise ModelError(f"the executor {name} needs the model itself, and there is only its bundle here")
    return partition


TORCH = Executor("torch", "torch's eager mode, the reference", find, load, None, lambda _: "torch", needs_torch=True)
