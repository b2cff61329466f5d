"""`onnxruntime`: one session for each segment; on a GPU its TensorRT or CUDA execution provider."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from splitd.calibration.chain import Array, CpuStopwatch, Live, Runner, Stopwatch, contiguous, release_heap
from splitd.calibration.executors.onnx_pieces import make_onnx, onnx_shelf
from splitd.calibration.executors.protocols import Availability, BuildPlan, Executor, Found, Missing, Piece
from splitd.errors import ModelError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

NAME = "onnxruntime"
DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-qnn")
CPU = "CPUExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
GPU = (TENSORRT, "CUDAExecutionProvider")  # what the first cannot run goes to the next
REMEDY = "pip install onnxruntime; for an NVIDIA GPU onnxruntime-gpu, on a Jetson the wheel of its vendor"


class OnnxRunner:
    """A session for each segment. See splitd.calibration.chain.Runner."""

    name = NAME

    def __init__(
        self, sessions: Sequence[InferenceSession], *, runtime: str, device: str, threads: int, shrinking: Any
    ) -> None:
        """Take sessions with one arena; `shrinking` are the options of a run that shrinks it at its end."""
        self.version = runtime
        self.device = device
        self.threads = threads
        self._first, self._shrinking = sessions[0], shrinking
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

    def trim(self) -> None:
        """See Runner. An arena shrinks at the end of a run only: one sample of zeros goes through the first segment."""
        sample = {
            one.name: np.zeros([size if isinstance(size, int) else 1 for size in one.shape], np.float32)
            for one in self._first.get_inputs()
        }
        self._first.run(None, sample, self._shrinking)
        release_heap()


def find(device: str) -> Availability:
    """Tell whether it is installed; for a GPU, whether the installed build has a provider for it."""
    if importlib.util.find_spec(NAME) is None:
        return Missing("onnxruntime is not installed", REMEDY)
    if device != "cpu" and not set(GPU) & set(_available()):
        return Missing(f"the installed onnxruntime has no provider for {device}", REMEDY)
    return Found(_version())


def load(plan: BuildPlan, piece: Piece) -> Runner:
    """Return a session for each piece."""
    import onnxruntime  # noqa: PLC0415

    count = plan.threads or len(os.sched_getaffinity(0))
    options = _options(onnxruntime, count)
    providers = _providers(plan)
    sessions = []
    for i in range(plan.count):
        model = piece(i)
        try:
            sessions.append(onnxruntime.InferenceSession(model, options, providers=providers))
        except Exception as error:  # its exceptions have no common class but Exception
            raise ModelError(
                f"onnxruntime cannot run segment {i} ({plan.source.description.names[i]}): {error}"
            ) from error
    shrinking = onnxruntime.RunOptions()
    shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return OnnxRunner(sessions, runtime=_version(), device=plan.device, threads=count, shrinking=shrinking)


def _options(onnxruntime: Any, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A pool that spins after a segment takes the processor from encoding, sending and the other sessions' pools.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    # One arena for all sessions of the process, and blocks taken as they are needed: efficientnet_b0 in 16 pieces takes
    # 247 MB after a batch of 8. With an arena and planned blocks for each session it took 630 MB, and was no faster.
    _share_arena(onnxruntime)
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.enable_mem_pattern = False
    return options


@cache
def _share_arena(onnxruntime: Any) -> None:
    """Register the process's arena, once."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(memory, None)


def _providers(plan: BuildPlan) -> list[Any]:
    if plan.device == "cpu":
        return [CPU]
    found = [provider for provider in GPU if provider in _available()]
    index = plan.device.partition(":")[2] or "0"
    options: dict[str, dict[str, Any]] = {provider: {"device_id": index} for provider in found}
    if TENSORRT in found and plan.folder is not None:  # its engines take minutes; it checks itself whether they fit
        options[TENSORRT] |= {
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(plan.folder / "trt-engines"),
        }
    return [*options.items(), CPU]


def _available() -> list[str]:
    import onnxruntime  # noqa: PLC0415

    found: list[str] = onnxruntime.get_available_providers()
    return found


def _version() -> str:
    for name in DISTRIBUTIONS:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    import onnxruntime  # noqa: PLC0415

    return str(onnxruntime.__version__)


ONNXRUNTIME = Executor(
    NAME, "onnxruntime, a session for each segment", find, load, make_onnx, onnx_shelf, needs_torch=False
)
