"""Head and tail times, codecs and bytes measured on this machine, in place of the roofline and the assumed codecs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from splitd.calibration.chain import Engine
from splitd.calibration.measure import calibrate, profile_key
from splitd.calibration.profile import Floats, LatencyProfile, Role
from splitd.calibration.study.codecs import splitd_offloads
from splitd.calibration.study.evaluate import ModelResult, assumed_offloads, evaluate_sets, facts_of
from splitd.calibration.study.gains import CandidateSet
from splitd.calibration.study.grid import CodecOption, Grid, LatencyTable, Offloads
from splitd.calibration.study.settings import StudySettings
from splitd.calibration.study.subjects import Subject, describe, load_measurable
from splitd.calibration.torch_chain import Partition, TorchRunner, TorchSource

# Small enough that a CPU core runs a batch of them in well under a second.
FEASIBLE_MODELS = ("efficientnet_b0", "efficientnet_b1", "tf_efficientnetv2_b0")
FEASIBLE_BATCHES = range(1, 9)
MAX_KNOTS = 4  # measured batch sizes; times between them are interpolated
REPEATS = 3
PREPARATION = "raw"  # decoding it is turning uint8 images into the model's input

CUT_CODECS = ("f32", "f16", "u8", "u8h")
INPUT_CODECS = (PREPARATION, "jpeg90")

CPU = torch.device("cpu")

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class _Ends:
    """The same chain, measured as a throttled device and as a server."""

    device: LatencyProfile
    server: LatencyProfile


def study_measured(models: Sequence[str], settings: StudySettings, progress: Progress) -> list[ModelResult]:
    """Measure and evaluate the models one after the other.

    `progress` is called with the share done, 0..1, and what is being measured.

    Raises:
        ModelError: a model cannot be loaded, or a batch does not fit into memory.
    """
    results = []
    for index, name in enumerate(models):

        def report(share: float, doing: str, index: int = index, name: str = name) -> None:
            progress((index + share) / len(models), f"{name}: {doing}")

        results.append(_study(name, settings, report))
    return results


def knots(batches: Sequence[int]) -> tuple[int, ...]:
    """Return up to MAX_KNOTS batch sizes to measure, spaced evenly in the logarithm, both ends included."""
    spaced = np.geomspace(batches[0], batches[-1], min(MAX_KNOTS, len(batches)))
    return tuple(sorted({round(float(batch)) for batch in spaced}))


def _study(name: str, settings: StudySettings, progress: Progress) -> ModelResult:
    progress(0.0, "loading")
    loaded = load_measurable(name)
    subject = describe(name, loaded.graph)
    ends = _measure(TorchSource(loaded, Partition(loaded, subject.cuts), CPU), settings, progress)
    offloads = (
        assumed_offloads(subject, settings)
        if settings.cost == "paper"
        else {candidates: _offloads(subject, ends, settings.grid, candidates) for candidates in settings.candidates}
    )
    latency = _latency(ends, settings.grid, with_preparation=settings.cost == "paper")
    return ModelResult(facts_of(subject), evaluate_sets(subject, latency, offloads, settings), {})


def _measure(source: TorchSource, settings: StudySettings, progress: Progress) -> _Ends:
    engine = Engine(source.description, TorchRunner(source.partition, CPU))
    codecs = (PREPARATION,) if settings.cost == "paper" else (*INPUT_CODECS, *CUT_CODECS)

    def measure(role: Role, throttle: float, start: float) -> LatencyProfile:
        key = profile_key(
            engine.description,
            engine.runner,
            role=role,
            throttle=throttle,
            batch_sizes=knots([int(batch) for batch in settings.grid.batches]),
            codecs=codecs,
        )
        return calibrate(
            engine,
            key,
            repeats=REPEATS,
            progress=lambda share, doing: progress(start + share / 2, doing),
        )

    return _Ends(measure("device", settings.throttle, 0.0), measure("server", 1.0, 0.5))


def _latency(ends: _Ends, grid: Grid, *, with_preparation: bool) -> LatencyTable:
    """Return the measured times; `with_preparation`: full offloading has the server prepare the input."""
    names = ends.device.cut_names
    positions = range(len(names))
    head_s = _per_batch([partial(ends.device.head_s, k) for k in positions], grid)
    tail_s = _per_batch([partial(ends.server.tail_s, k) for k in positions], grid)
    if with_preparation:
        tail_s[0] += _per_batch([partial(ends.server.decode_s, 0, PREPARATION)], grid)[0]
    return LatencyTable(names, head_s, tail_s)


def _offloads(subject: Subject, ends: _Ends, grid: Grid, candidates: CandidateSet) -> Offloads:
    inputs = (PREPARATION,) if candidates is CandidateSet.FULL_F32 else INPUT_CODECS
    options = [
        [_option(ends, k, codec, grid) for codec in (inputs if k == 0 else CUT_CODECS)]
        for k in range(len(subject.names) - 1)
    ]
    return splitd_offloads(options, subject.result_values, grid)


def _option(ends: _Ends, k: int, codec: str, grid: Grid) -> CodecOption:
    measured: list[Callable[[int], float]] = [
        partial(ends.device.encode_s, k, codec),
        partial(ends.device.wire_bytes, k, codec),
        partial(ends.server.decode_s, k, codec),
    ]
    return CodecOption(*_per_batch(measured, grid))


def _per_batch(values: Sequence[Callable[[int], float]], grid: Grid) -> Floats:
    """Return [value, batch]."""
    return np.array([[value(int(batch)) for batch in grid.batches] for value in values], dtype=np.float64)
