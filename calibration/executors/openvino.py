"""`openvino`: a compiled model for each segment, on Intel's and other CPUs."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from splitd.calibration.chain import Array, CpuStopwatch, Live, Runner, Stopwatch, contiguous, release_heap
from splitd.calibration.executors.onnx_pieces import make_onnx, onnx_shelf
from splitd.calibration.executors.protocols import Availability, BuildPlan, Executor, Found, Missing, Piece
from splitd.errors import ModelError

NAME = "openvino"


class OpenvinoRunner:
    """A compiled model for each segment. See splitd.calibration.chain.Runner."""

    name = NAME
    device = "cpu"

    def __init__(self, requests: Sequence[Any], threads: int) -> None:
        self.version = version(NAME)
        self.threads = threads
        self._infer = [request.infer for request in requests]
        self._outputs = [range(len(request.model_outputs)) for request in requests]

    def segment(self, i: int, live: Live) -> Live:
        """See Runner. Outputs are copied out of the request, which uses its own buffers again the next time."""
        results = self._infer[i](list(live), share_inputs=True)
        return tuple(results[position] for position in self._outputs[i])

    def to_live(self, arrays: Sequence[Array]) -> Live:
        """See Runner."""
        return tuple(contiguous(array) for array in arrays)

    def to_arrays(self, live: Live) -> tuple[Array, ...]:
        """See Runner."""
        return tuple(contiguous(array) for array in live)

    def synchronise(self) -> None:
        """Do nothing: a request returns when its outputs are there."""

    def stopwatch(self) -> Stopwatch:
        """See Runner."""
        return CpuStopwatch()

    def trim(self) -> None:
        """See Runner. A request keeps buffers for its largest batch; the heap's free pages go."""
        release_heap()


def find(device: str) -> Availability:
    """Tell whether it is installed and the device is one of its own."""
    if device != "cpu":
        return Missing(f"openvino does not run on {device}", "set device.name: cpu")
    if importlib.util.find_spec(NAME) is None:
        return Missing("openvino is not installed", "pip install openvino")
    return Found(version(NAME))


def load(plan: BuildPlan, piece: Piece) -> Runner:
    """Return a compiled model for each piece."""
    import openvino  # noqa: PLC0415

    count = plan.threads or len(os.sched_getaffinity(0))
    core = openvino.Core()
    requests = []
    for i in range(plan.count):
        model = piece(i)
        try:
            compiled = core.compile_model(core.read_model(model), "CPU", _properties(count))
            requests.append(compiled.create_infer_request())
        except Exception as error:  # its exceptions have no common class but Exception
            raise ModelError(
                f"openvino cannot run segment {i} ({plan.source.description.names[i]}): {error}"
            ) from error
    return OpenvinoRunner(requests, count)


def _properties(threads: int) -> dict[str, Any]:
    return {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # else processors with bfloat16 give other answers than they are asked for
        "ENABLE_CPU_PINNING": False,  # the daemon's other threads run on the same processors
    }


OPENVINO = Executor(
    NAME, "openvino, a compiled model for each segment", find, load, make_onnx, onnx_shelf, needs_torch=False
)
