"""What every executor is: how it is found and built, and what it is built from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from splitd.calibration.chain import ChainDescription, Runner

if TYPE_CHECKING:
    from splitd.calibration.torch_chain import Partition


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


class Build(Protocol):
    """Makes a runner."""

    def __call__(self, source: SegmentSource, *, device: str, threads: int | None, cache_dir: Path | None) -> Runner:
        """Build all segments.

        Args:
            source: Where they come from; one that has torch only through `torch_chain` serves those who need it.
            device: `cpu`, `cuda` or `cuda:N`.
            threads: CPU threads of a segment; None: one for each processor that this process may use.
            cache_dir: Where what was built is kept and found again; None: nowhere.

        Raises:
            ModelError: A segment cannot be exported or built.
            ConfigError: There is no such device.
        """


@dataclass(frozen=True)
class Executor:
    """One entry of the registry. `find` takes the device's name, and loads as little as it can."""

    name: str
    summary: str
    find: Callable[[str], Availability]
    build: Build
    needs_torch: bool
    """Whether it is built from the chain in torch; the others are built from ONNX."""
