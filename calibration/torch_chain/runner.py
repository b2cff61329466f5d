"""The reference: segments in torch's eager mode, bit for bit what the unsplit model computes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch

from splitd.calibration.chain import Array, CpuStopwatch, Live, Stopwatch, contiguous, release_heap
from splitd.calibration.torch_chain.partition import Partition
from splitd.errors import ConfigError


class TorchRunner:
    """Runs a partition where its weights are. See splitd.calibration.chain.Runner."""

    name = "torch"

    def __init__(self, partition: Partition, device: torch.device) -> None:
        self.partition = partition
        self.version = str(torch.__version__)
        self._device = device

    @property
    def device(self) -> str:
        """See Runner."""
        return str(self._device)

    @property
    def threads(self) -> int:
        """Threads of the whole process."""
        return torch.get_num_threads()

    def segment(self, i: int, live: Live) -> Live:
        """See Runner."""
        try:
            return self.partition.segment(i, live)
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error

    def to_live(self, arrays: Sequence[Array]) -> Live:
        """See Runner."""
        return tuple(torch.from_numpy(contiguous(array)).to(self._device) for array in arrays)

    def to_arrays(self, live: Live) -> tuple[Array, ...]:
        """See Runner."""
        return tuple(tensor.detach().cpu().contiguous().numpy() for tensor in live)

    def synchronise(self) -> None:
        """See Runner."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def stopwatch(self) -> Stopwatch:
        """See Runner."""
        return CudaStopwatch(self._device) if self._device.type == "cuda" else CpuStopwatch()

    def trim(self) -> None:
        """See Runner."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        release_heap()


class CudaStopwatch:
    """Marks as CUDA events, so that timing every segment of a pass does not make the host wait between segments."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[torch.cuda.Event] = []

    def mark(self) -> None:
        """Record an event in the device's current stream."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch has no stub for it
        event.record(torch.cuda.current_stream(self._device))
        self._marks.append(event)

    def laps(self) -> tuple[float, ...]:
        """Wait for the last event; return the seconds between successive events and forget them."""
        marks, self._marks = self._marks, []
        if marks:
            marks[-1].synchronize()
        return tuple(before.elapsed_time(after) / 1e3 for before, after in pairwise(marks))


def open_device(name: str, threads: int | None) -> torch.device:
    """Return the device, with `threads` CPU threads for the process (None: torch's choice).

    Raises:
        ConfigError: There is no such device here.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError([f"device.name: {name} asked for, but torch sees no CUDA device here; use cpu"])
    return torch.device(name)
