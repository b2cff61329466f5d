"""`onnxruntime`: one session for each segment; on a GPU its TensorRT or CUDA execution provider."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitd.calibration.chain import Array, CpuStopwatch, Live, Runner, Stopwatch
from splitd.calibration.chain.runner import contiguous
from splitd.calibration.executors.cache import SegmentCache
from splitd.calibration.executors.protocols import Availability, Executor, Found, Missing, SegmentSource
from splitd.errors import ModelError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]

NAME = "onnxruntime"
DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-qnn")
CPU = "CPUExecutionProvider"
GPU = ("TensorrtExecutionProvider", "CUDAExecutionProvider")  # the first that the build has
REMEDY = "pip install onnxruntime; for an NVIDIA GPU onnxruntime-gpu, on a Jetson the wheel of its vendor"


class OnnxRunner:
    """A session for each segment. See splitd.calibration.chain.Runner."""

    name = NAME

    def __init__(self, sessions: Sequence[InferenceSession], *, runtime: str, device: str, threads: int) -> None:
        self.version = runtime
        self.device = device
        self.threads = threads
        self._segments = [(session.run, tuple(one.name for one in session.get_inputs())) for session in sessions]

    def segment(self, i: int, live: Live) -> Live:
        """See Runner."""
        run, names = self._segments[i]
        try:
            return tuple(run(None, dict(zip(names, live, strict=True))))
        except Exception as error:
            if "Failed to allocate memory" in str(error):  # it has no exception of its own for that
                raise MemoryError(str(error)) from error
            raise

    def to_live(self, arrays: Sequence[Array]) -> Live:
        """See Runner."""
        return tuple(contiguous(array) for array in arrays)

    def to_arrays(self, live: Live) -> tuple[Array, ...]:
        """See Runner."""
        return tuple(contiguous(array) for array in live)

    def synchronise(self) -> None:
        """Do nothing: a session returns when its outputs are in the host's memory."""

    def stopwatch(self) -> Stopwatch:
        """See Runner."""
        return CpuStopwatch()


def find(device: str) -> Availability:
    """Tell whether it is installed; for a GPU, whether the installed build has a provider for it."""
    if importlib.util.find_spec(NAME) is None:
        return Missing("onnxruntime is not installed", REMEDY)
    if device != "cpu" and _gpu_provider() is None:
        return Missing(f"the installed onnxruntime has no provider for {device}", REMEDY)
    return Found(_version())


def build(source: SegmentSource, *, device: str, threads: int | None, cache_dir: Path | None) -> Runner:
    """See Build."""
    import onnxruntime  # noqa: PLC0415

    count = threads or len(os.sched_getaffinity(0))
    options = _options(onnxruntime, count)
    providers = _providers(device)
    cache = SegmentCache(cache_dir, source)
    sessions = []
    for i in range(source.description.last):
        try:
            sessions.append(onnxruntime.InferenceSession(cache.onnx(i), options, providers=providers))
        except ModelError:
            raise
        except Exception as error:  # its exceptions have no common class but Exception
            raise ModelError(f"onnxruntime cannot run segment {i} ({source.description.names[i]}): {error}") from error
    return OnnxRunner(sessions, runtime=_version(), device=device, threads=count)


def _options(onnxruntime: Any, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A pool that spins after a segment takes the processor from encoding, sending and the other sessions' pools.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _providers(device: str) -> list[Any]:
    gpu = _gpu_provider() if device != "cpu" else None
    if gpu is None:
        return [CPU]
    index = device.partition(":")[2] or "0"
    return [(provider, {"device_id": index}) for provider in GPU[GPU.index(gpu) :]] + [CPU]


def _gpu_provider() -> str | None:
    import onnxruntime  # noqa: PLC0415

    found = onnxruntime.get_available_providers()
    return next((provider for provider in GPU if provider in found), None)


def _version() -> str:
    for name in DISTRIBUTIONS:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    import onnxruntime  # noqa: PLC0415

    return str(onnxruntime.__version__)


ONNXRUNTIME = Executor(NAME, "onnxruntime, a session for each segment", find, build, needs_torch=False)
