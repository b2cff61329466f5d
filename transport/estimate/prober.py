"""Decides when an idle link is probed, and with how much. Sans-IO.

A probe is a train of messages, long enough to see past a token bucket's burst and past the receiver's jitter. All
probes together stay below a share of the link's capacity: a byte budget fills at that share of the estimated rate.
Surprise makes probes more frequent, calm makes them rarer.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

from splitd.transport.estimate.dispersion import BURST_BYTES, RateReading, read_rate
from splitd.transport.estimate.link import LinkEstimate
from splitd.transport.estimate.observations import Transfer

# A probe should keep the link busy this long: over fifty times the receiver's jitter. 10 and 40 ms do as well.
_PROBE_S = 0.02
# Two packets, so that a probe of the slowest link is over in 60 ms at 50 KB/s; and 20 ms at 50 MB/s. Half and twice of
# either do as well.
_SMALLEST_BYTES, _LARGEST_BYTES = 3_000, 1_000_000
# A tensor crosses as at least six; two more, as lumps leave fewer. 4 and 16 do as well.
_MESSAGES = 8
# A report that is later than this, and than three times what was expected, is no accident of the scheduler; one that is
# later than the second is lost: TCP has by then sent again three times (on Linux after 0.2, 0.6 and 1.4 s).
_LATE_S, _TIMEOUT_S = 0.2, 2.0
# While nothing is known of a link, it is allowed this rate's share: some cellular links are no faster.
_UNKNOWN_RATE = 50_000.0
# Once, at the start, probes may grow until they reach past any bucket: 3 + 13 + 51 + 206 + 320 KB. Without it the share
# of an unknown rate would take twenty minutes to allow that.
_FIRST_BUDGET_BYTES = 800_000
# With no rate known no batch is offloaded, so there is less to disturb and more to gain. 25 and 100 ms do as well.
_QUIET_UNKNOWN_S = 0.05
# The least change that the rate filter takes for a new level (LEVEL_SHIFT); half and twice of it do as well.
_SURPRISE = log(1.25)
# Headers from ZeroMQ down to Ethernet, and the pings beside the probes, count against the share too (measured: 1.06).
_ON_THE_WIRE = 1.1


@dataclass(frozen=True)
class ProbeConfig:
    """`share`: of the capacity that probes may use; 0 forbids them. Times in seconds.

    `quiet_s`: silence before a probe may start. The pause between probes moves between `shortest_s` and `longest_s`.
    """

    share: float = 0.01  # what nobody who shares the link notices; a probe of 20 ms every two seconds
    quiet_s: float = 0.5  # longer than most pauses between batches: a probe in between would delay the next one
    shortest_s: float = 1.0  # after a surprise: as often as pings
    # How long batches may stay local after a rate has risen. Chosen between that and the bytes: a probe of 20 ms is
    # then 0.6 % of the link, so that the share is not what decides.
    longest_s: float = 3.5


@dataclass(frozen=True)
class ProbePlan:
    """Send `messages` messages of `message_bytes` each.

    After `late_s` without a report the link is not what it was; after `timeout_s` the probe has failed.
    """

    messages: int
    message_bytes: int
    late_s: float
    timeout_s: float

    @property
    def n_bytes(self) -> int:
        """Return the bytes of the whole probe."""
        return self.messages * self.message_bytes


class Prober:
    """Call `due` often; after each plan it gave, call `on_done` or `on_failed` once."""

    def __init__(self, config: ProbeConfig | None = None) -> None:
        self._config = config or ProbeConfig()
        self._budget_bytes = float(_FIRST_BUDGET_BYTES)
        self._rate = _UNKNOWN_RATE
        self._filled_s: float | None = None
        self._next_s = 0.0
        self._pause_s = self._config.shortest_s
        self._burst_bytes = 0
        self._waiting = False
        self._expected: float | None = None
        self._last: float | None = None

    def due(self, now_s: float, estimate: LinkEstimate, quiet_s: float) -> ProbePlan | None:
        """Return a probe to send now, or None. `quiet_s`: for how long only pings have crossed the link, 0 if busy."""
        self._fill(now_s, estimate)
        self._follow(now_s, estimate)
        # One at a time: two would time each other.
        if self._config.share <= 0.0 or self._waiting or estimate.state == "down":
            return None
        least_quiet_s = self._config.quiet_s if estimate.up else min(self._config.quiet_s, _QUIET_UNKNOWN_S)
        if quiet_s < least_quiet_s or now_s < self._next_s:
            return None
        plan = self._plan(estimate)
        cost_bytes = plan.n_bytes * _ON_THE_WIRE
        if cost_bytes > self._budget_bytes:
            return None
        self._budget_bytes -= cost_bytes
        self._waiting = True
        self._expected = estimate.up.p50 if estimate.up else None
        return plan

    def on_done(self, now_s: float, transfer: Transfer, estimate: LinkEstimate) -> None:
        """Take in a probe that came back, and the estimate after it."""
        self._waiting = False
        reading = read_rate(transfer.arrivals)
        if estimate.up is None or reading is None:
            # Everything arrived at line speed: the next one must reach past the bucket, and soon.
            self._burst_bytes = min(4 * max(self._burst_bytes, transfer.n_bytes), 2 * BURST_BYTES)
            self._next_s = now_s
            return
        self._burst_bytes = 0
        self._pause(now_s, longer=not self._is_surprise(reading))

    def on_failed(self, now_s: float) -> None:
        """Note that a probe got lost; the next one is small again, and not at once."""
        self._waiting = False
        self._burst_bytes = 0
        self._pause(now_s, longer=True)  # a link that loses probes is not mended by more of them

    def on_data(self, now_s: float) -> None:
        """Note that real data has crossed, which tells more than a probe; only when it stops probes are needed."""
        self._next_s = max(self._next_s, now_s + self._config.longest_s)

    def _follow(self, now_s: float, estimate: LinkEstimate) -> None:
        """Probe sooner after data that changed the estimate by much, or made the rate unknown."""
        before, self._last = self._last, estimate.up.p50 if estimate.up else None
        if before is None:
            return
        if self._last is None or abs(log(self._last / before)) > _SURPRISE:
            self._pause_s = self._config.shortest_s
            self._next_s = min(self._next_s, now_s + self._pause_s)

    def _is_surprise(self, reading: RateReading | None) -> bool:
        """Tell whether a probe says something else than was expected, even if the estimate does not believe it yet."""
        if self._expected is None or reading is None:
            return self._expected is None
        return abs(log(reading.rate_bytes_per_s / self._expected)) > _SURPRISE

    def _pause(self, now_s: float, *, longer: bool) -> None:
        wanted = self._pause_s * 2.0 if longer else self._config.shortest_s
        self._pause_s = min(self._config.longest_s, wanted)
        self._next_s = now_s + self._pause_s

    def _plan(self, estimate: LinkEstimate) -> ProbePlan:
        credit = estimate.up_path.credit_bytes if estimate.up_path else 0.0
        steady = (estimate.up.p50 if estimate.up else _UNKNOWN_RATE) * _PROBE_S
        # Past the credit, or the whole train arrives at line speed; and half as much again: the credit is an estimate.
        wanted = max(self._burst_bytes, steady + 1.5 * credit)
        n_bytes = int(min(_LARGEST_BYTES, max(_SMALLEST_BYTES, wanted)))
        rtt_s = estimate.rtt_s.p90 if estimate.rtt_s else 0.0
        expected_s = n_bytes / (estimate.up.p10 if estimate.up else _UNKNOWN_RATE) + rtt_s
        late_s = max(_LATE_S, 3.0 * expected_s)
        return ProbePlan(_MESSAGES, -(-n_bytes // _MESSAGES), late_s, max(_TIMEOUT_S, 2.0 * late_s))

    def _fill(self, now_s: float, estimate: LinkEstimate) -> None:
        """Add to the budget what the share allows; it never holds more than the largest probe."""
        elapsed_s = 0.0 if self._filled_s is None else max(0.0, now_s - self._filled_s)
        self._filled_s = now_s
        # While the rate is unknown the last one counts: a link that has just failed is not given a fast one's share.
        self._rate = estimate.up.p50 if estimate.up else self._rate
        most = _LARGEST_BYTES * _ON_THE_WIRE
        self._budget_bytes = min(most, self._budget_bytes + self._config.share * self._rate * elapsed_s)
