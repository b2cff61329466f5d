"""The roofline against this machine: the share of the work before each cut, and of its peak that a core reaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from splitd.calibration.environment import profile_key
from splitd.calibration.measurement import measure
from splitd.calibration.models import ModelSpec, load_model
from splitd.calibration.partition import Partition
from splitd.calibration.profile import LatencyProfile
from splitd.calibration.profiler import calibrate
from splitd.calibration.study.hardware import Hardware
from splitd.calibration.study.roofline import prefix_times
from splitd.calibration.study.subjects import PAPER_MODELS, Subject, describe

CHECKED_MODELS = ("efficientnet_b0", "efficientnet_b1", "tf_efficientnetv2_b0", "resnet18")
CHECK_PRESET = "x86-core"
TOLERANCE = 0.10  # of the total, at every compressive cut
PASSES = 15
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
        peak_flops = measured_peak_flops()
        checks = []
        for done, model in enumerate(models, start=1):
            checks.append(_check(model, hardware, peak_flops))
            progress(done, len(models), model)
        return checks
    finally:
        torch.set_num_threads(threads)


def measured_peak_flops() -> float:
    """Return what one large float32 matrix product reaches with the current threads: the practical peak."""
    a, b = torch.ones(MATRIX_SIDE, MATRIX_SIDE), torch.ones(MATRIX_SIDE, MATRIX_SIDE)
    product = torch.empty(MATRIX_SIDE, MATRIX_SIDE)
    samples = measure(lambda: torch.mm(a, b, out=product), repeats=PASSES).samples
    return float(2 * MATRIX_SIDE**3 / min(samples))


def _check(name: str, hardware: Hardware, peak_flops: float) -> ShareCheck:
    loaded = load_model(ModelSpec(name, image_size=PAPER_MODELS.get(name)))
    subject = describe(name, loaded.graph)
    cuts = tuple(cut for cut in subject.cuts if cut.compressive)
    partition = Partition(loaded, cuts)
    device = torch.device("cpu")
    key = profile_key(loaded.digest, partition.names, device, role="server", throttle=None, batch_sizes=(1,), codecs=())
    profile = calibrate(partition, key, loaded.preprocessing, device=device, repeats=PASSES)
    segments_s = _segment_times(profile)
    total_s = float(segments_s.sum())
    return ShareCheck(
        model=name,
        cuts=tuple(cut.name for cut in cuts),
        measured=tuple(float(share) for share in np.cumsum(segments_s)[:-1] / total_s),
        roofline=_roofline_shares(subject, hardware),
        total_s=total_s,
        efficiency=subject.kernels.total_flops / total_s / peak_flops,
    )


def _segment_times(profile: LatencyProfile) -> NDArray[np.float64]:
    """Return the shortest time of each segment in seconds: what disturbs a pass on a shared machine only adds to it."""
    tails = np.array([profile.tail(k, 1).samples for k in range(len(profile.cut_names))])
    shortest: NDArray[np.float64] = (tails[:-1] - tails[1:]).min(axis=1)
    return shortest


def _roofline_shares(subject: Subject, hardware: Hardware) -> tuple[float, ...]:
    prefixes = np.array(subject.prefixes.kernels)[subject.compressive]
    times = prefix_times(subject.kernels, [int(n) for n in prefixes], hardware, np.array([1]))[:, 0]
    return tuple(float(share) for share in times[1:-1] / times[-1])
