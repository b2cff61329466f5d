"""The executors: a new one is a module here, with its entry in `EXECUTORS` and in docs/configuration.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from splitd.calibration.executors.eager import TORCH
from splitd.calibration.executors.inductor import INDUCTOR
from splitd.calibration.executors.onnxruntime import ONNXRUNTIME
from splitd.calibration.executors.openvino import OPENVINO
from splitd.calibration.executors.protocols import Executor
from splitd.calibration.executors.tensorrt import TENSORRT

AUTO: Final = "auto"

EXECUTORS: Mapping[str, Executor] = {one.name: one for one in (TORCH, ONNXRUNTIME, OPENVINO, INDUCTOR, TENSORRT)}
