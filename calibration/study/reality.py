"""The roofline against this machine: the share of the work before each cut, and of its peak that a core reaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from splitd.calibration.chain import Engine
from splitd.calibration.measure import calibrate, profile_key
from splitd.calibration.study.core import PASSES, CoreBench, one_core
from splitd.calibration.study.hardware import Hardware
from splitd.calibration.study.roofline import prefix_times
from splitd.calibration.study.subjects import Subject, describe, load_measurable
from splitd.calibration.torch_chain import Partition, TorchRunner, TorchSource

CHECKED_MODELS = ("efficientnet_b0", "efficientnet_b1", "tf_efficientnetv2_b0", "resnet18")
TOLERANCE = 0.10  # of the total, at every compressive cut
ROUNDS = 4
# On a crowded machine the scheduler cuts into the long segments of every round: with four busy processes on two cores,
# shares were 0.11 off after four. Rounds go on until the shortest time of each segment has been met twice.
MAX_ROUNDS = 16
SETTLED = 0.02  # of a model's time: how far its two shortest times may lie apart, summed over the segments

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ShareCheck:
    """Share of the work before each compressive cut, measured and by roofline.

    `efficiency` is the share of the measured peak that the whole model reached, `core` what the roofline was given.
    """

    model: str
    cuts: tuple[str, ...]
    measured: tuple[float, ...]
    roofline: tuple[float, ...]
    total_s: float
    efficiency: float
    core: Hardware

    @property
    def largest_difference(self) -> float:
        """The worst of the cuts, as a fraction of the total."""
        return max((abs(a - b) for a, b in zip(self.measured, self.roofline, strict=True)), default=0.0)

    @property
    def agrees(self) -> bool:
        """True within the tolerance at every cut."""
        return self.largest_difference <= TOLERANCE


def check_shares(models: Sequence[str], progress: Progress) -> list[ShareCheck]:
    """Run the models on one core of this machine, one image at a time, and compare with the roofline of that core.

    The core's figures come from single kernels that are timed in the same rounds, so nothing is fitted to the models:
    the method is what is checked, on whatever processor this is.
    """
    with one_core():
        core = CoreBench()
        benches = [_Bench(model) for model in models]
        rounds = 0
        while rounds < ROUNDS or (rounds < MAX_ROUNDS and not all(bench.settled for bench in benches)):
            _round(core, benches, rounds, progress)
            rounds += 1
        return [bench.check(core.hardware()) for bench in benches]


def _round(core: CoreBench, benches: Sequence[_Bench], earlier: int, progress: Progress) -> None:
    """Measure everything once more, after so many earlier rounds."""
    for done, bench in enumerate(benches, start=earlier * len(benches) + 1):
        core.run()
        bench.run()
        progress(done, max(ROUNDS, earlier + 1) * len(benches), bench.subject.name)


class _Bench:
    """One model, run in several rounds; the shortest time of each segment counts, as in `CoreBench`."""

    def __init__(self, name: str) -> None:
        loaded = load_measurable(name)
        self.subject = describe(name, loaded.graph)
        self._cuts = tuple(cut for cut in self.subject.cuts if cut.compressive)
        cpu = torch.device("cpu")
        source = TorchSource(loaded, Partition(loaded, self._cuts), cpu)
        self._engine = Engine(source.description, TorchRunner(source.partition, cpu))
        self._shortest_s = np.full((2, self._engine.last), np.inf)  # of all rounds, the two shortest of each segment

    @property
    def settled(self) -> bool:
        """True once a second round has confirmed the shortest times."""
        shortest_s, next_s = self._shortest_s.sum(axis=1)
        return bool(next_s <= (1 + SETTLED) * shortest_s)

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
        round_s = (tails[:-1] - tails[1:]).min(axis=1)
        self._shortest_s = np.sort(np.vstack([self._shortest_s, round_s]), axis=0)[:2]

    def check(self, core: Hardware) -> ShareCheck:
        """Compare what was measured with the roofline of this core."""
        segments_s = self._shortest_s[0]
        total_s = float(segments_s.sum())
        return ShareCheck(
            model=self.subject.name,
            cuts=tuple(cut.name for cut in self._cuts),
            measured=tuple(float(share) for share in np.cumsum(segments_s)[:-1] / total_s),
            roofline=_roofline_shares(self.subject, core),
            total_s=total_s,
            efficiency=self.subject.kernels.total_flops / total_s / core.peak_flops,
            core=core,
        )


def _roofline_shares(subject: Subject, hardware: Hardware) -> tuple[float, ...]:
    prefixes = np.array(subject.prefixes.kernels)[subject.compressive]
    times = prefix_times(subject.kernels, [int(n) for n in prefixes], hardware, np.array([1]))[:, 0]
    return tuple(float(share) for share in times[1:-1] / times[-1])
