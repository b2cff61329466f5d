"""Segments that torch compiled beforehand: by inductor for any device, by torch_tensorrt for NVIDIA GPUs."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from splitd.calibration.chain import Live
from splitd.calibration.torch_chain.export import example, export_program, first_line
from splitd.calibration.torch_chain.partition import Partition
from splitd.calibration.torch_chain.runner import TorchRunner
from splitd.errors import ModelError

Compiled = Callable[..., Any]
LARGEST_ENGINE_BATCH = 64  # TensorRT plans memory for the largest batch that it is built for
USUAL_ENGINE_BATCH = 4


class InductorRunner(TorchRunner):
    """Runs packages of `compile_segment`; they are code, so they come from this daemon's own state directory."""

    name = "inductor"

    def __init__(self, partition: Partition, device: torch.device, packages: Sequence[bytes]) -> None:
        super().__init__(partition, device)
        self._compiled: list[Compiled] = [_load_package(package) for package in packages]

    def segment(self, i: int, live: Live) -> Live:
        """See Runner."""
        try:
            with torch.inference_mode():
                return tuple(self._compiled[i](*live))
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error


class TensorrtRunner(InductorRunner):
    """Runs engines of `compile_engine`."""

    name = "tensorrt"

    def __init__(self, partition: Partition, device: torch.device, engines: Sequence[bytes]) -> None:
        TorchRunner.__init__(self, partition, device)
        import torch_tensorrt  # type: ignore[import-not-found]  # noqa: PLC0415

        self.version = str(torch_tensorrt.__version__)
        self._compiled = [torch.export.load(io.BytesIO(engine)).module() for engine in engines]


def compile_segment(partition: Partition, i: int, device: torch.device) -> bytes:
    """Return segment i compiled for this machine, for any batch size; seconds. Raises ModelError."""
    import torch._inductor  # noqa: PLC0415  # not loaded with torch, and large

    try:
        with warnings.catch_warnings(), TemporaryDirectory(prefix="splitd-inductor-") as folder:
            warnings.simplefilter("ignore")
            path = Path(folder) / "segment.pt2"
            torch._inductor.aoti_compile_and_package(  # noqa: SLF001  # the documented way
                export_program(partition, i, device), package_path=str(path), inductor_configs={"freezing": True}
            )
            return path.read_bytes()
    except Exception as error:  # the compiler runs other programs, and their faults have no common class
        raise ModelError(f"inductor cannot compile segment {i}: {first_line(error)}") from error


def compile_engine(partition: Partition, i: int, device: torch.device) -> bytes:
    """Return segment i compiled by TensorRT for this GPU, for batches up to LARGEST_ENGINE_BATCH. Raises ModelError."""
    import torch_tensorrt  # noqa: PLC0415

    inputs = [
        torch_tensorrt.Input(
            min_shape=shape.at(1),
            opt_shape=shape.at(USUAL_ENGINE_BATCH),
            max_shape=shape.at(LARGEST_ENGINE_BATCH),
            dtype=tensor.dtype,
        )
        for shape, tensor in zip(partition.crossing[i], example(partition, i, device), strict=True)
    ]
    try:
        engine = torch_tensorrt.dynamo.compile(export_program(partition, i, device), inputs=inputs, device=device)
        buffer = io.BytesIO()
        torch_tensorrt.save(engine, buffer, output_format="exported_program", inputs=inputs)
    except Exception as error:  # as above
        raise ModelError(f"TensorRT cannot compile segment {i}: {first_line(error)}") from error
    return buffer.getvalue()


def gpu_name(device: torch.device) -> str:
    """Return the GPU's name and the driver's CUDA version, as part of a folder's name."""
    name = f"{torch.cuda.get_device_name(device)}-{torch.version.cuda}"
    return "".join(char if char.isalnum() or char in ".-" else "_" for char in name)


def _load_package(package: bytes) -> Compiled:
    import torch._inductor  # noqa: PLC0415

    loaded: Compiled = torch._inductor.aoti_load_package(io.BytesIO(package))  # noqa: SLF001  # as above
    return loaded
