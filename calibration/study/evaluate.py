"""One model over the whole grid: best splits and gains for each candidate set, and how they move with efficiency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splitd.calibration.model import Cut
from splitd.calibration.profile import Floats
from splitd.calibration.study.codecs import load_assumptions, splitd_offloads
from splitd.calibration.study.gains import CandidateSet, Gains, best_positions, evaluate, regret
from splitd.calibration.study.grid import Grid, LatencyTable, Offloads, grid_times, paper_offloads
from splitd.calibration.study.roofline import roofline_latency
from splitd.calibration.study.settings import Processors, StudySettings
from splitd.calibration.study.subjects import Subject

OffloadsBySet = Mapping[CandidateSet, Offloads]


@dataclass(frozen=True)
class Facts:
    """What does not depend on machines or link; counts and shapes are per sample."""

    model: str
    image_shape: tuple[int, int, int]
    parameters: int
    flops: int
    cuts: tuple[Cut, ...]

    @property
    def natural(self) -> int:
        """Number of natural bottlenecks."""
        return sum(cut.natural for cut in self.cuts)

    @property
    def compressive(self) -> tuple[Cut, ...]:
        """The compressive bottlenecks."""
        return tuple(cut for cut in self.cuts if cut.compressive)


@dataclass(frozen=True)
class SetResult:
    """One candidate set over the grid.

    `names` are the candidate positions, `times` their seconds [position, batch, rate]; `regret` is by what mean share
    the best of them is slower than the best of *all* blocks.
    """

    names: tuple[str, ...]
    times: Floats
    gains: Gains
    regret: float

    def best(self, candidates: CandidateSet) -> NDArray[np.int64]:
        """Return the index into `names` of the fastest position in each state."""
        return best_positions(self.times, candidates)

    def winners(self, candidates: CandidateSet) -> dict[str, float]:
        """Return in what share of the states each position is the fastest, by name."""
        best = self.best(candidates)
        return {name: float(np.mean(best == k)) for k, name in enumerate(self.names)}


@dataclass(frozen=True)
class ModelResult:
    """All that the study finds out about one model; `sweep` is by efficiency, empty where times are measured."""

    facts: Facts
    sets: Mapping[CandidateSet, SetResult]
    sweep: Mapping[float, Mapping[CandidateSet, Gains]]


def evaluate_roofline(subject: Subject, settings: StudySettings, processors: Processors) -> ModelResult:
    """Evaluate a model with times from the roofline of these processors."""
    offloads = assumed_offloads(subject, settings)

    def latency(ends: Processors) -> LatencyTable:
        return roofline_latency(subject.kernels, subject.prefixes, ends.device, ends.server, settings.grid.batches)

    sweep = {
        efficiency: sweep_point(subject, latency(processors.at_efficiency(efficiency)), offloads, settings)
        for efficiency in settings.efficiencies
    }
    return ModelResult(facts_of(subject), evaluate_sets(subject, latency(processors), offloads, settings), sweep)


def evaluate_sets(
    subject: Subject, latency: LatencyTable, offloads: OffloadsBySet, settings: StudySettings
) -> dict[CandidateSet, SetResult]:
    """Return what each candidate set can do with these times, [position, batch], and ways to cross at every block."""
    times = {one: grid_times(latency, offloads[one], settings.grid) for one in settings.candidates}
    positions = _positions(subject, times, settings)
    names = tuple(subject.names[int(k)] for k in positions)
    return {
        candidates: SetResult(
            names, one[positions], evaluate(one[positions], names, candidates), regret(one, positions, candidates)
        )
        for candidates, one in times.items()
    }


def sweep_point(
    subject: Subject, latency: LatencyTable, offloads: OffloadsBySet, settings: StudySettings
) -> dict[CandidateSet, Gains]:
    """Return only the gains, of the compressive bottlenecks only."""
    positions = subject.compressive
    selected = latency.select(positions)
    return {
        one: evaluate(grid_times(selected, offloads[one].select(positions), settings.grid), selected.names, one)
        for one in settings.candidates
    }


def assumed_offloads(subject: Subject, settings: StudySettings) -> OffloadsBySet:
    """Return how every position may cross, by the paper's equation or with splitd's assumed codecs."""
    if settings.cost == "paper":
        return {
            candidates: paper_offloads(subject.elements, settings.grid, candidates.input_value_bytes)
            for candidates in settings.candidates
        }
    return {candidates: _splitd_assumed(subject, settings.grid, candidates) for candidates in settings.candidates}


def facts_of(subject: Subject) -> Facts:
    """Return what the report prints of a model."""
    return Facts(subject.name, subject.image_shape, subject.parameters, subject.kernels.total_flops, subject.cuts)


def _splitd_assumed(subject: Subject, grid: Grid, candidates: CandidateSet) -> Offloads:
    assumed = load_assumptions()
    # Images cross as pixels (batch, H, W, channels), prepared floats and cuts with their channels in front.
    channels, height, width = subject.image_shape
    pixels, floats = assumed.input_codecs, assumed.float_input_codecs
    inputs = (
        [codec.option([subject.image_shape], grid) for codec in floats]
        if candidates is CandidateSet.FULL_F32
        else [codec.option([(height, width, channels)], grid) for codec in pixels]
    )
    cuts = [[codec.option(shapes, grid) for codec in assumed.cut_codecs] for shapes in subject.shapes[1:]]
    return splitd_offloads([inputs, *cuts], subject.result_values, grid)


def _positions(subject: Subject, times: Mapping[CandidateSet, Floats], settings: StudySettings) -> NDArray[np.int64]:
    """Return the candidates: the paper's, and for splitd's cost also every block that is the fastest somewhere.

    The second is what its planner keeps: a cut that no state of the grid prefers is dominated.
    """
    if settings.cost == "paper":
        return subject.compressive
    fastest = [best_positions(one, candidates) for candidates, one in times.items()]
    return np.unique(np.concatenate([subject.compressive, *(best.ravel() for best in fastest)]))
