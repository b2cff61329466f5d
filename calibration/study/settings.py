"""What a study looks at, as one value that worker processes can be handed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from splitd.calibration.study.gains import CandidateSet
from splitd.calibration.study.grid import Grid
from splitd.calibration.study.hardware import Hardware

Cost = Literal["paper", "splitd"]
LatencySource = Literal["measured", "roofline"]

# Shares of peak that the sweep tries: from a badly fed GPU to the data sheet.
SWEEP_EFFICIENCIES = (0.02, 0.03, 0.05, 0.07, 0.10, 0.15, 0.20, 0.30, 0.40, 0.50, 0.70, 1.00)


@dataclass(frozen=True)
class Processors:
    """The two ends of a roofline study."""

    device: Hardware
    server: Hardware

    def at_efficiency(self, efficiency: float) -> Processors:
        """Return both ends reaching this share of their peak."""
        return Processors(self.device.at_efficiency(efficiency), self.server.at_efficiency(efficiency))


@dataclass(frozen=True)
class StudySettings:
    """Grid, cost model and candidate sets; `processors` is None where times are measured.

    `throttle` is the share of full speed at which a measured device runs; `efficiencies` are those of the sweep.
    """

    grid: Grid
    cost: Cost = "paper"
    candidates: tuple[CandidateSet, ...] = tuple(CandidateSet)
    processors: Processors | None = None
    throttle: float = 1.0
    efficiencies: tuple[float, ...] = SWEEP_EFFICIENCIES

    @property
    def latency(self) -> LatencySource:
        """Where head and tail times come from."""
        return "measured" if self.processors is None else "roofline"
