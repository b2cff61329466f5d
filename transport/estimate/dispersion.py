"""Reads a rate out of the spacing of arrivals at the receiver.

What the sender sees says little (`send()` returns once a few percent have crossed); what the receiver sees is the link.
The first chunk is left out: its own time began before the train did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splitd.transport.estimate.observations import Arrival

Floats = npt.NDArray[np.float64]

# Spread of a Python receiver's time stamps: wake-up and interpreter, a few hundred microseconds. It weighs readings
# against each other; half and twice of it do as well.
JITTER_S = 3e-4
# A train that arrives within this time tells the receiver's scheduling, not the link: five times its jitter.
SHORTEST_S = 1.5e-3
# What a token bucket (tbf of 70 KB) and socket buffers may let pass at line speed. More bytes than this in no time are
# really a fast link; fewer say nothing.
BURST_BYTES = 160_000
# A head of the train that is this many times as fast as the rest was a burst, not the link. With 4 a bucket's burst is
# taken for the link (error 1.28 %), with 1 every uneven train is cut (1.06 %, p90 3.8 %).
BURST_FACTOR = 2.0
# Chunks closer together than this share of the mean gap came in one lump. Without lumps (0) the error is 1.11 %, p90
# 3.7 %; from 0.05 to 0.4 it stays within 0.03 of the best.
LUMP_GAP = 0.15
# Rests of a train within this factor of each other run at one rate. Less, and noise decides where the link's own rate
# begins; more (1.3), and a burst is averaged into it (error 1.28 %).
ALIKE = 1.1
# A pause is this many times as long as its bytes would usually take: the least that is clearly no unevenness of the
# pace. 1 and 4 do as well.
WAIT_FACTOR = 2.0
# It lasts between these shares of a round trip: one, less what the bytes of the window took themselves, or more where
# the acknowledgement was delayed. Half of both misses waits that are longer than the typical round trip: regret 1.22 %.
WAIT_SHARES = (0.25, 1.5)
# Share of the bytes that the rest must hold to speak for the link: one chunk in five. Fewer would let a late end of the
# train speak for all of it; with twice that, short bursts stay in (error 0.89 %, p90 2.92 %).
REST_SHARE = 0.2
# Lumps and TCP's own dynamics spread readings of a steady link: by about this share for a train of two lumps, and by
# less the more there are. Ten per cent is what 64 KB lumps made of fits of six chunks on real links.
_SHARE_NOISE = 0.1


@dataclass(frozen=True)
class RateReading:
    """A rate in bytes/s with the variance of its logarithm, from `n_bytes` that arrived in `duration_s`."""

    rate_bytes_per_s: float
    variance: float
    n_bytes: int
    duration_s: float


def read_rate(arrivals: Sequence[Arrival], *, rtt_s: float | None = None) -> RateReading | None:
    """Return the rate of the link, or None where the train is too short to tell.

    `rtt_s` is given for a train that came after silence, so that TCP may have sent it window by window, each after the
    acknowledgement of the one before: what is missing between them is not the link's doing.
    """
    if len(arrivals) < 3:  # the first is left out, and one gap has no slope to be checked by
        return None
    times, after_first = _lump_ends(arrivals)
    if rtt_s is not None and len(times) > 1:
        # Of one or two gaps, which may both be waits, nothing says how long their bytes take.
        if len(times) < 4 and _may_be_waits(np.diff(times), rtt_s).any():
            return None
        times = _without_waits(times, after_first, rtt_s)
    if times[-1] < SHORTEST_S:
        return _too_fast_to_time(arrivals)
    first = _steady_from(times, after_first, may_start_slowly=rtt_s is not None)
    duration_s = float(times[-1] - times[first])
    if duration_s < SHORTEST_S:
        return _too_fast_to_time(arrivals)
    rate = _slope(times[first:], after_first[first:])
    variance = (JITTER_S / duration_s) ** 2 + _SHARE_NOISE**2 / (len(times) - first)
    return RateReading(rate, variance, int(after_first[-1] - after_first[first]), duration_s)


def _lump_ends(arrivals: Sequence[Arrival]) -> tuple[Floats, Floats]:
    """Return (seconds, bytes) since the first lump, at the end of each lump of arrivals.

    Segmentation offload and wake-ups deliver several chunks at one moment. All but the last of them were complete
    earlier than their time stamps say, so only the last one counts: 64 KB lumps make a fit of six chunks 10 % wrong.
    """
    times = np.array([arrival.t_s for arrival in arrivals])
    received = np.cumsum([float(arrival.n_bytes) for arrival in arrivals])
    gaps = np.diff(times)
    last = np.append(gaps > LUMP_GAP * (times[-1] - times[0]) / len(gaps), True)
    times, received = times[last], received[last]
    return times - times[0], received - received[0]


def _without_waits(times: Floats, received: Floats, rtt_s: float) -> Floats:
    """Return the times with the pauses closed in which the sender waited for acknowledgements.

    Such a pause lasts up to a round trip, and then the train goes on at the link's rate, which is that of most bytes.
    """
    took, sizes = np.diff(times), np.diff(received)
    # The median by bytes, not by gaps: waits are few bytes but may be half of the gaps of a short train.
    order = np.argsort(took / sizes)
    middle = order[int(np.searchsorted(np.cumsum(sizes[order]), sizes.sum() / 2.0))]
    usual = sizes * (took[middle] / sizes[middle])
    waits = (took > WAIT_FACTOR * usual) & _may_be_waits(took, rtt_s)
    # Slow to the very end, more than once: that is a bucket running empty.
    if waits[-2:].all():
        return times
    return np.concatenate(([0.0], np.cumsum(np.where(waits, usual, took))))


def _may_be_waits(took: Floats, rtt_s: float) -> npt.NDArray[np.bool_]:
    return (took > WAIT_SHARES[0] * rtt_s) & (took < WAIT_SHARES[1] * rtt_s)


def _too_fast_to_time(arrivals: Sequence[Arrival]) -> RateReading | None:
    """Return a careful reading of a train that no bucket could have let pass, None for one inside a burst."""
    after_first = sum(arrival.n_bytes for arrival in arrivals[1:])
    if after_first <= BURST_BYTES:
        return None
    duration_s = max(arrivals[-1].t_s - arrivals[0].t_s, JITTER_S)
    # A standard deviation of a factor of 1.6: enough to rule the burst out, too little to weigh against a timed train.
    return RateReading(after_first / duration_s, 0.25, after_first, duration_s)


def _steady_from(times: Floats, received: Floats, *, may_start_slowly: bool) -> int:
    """Return the index of the arrival from which the train runs at the link's own rate.

    A token bucket's burst makes the head fast, a slow start makes it slow; in both cases the rest is the link.
    """
    total = received[-1]
    starts = [i for i in range(len(times) - 1) if total - received[i] >= REST_SHARE * total and times[-1] > times[i]]
    rests = np.array([(total - received[i]) / (times[-1] - times[i]) for i in starts])
    # The earliest start of a rest that is about as slow (or fast) as any: it leaves the most to measure.
    slow, fast = int((rests <= ALIKE * rests.min()).argmax()), int((rests >= rests.max() / ALIKE).argmax())
    if slow > 0 and _head(times, received, starts[slow]) > BURST_FACTOR * rests[slow]:
        return starts[slow]
    if may_start_slowly and fast > 0 and rests[fast] > BURST_FACTOR * _head(times, received, starts[fast]):
        return starts[fast]
    return 0


def _head(times: Floats, received: Floats, end: int) -> float:
    """Return the rate of the train up to one of its arrivals."""
    return float(received[end] / max(times[end], 1e-9))


def _slope(times: Floats, received: Floats) -> float:
    """Return bytes/s by least squares of time on bytes: the errors are in the times."""
    bytes_off = received - received.mean()
    per_byte = float((bytes_off * (times - times.mean())).sum() / (bytes_off * bytes_off).sum())
    # A late first time stamp can turn the fit of three points round; the ends never do.
    ends = float((times[-1] - times[0]) / (received[-1] - received[0]))
    return 1.0 / (per_byte if per_byte > 0.5 * ends else ends)
