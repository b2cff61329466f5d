"""What every executor is: how it is found and built, and what it is built from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import xxhash

from splitd.calibration.chain import Array, ChainDescription, Runner
from splitd.calibration.executors.cache import cached_bytes

if TYPE_CHECKING:
    from splitd.calibration.torch_chain import Partition


class KnownAnswers(Protocol):
    """Inputs and the outputs that the reference gave for them; all have the samples first."""

    @property
    def inputs(self) -> Array:
        """Prepared inputs."""

    @property
    def outputs(self) -> tuple[Array, ...]:
        """One array for each of the network's outputs."""


class SegmentSource(Protocol):
    """Where the segments of one chain come from: a model in torch, or a bundle."""

    @property
    def description(self) -> ChainDescription:
        """The chain."""

    def onnx(self, i: int) -> bytes:
        """Return segment i as a serialised ONNX model, its inputs and outputs in the order of what crosses.

        Out of a model it is exported now, which takes seconds.

        Raises:
            ModelError: It cannot be exported or read.
        """

    def torch_chain(self) -> Partition | None:
        """Return the chain in torch; None where there is no torch, or no model but a bundle."""

    def reference(self) -> KnownAnswers | None:
        """Return what every executor is held to; None where nothing is known. Raises ModelError."""


@dataclass(frozen=True)
class Found:
    """The executor is installed and works on the device."""

    version: str


@dataclass(frozen=True)
class Missing:
    """It is not: why, and how to get it."""

    reason: str
    remedy: str


Availability: TypeAlias = Found | Missing


Piece: TypeAlias = Callable[[int], bytes]
Load: TypeAlias = Callable[["BuildPlan", Piece], Runner]


@dataclass(frozen=True)
class BuildPlan:
    """What is built, for what, and where it is kept.

    Attributes:
        source: Where the segments come from.
        device: `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads of a segment; None: one for each processor that this process may use.
        cache_dir: Where what was built is kept and found again; None: nowhere.
    """

    source: SegmentSource
    device: str = "cpu"
    threads: int | None = None
    cache_dir: Path | None = None

    @property
    def count(self) -> int:
        """Number of segments."""
        return self.source.description.last

    @property
    def folder(self) -> Path | None:
        """Where everything is kept that was built of this chain, whatever by."""
        if self.cache_dir is None:
            return None
        description = self.source.description
        cuts = xxhash.xxh3_64_hexdigest("\n".join(description.names).encode())  # names are no file names
        return self.cache_dir / f"{description.digest[:32]}-{cuts}"


@dataclass(frozen=True)
class Executor:
    """One entry of the registry: segments are made to pieces, slowly, which are kept; a runner is loaded from these.

    Attributes:
        name: As in `device.executor`.
        summary: What it is, in a line.
        find: Tells for a device's name whether it is installed; loads as little as it can.
        load: Makes the runner, given pieces.
        make: Makes piece i; None: there is nothing to make.
        shelf: Names the folder of its pieces: by version and, where they depend on it, hardware.
        needs_torch: Whether it is made from the chain in torch; the others are made from ONNX.
    """

    name: str
    summary: str
    find: Callable[[str], Availability]
    load: Load
    make: Callable[[BuildPlan, int], bytes] | None
    shelf: Callable[[BuildPlan], str]
    needs_torch: bool

    def build(
        self, source: SegmentSource, *, device: str = "cpu", threads: int | None = None, cache_dir: Path | None = None
    ) -> Runner:
        """Return a runner of all segments, made from what is kept in `cache_dir` and otherwise anew (see BuildPlan).

        Raises:
            ModelError: A segment cannot be exported, compiled or loaded.
            ConfigError: There is no such device.
        """
        plan = BuildPlan(source, device, threads, cache_dir)
        return self.load(plan, lambda i: self.piece(plan, i))

    def piece(self, plan: BuildPlan, i: int) -> bytes:
        """Return piece i, kept or new; raises ModelError."""
        if self.make is None:
            return b""
        make = self.make
        return cached_bytes(self._path(plan, i), lambda: make(plan, i))

    def ready(self, plan: BuildPlan) -> int:
        """Return how many pieces need not be made."""
        if self.make is None or (not self.needs_torch and plan.source.torch_chain() is None):
            return plan.count  # a bundle's segments are at hand
        paths = [self._path(plan, i) for i in range(plan.count)]
        return sum(path is not None and path.is_file() for path in paths)

    def _path(self, plan: BuildPlan, i: int) -> Path | None:
        kept = plan.folder if self.needs_torch or plan.source.torch_chain() is not None else None
        return None if kept is None else kept / self.shelf(plan) / str(i)
