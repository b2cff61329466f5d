"""The roofline against this machine: the share of the work before each cut, and of its peak that a core reaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from splitd.calibration.chain import Engine
from splitd.calibration.measure import calibrate, profile_key
from splitd.calibration.profile import measure
from splitd.calibration.study.hardware import Hardware
from splitd.calibration.study.roofline import prefix_times
from splitd.calibration.study.subjects import Subject, describe, load_measurable
from splitd.calibration.torch_chain import Partition, TorchRunner, TorchSource

CHECKED_MODELS = ("efficientnet_b0", "efficientnet_b1", "tf_efficientnetv2_b0", "resnet18")
CHECK_PRESET = "x86-core"
TOLERANCE = 0.10  # of the total, at every compressive cut
PASSES = 10
ROUNDS = 4
MATRIX_SIDE = 1024  # larger than the caches of a core, small enough for tens of milliseconds

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ShareCheck:
    """Share of the work before each compressive cut, measured and by roofline; `efficiency` is of measured peak."""

    model: str
    cuts: tuple[str, ...]
    measured: tuple[float, ...]
    roofline: tuple[float, ...]
    total_s: float
    efficiency: float

    @property
    def largest_difference(self) -> float:
        """The worst of the cuts, as a fraction of the total."""
        return max((abs(a - b) for a, b in zip(self.measured, self.roofline, strict=True)), default=0.0)

    @property
    def agrees(self) -> bool:
        """True within the tolerance at every cut."""
        return self.largest_difference <= TOLERANCE


def check_shares(models: Sequence[str], hardware: Hardware, progress: Progress) -> list[ShareCheck]:
    """Run the models on one core of this machine, one image at a time, and compare with the roofline of `hardware`.

    Only the ratios of `hardware`'s figures matter here, since shares are compared.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        benches = [_Bench(model) for model in models]
        peak_flops = 0.0
        for done in range(ROUNDS * len(benches)):
            bench = benches[done % len(benches)]
            peak_flops = max(peak_flops, measured_peak_flops())
            bench.run()
            progress(done + 1, ROUNDS * len(benches), bench.subject.name)
        return [bench.check(hardware, peak_flops) for bench in benches]
    finally:
        torch.set_num_threads(threads)


def measured_peak_flops() -> float:
    """Return what one large float32 matrix product reaches with the current threads: the practical peak."""
    a, b = torch.ones(MATRIX_SIDE, MATRIX_SIDE), torch.ones(MATRIX_SIDE, MATRIX_SIDE)
    product = torch.empty(MATRIX_SIDE, MATRIX_SIDE)
    samples = measure(lambda: torch.mm(a, b, out=product), repeats=PASSES).samples
    return float(2 * MATRIX_SIDE**3 / min(samples))


class _Bench:
    """One model, run in several rounds; the shortest time of each segment counts.

    What disturbs a run on a shared machine only ever adds to it, and it comes and goes within seconds: hence rounds.
    """

    def __init__(self, name: str) -> None:
        loaded = load_measurable(name)
        self.subject = describe(name, loaded.graph)
        self._cuts = tuple(cut for cut in self.subject.cuts if cut.compressive)
        cpu = torch.device("cpu")
        source = TorchSource(loaded, Partition(loaded, self._cuts), cpu)
        self._engine = Engine(source.description, TorchRunner(source.partition, cpu))
        self._segments_s = np.full(self._engine.last, np.inf)

    def run(self) -> None:
        """Measure one round of single images."""
        key = profile_key(
            self._engine.description,
            self._engine.runner,
            role="server",
            throttle=None,
            batch_sizes=(1,),
            codecs=(),
        )
        profile = calibrate(self._engine, key, repeats=PASSES)
        tails = np.array([profile.tail(k, 1).samples for k in range(len(self._engine.names))])
        self._segments_s = np.minimum(self._segments_s, (tails[:-1] - tails[1:]).min(axis=1))

    def check(self, hardware: Hardware, peak_flops: float) -> ShareCheck:
        """Compare what was measured with the roofline of `hardware`."""
        total_s = float(self._segments_s.sum())
        return ShareCheck(
            model=self.subject.name,
            cuts=tuple(cut.name for cut in self._cuts),
            measured=tuple(float(share) for share in np.cumsum(self._segments_s)[:-1] / total_s),
            roofline=_roofline_shares(self.subject, hardware),
            total_s=total_s,
            efficiency=self.subject.kernels.total_flops / total_s / peak_flops,
        )


def _roofline_shares(subject: Subject, hardware: Hardware) -> tuple[float, ...]:
    prefixes = np.array(subject.prefixes.kernels)[subject.compressive]
    times = prefix_times(subject.kernels, [int(n) for n in prefixes], hardware, np.array([1]))[:, 0]
    return tuple(float(share) for share in times[1:-1] / times[-1])
