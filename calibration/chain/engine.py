"""The engine: a model cut into a chain, on its device, slowed down if a slower device is to be emulated."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from splitd.calibration.chain.partition import Live, Partition
from splitd.calibration.chain.throttle import Throttle
from splitd.calibration.images import Preprocessing, normalise
from splitd.calibration.model import Cut, LoadedModel, ModelSpec, find_cuts, load_model
from splitd.errors import ConfigError

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]


class Engine:
    """One model as a chain of segments, used by one thread at a time.

    Attributes:
        model: The loaded model with its digest and preprocessing.
        partition: The chain; `partition.names` are the cuts k = 0..K.
        throttle: Slows every piece of work down to the configured share of full speed.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        device: str = "cpu",
        threads: int | None = None,
        throttle: float | None = None,
        cuts: str = "natural",
    ) -> None:
        """Load, export and cut the model.

        Args:
            spec: Which model, with which weights.
            device: `cpu`, `cuda` or `cuda:N`.
            threads: CPU threads of the whole process; None leaves them to torch.
            throttle: Share of full speed; None for full speed.
            cuts: `natural`, `compressive` or `all`: where the chain is cut.

        Raises:
            ModelError: It cannot be loaded, exported or cut.
            ConfigError: The device does not exist.
        """
        self.device = _open_device(device, threads)
        self.model: LoadedModel = load_model(spec, device)
        self.partition = Partition(self.model, choose_cuts(find_cuts(self.model.graph, "block"), cuts))
        self.throttle = Throttle(throttle, sync=self._synchronise if self.device.type == "cuda" else None)
        self.threads = torch.get_num_threads()

    @property
    def preprocessing(self) -> Preprocessing:
        """How the model wants its images."""
        return self.model.preprocessing

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the cuts k = 0..K: `input`, the chosen cuts, `output`."""
        return self.partition.names

    @property
    def last(self) -> int:
        """K, the index of no offloading."""
        return self.partition.K

    def verify(self) -> None:
        """Prove that every split gives the unsplit model's bits; raises ModelError."""
        size = self.preprocessing.size
        generator = torch.Generator().manual_seed(0)
        self.partition.verify(torch.randn(2, *size, generator=generator).to(self.device))

    def to_input(self, batch: Array) -> Live:
        """Return the network's input for uint8 images (B, H, W, 3) or prepared float32 tensors (B, C, H, W)."""
        with self.throttle:
            return to_input(batch, self.preprocessing, self.device)

    def head(self, k: int, live: Live) -> Live:
        """Run segments 0..k-1."""
        return self._run(range(k), live)

    def tail(self, k: int, live: Live) -> tuple[Array, ...]:
        """Run segments k..K-1 and return the outputs as arrays."""
        return to_arrays(self._run(range(k, self.last), live))

    def from_arrays(self, arrays: Sequence[Array]) -> Live:
        """Return arrays that crossed the link as tensors on the device."""
        return from_arrays(arrays, self.device)

    def _run(self, segments: range, live: Live) -> Live:
        for index in segments:
            with self.throttle:
                live = self.partition.segment(index, live)
        if self.device.type == "cuda":
            self._synchronise()
        return live

    def _synchronise(self) -> None:
        torch.cuda.synchronize(self.device)


def to_input(batch: Array, preprocessing: Preprocessing, device: torch.device) -> Live:
    """Return the network's input on `device` for uint8 images (B, H, W, 3) or prepared float32 tensors (B, C, H, W).

    Raises:
        InputError: uint8 images of another shape than the model's.
    """
    return from_arrays((normalise(batch, preprocessing) if batch.dtype == np.uint8 else batch,), device)


def from_arrays(arrays: Sequence[Array], device: torch.device) -> Live:
    """Return arrays as tensors on `device`; only those that are read-only or not contiguous are copied on a CPU."""
    return tuple(torch.from_numpy(_writable(array)).to(device) for array in arrays)


def to_arrays(live: Live) -> tuple[Array, ...]:
    """Return tensors as contiguous numpy arrays in the host's memory, waiting for a device that has one of its own."""
    return tuple(tensor.detach().cpu().contiguous().numpy() for tensor in live)


def choose_cuts(cuts: Sequence[Cut], which: str) -> list[Cut]:
    """Return the `natural`, `compressive` or `all` cuts."""
    if which == "all":
        return list(cuts)
    chosen = [cut for cut in cuts if (cut.natural if which == "natural" else cut.compressive)]
    if not chosen:
        log.warning("this network has no %s bottleneck: only full offloading and local work remain", which)
    return chosen


def _open_device(name: str, threads: int | None) -> torch.device:
    if threads is not None:
        torch.set_num_threads(threads)
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError([f"device.name: {name} asked for, but torch sees no CUDA device here; use cpu"])
    return torch.device(name)


def _writable(array: Array) -> Array:
    return array if array.flags.writeable and array.flags.c_contiguous else np.array(array, order="C")
