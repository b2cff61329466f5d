"""Measures what every head, tail and codec of a chain costs on this machine.

Every sample of head(k) and tail(k) is a sum over one real pass of the chain, in which each segment is timed: prefixes
never fall along the chain, and a slow moment of the machine shows in all of them.

A throttled machine idles t·(1/share - 1) seconds after a segment of t seconds (see `throttle`), so its times are
exactly the busy times divided by the share. They are computed so instead of being waited for: at a share of 0.17 that
takes a sixth of the time. A few passes that really idle check it; their time over the computed one is `throttle_ratio`.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from itertools import accumulate

import torch

from splitd.calibration.bench import Bench
from splitd.calibration.codec_costs import Progress, measure_codecs
from splitd.calibration.measurement import Measurement
from splitd.calibration.partition import Partition
from splitd.calibration.preprocess import Preprocessing
from splitd.calibration.profile import LatencyProfile
from splitd.calibration.profile_key import ProfileKey
from splitd.calibration.samples import Images, generated_images, repeated
from splitd.calibration.stopwatch import synchroniser
from splitd.calibration.table import Table
from splitd.calibration.throttle import Throttle
from splitd.errors import ModelError

log = logging.getLogger(__name__)

THROTTLED_PASSES = 3
THROTTLE_TOLERANCE = 0.2  # an idle processor clocks down and its caches cool: some difference is real, k_dev learns it
CHAIN_SHARE = 0.7  # of the work; the rest goes to the codecs
GENERATED_IMAGES = 8

Laps = Sequence[Sequence[Sequence[float]]]  # seconds, by [batch size][pass][0: preparation, then the segments]


def calibrate(
    partition: Partition,
    key: ProfileKey,
    preprocessing: Preprocessing,
    *,
    device: torch.device,
    repeats: int = 5,
    images: Images | None = None,
    progress: Progress | None = None,
) -> LatencyProfile:
    """Measure the chain as `key` says: its role, batch sizes, codecs and throttle.

    A device is measured for heads, tails and encoding, a server for tails and decoding.

    Args:
        partition: The chain, on `device`.
        key: As `environment.profile_key` makes it for this machine.
        preprocessing: The model's; making its input from uint8 images is part of a head, and of decoding at k = 0.
        device: Where the chain runs.
        repeats: Timed passes per batch size; round robin over the sizes, so that a drift of the machine hits all alike.
        images: uint8 (n, H, W, 3), to run with; default: generated ones.
        progress: Called with the share done, 0..1, and what is being measured.

    Raises:
        ModelError: A batch size does not fit into the device's memory.
        CodecError: The key names an unknown codec.
    """
    images = generated_images(GENERATED_IMAGES, *preprocessing.size[1:]) if images is None else images
    bench = Bench(partition, preprocessing, device, repeated(images, key.batch_sizes[-1]))
    report = progress if progress is not None else _silent
    try:
        laps = _passes(bench, key.batch_sizes, repeats, report)
        ratio = _throttle_ratio(bench, key, laps)
        codecs = measure_codecs(
            bench, key, repeats, lambda share, doing: report(CHAIN_SHARE + (1 - CHAIN_SHARE) * share, doing)
        )
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"batches of {key.batch_sizes[-1]} do not fit into the memory of {key.device}; "
            "leave the largest out of calibration.batch_sizes"
        ) from error
    report(1.0, "done")
    return LatencyProfile(
        key=key,
        heads=_table([[_head_sums(one) for one in passes] for passes in laps], key) if key.role == "device" else None,
        tails=_table([[_tail_sums(one) for one in passes] for passes in laps], key),
        codecs=codecs,
        throttle_ratio=ratio,
    )


def _passes(bench: Bench, sizes: Sequence[int], repeats: int, report: Progress) -> Laps:
    laps: list[list[tuple[float, ...]]] = [[] for _ in sizes]
    work, done = (repeats + 1) * sum(sizes), 0
    for turn in range(repeats + 1):
        for taken, size in zip(laps, sizes, strict=True):
            report(CHAIN_SHARE * done / work, f"head and tail, batches of {size}")
            lap = bench.laps(size)
            if turn > 0:  # the first pass of a size allocates, and lets the backend choose its kernels
                taken.append(lap)
            done += size
    return laps


def _head_sums(laps: Sequence[float]) -> list[float]:
    """Return the time of head(k) for k = 0..K; nothing runs, and nothing is prepared, before k = 0."""
    return [0.0, *list(accumulate(laps))[1:]]


def _tail_sums(laps: Sequence[float]) -> list[float]:
    """Return the time of tail(k) for k = 0..K, added up from the back so that tail(K) is exactly 0."""
    return list(accumulate(reversed(laps[1:]), initial=0.0))[::-1]


def _table(sums: Laps, key: ProfileKey) -> Table:
    """Turn seconds at full speed, by [batch size][pass][k], into one row of measurements per k."""
    return Table(
        tuple(
            tuple(Measurement.of([one[k] / key.throttle for one in passes]) for passes in sums)
            for k in range(len(key.cut_names))
        )
    )


def _throttle_ratio(bench: Bench, key: ProfileKey, laps: Laps) -> float | None:
    """Really idle through a few passes of the smallest batch; return their time over the computed one."""
    throttle = Throttle(key.throttle, sync=synchroniser(bench.device))
    if not throttle.active:
        return None
    computed_s = statistics.median(sum(one) for one in laps[0]) * throttle.slowdown
    real_s = statistics.median(bench.throttled_s(key.batch_sizes[0], throttle) for _ in range(THROTTLED_PASSES))
    ratio = real_s / computed_s
    if abs(ratio - 1) > THROTTLE_TOLERANCE:
        log.warning("throttled passes take %.2f times the computed %.1f ms", ratio, computed_s * 1e3)
    return ratio


def _silent(share: float, doing: str) -> None:
    """Report to nobody."""
