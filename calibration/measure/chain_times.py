"""Times heads and tails of a chain, as sums over real passes in which every segment is timed.

So every sample of head(k) and tail(k) belongs to a pass that really ran, prefixes never fall along the chain, and a
slow moment of the machine shows in all of them.

A throttled machine idles t·(1/share - 1) seconds after a segment of t seconds (see `throttle`), so its times are
exactly the busy times divided by the share. They are computed so instead of being waited for: at a share of 0.17 that
takes a sixth of the time. What is not the same is t itself: after idling, caches are cold and clocks low. On one core
of an EPYC, EfficientNet-B0 was busy for 49 ms instead of 32 with a batch of one and for 158 instead of 134 with four: a
price per segment, not per image. So passes of the smallest batch that really idle give that price, and it is added for
all sizes. A few more, of another size, check the outcome: their time over the computed one is `throttle_ratio`.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from splitd.calibration.chain import Throttle
from splitd.calibration.measure.bench import Bench
from splitd.calibration.measure.codec_costs import Progress
from splitd.calibration.profile import Measurement, ProfileKey, Table, rounded

log = logging.getLogger(__name__)

COOLING_S = 0.02  # idling longer does not cool a processor any further
CHECKING_PASSES = 3  # their median stands one disturbance; at a share of 0.17 each takes as long as six warm ones
THROTTLE_TOLERANCE = 0.2  # idling is coarse (timer slack, other processes); beyond it the emulation itself is in doubt

Pass = Sequence[float]  # seconds of preparation, then of each segment


@dataclass(frozen=True)
class ChainTimes:
    """Rows k = 0..K of head(k), with preparation for k > 0, and of tail(k); the ratio is None without throttle."""

    heads: Table
    tails: Table
    throttle_ratio: float | None


def time_chain(bench: Bench, key: ProfileKey, repeats: int, progress: Progress) -> ChainTimes:
    """Time `repeats` passes of each batch size.

    The sizes take turns, so that a drift of the machine hits all alike.
    """
    sync = bench.engine.runner.synchronise
    warm, cold = _passes(bench, key, repeats, progress)
    price = _price_of_idling(warm[0], cold) if cold else (0.0,) * (len(key.cut_names))
    passes = [[_throttled(one, price, key.throttle) for one in same_size] for same_size in warm]
    ratio = _check(bench, key, passes, Throttle(key.throttle, sync=sync)) if cold else None
    return ChainTimes(
        heads=_table([[_head_sums(one) for one in same_size] for same_size in passes]),
        tails=_table([[_tail_sums(one) for one in same_size] for same_size in passes]),
        throttle_ratio=ratio,
    )


def _passes(bench: Bench, key: ProfileKey, repeats: int, progress: Progress) -> tuple[list[list[Pass]], list[Pass]]:
    """Return the passes by batch size, and those of the smallest with a processor that idles in between."""
    throttle = Throttle(
        key.throttle, sync=bench.engine.runner.synchronise, sleep=lambda s: time.sleep(min(s, COOLING_S))
    )
    warm: list[list[Pass]] = [[] for _ in key.batch_sizes]
    cold: list[Pass] = []
    work, done = (repeats + 1) * sum(key.batch_sizes), 0
    for turn in range(repeats + 1):
        for taken, size in zip(warm, key.batch_sizes, strict=True):
            progress(done / work, f"head and tail, batches of {size}")
            laps = bench.laps(size)
            if turn > 0:  # the first pass of a size allocates, and lets the backend choose its kernels
                taken.append(laps)
            done += size
        if turn > 0 and throttle.active:
            cold.append(bench.laps(key.batch_sizes[0], throttle))
    return warm, cold


def _price_of_idling(warm: Sequence[Pass], cold: Sequence[Pass]) -> Pass:
    """Return how much longer each lap is busy when the processor idled before it."""
    return [
        max(statistics.median(after_idling) - statistics.median(before), 0.0)
        for before, after_idling in zip(zip(*warm, strict=True), zip(*cold, strict=True), strict=True)
    ]


def _throttled(laps: Pass, price: Pass, share: float) -> Pass:
    return [(lap + extra) / share for lap, extra in zip(laps, price, strict=True)]


def _check(bench: Bench, key: ProfileKey, passes: Sequence[Sequence[Pass]], throttle: Throttle) -> float:
    """Really idle through a few passes; return their time over the computed one."""
    index = min(1, len(key.batch_sizes) - 1)
    computed_s = statistics.median(sum(one) for one in passes[index])
    real_s = statistics.median(_real_s(bench, key.batch_sizes[index], throttle) for _ in range(CHECKING_PASSES))
    ratio = rounded(real_s / computed_s)
    if abs(ratio - 1) > THROTTLE_TOLERANCE:
        log.warning("throttled passes take %.2f times the computed %.1f ms", ratio, computed_s * 1e3)
    return ratio


def _real_s(bench: Bench, batch: int, throttle: Throttle) -> float:
    started = time.perf_counter()
    bench.laps(batch, throttle)
    return time.perf_counter() - started


def _head_sums(laps: Pass) -> Pass:
    """Return the time of head(k) for k = 0..K; nothing runs, and nothing is prepared, before k = 0."""
    return [0.0, *list(accumulate(laps))[1:]]


def _tail_sums(laps: Pass) -> Pass:
    """Return the time of tail(k) for k = 0..K, added up from the back so that tail(K) is exactly 0."""
    return list(accumulate(reversed(laps[1:]), initial=0.0))[::-1]


def _table(sums: Sequence[Sequence[Sequence[float]]]) -> Table:
    """Turn seconds by [batch size][pass][k] into one row of measurements per k."""
    positions = range(len(sums[0][0]))
    return Table(tuple(tuple(Measurement.of([one[k] for one in same_size]) for same_size in sums) for k in positions))
