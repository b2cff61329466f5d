"""A model in torch, cut into a chain: its segments, the reference that every executor is held to, and their export.

Only this room and `calibration.model` load torch; a device that runs from a bundle loads neither.
"""

from splitd.calibration.torch_chain.compiled import (
    InductorRunner,
    TensorrtRunner,
    compile_engine,
    compile_segment,
    gpu_name,
)
from splitd.calibration.torch_chain.export import export_segment
from splitd.calibration.torch_chain.partition import Partition
from splitd.calibration.torch_chain.runner import TorchRunner, open_device
from splitd.calibration.torch_chain.source import TorchSource, describe, open_torch

__all__ = [
    "InductorRunner",
    "Partition",
    "TensorrtRunner",
    "TorchRunner",
    "TorchSource",
    "compile_engine",
    "compile_segment",
    "describe",
    "export_segment",
    "gpu_name",
    "open_device",
    "open_torch",
]
