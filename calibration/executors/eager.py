"""`torch`: eager mode, the reference."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path

from splitd.calibration.chain import Runner
from splitd.calibration.executors.protocols import Availability, Executor, Found, Missing, SegmentSource
from splitd.errors import ModelError

REMEDY = "pip install 'splitd[models]', or the torch that the device's vendor gives"


def find(device: str) -> Availability:
    """Tell whether torch is installed, without loading it."""
    del device
    if importlib.util.find_spec("torch") is None:
        return Missing("torch is not installed", REMEDY)
    return Found(version("torch"))


def build(source: SegmentSource, *, device: str, threads: int | None, cache_dir: Path | None) -> Runner:
    """See Build. Nothing is built: the source's own segments run."""
    del cache_dir
    partition = source.torch_chain()
    if partition is None:
        raise ModelError("the executor torch needs the model itself, and there is only its bundle here")
    from splitd.calibration.torch_chain import TorchRunner, open_device  # noqa: PLC0415

    return TorchRunner(partition, open_device(device, threads))


TORCH = Executor("torch", "torch's eager mode, the reference", find, build, needs_torch=True)
