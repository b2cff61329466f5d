"""Runs the probes that the prober plans: what to send, what came back, what got lost. Sans-IO.

At most one probe is under way. A probe that data has overtaken tells neither the estimator nor anyone else anything.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from splitd.errors import WireError
from splitd.transport.estimate import LinkEstimator, ProbePlan, Prober, Transfer
from splitd.transport.wire import MAX_CHUNK_BYTES, Probe, ProbeReport, as_arrivals

# Random, so that nothing on the way (a VPN, a modem) can compress it: a compressed probe would show a rate too high.
_FILLING = secrets.token_bytes(MAX_CHUNK_BYTES)
# How often to ask the prober: while nothing is known it wants to see an idle link within 50 ms (_QUIET_UNKNOWN_S).
_LOOK_S = 0.05


@dataclass(slots=True)
class _Flight:
    probe_id: int
    plan: ProbePlan
    queued_s: float
    idle_before_s: float = math.inf
    started_s: float | None = None
    sent_bytes: int = 0
    is_overtaken: bool = False
    is_late: bool = False


class Probing:
    """The probe under way, and when the link last carried anything but pings."""

    def __init__(self, estimator: LinkEstimator, prober: Prober) -> None:
        self.sent = 0
        self.failed = 0
        self._estimator = estimator
        self._prober = prober
        self._flight: _Flight | None = None
        self._now_s = 0.0
        self._last_bulk_s = -math.inf
        self._last_up_s = -math.inf

    @property
    def flight_id(self) -> int | None:
        """The id of the probe under way; None if there is none."""
        return None if self._flight is None else self._flight.probe_id

    def next_look_s(self, now_s: float) -> float:
        """Return when to call `due` again."""
        return now_s + _LOOK_S

    def due(self, now_s: float, probe_id: int) -> Sequence[Probe]:
        """Return the messages of a probe that is to be sent now under this id; none if it is not time for one."""
        self._now_s = now_s
        if self._flight is not None:
            return ()
        plan = self._prober.due(now_s, self._estimator.estimate(now_s), now_s - self._last_bulk_s)
        if plan is None:
            return ()
        self.sent += 1
        self._flight = _Flight(probe_id, plan, now_s)
        payload = memoryview(_FILLING)[: plan.message_bytes]
        return [Probe(index, plan.messages, payload) for index in range(plan.messages)]

    def on_sent(self, probe_id: int, now_s: float, n_bytes: int) -> None:
        """Note that the socket took one message of a probe."""
        flight = self._flight
        if flight is not None and flight.probe_id == probe_id:
            if flight.started_s is None:
                flight.started_s, flight.idle_before_s = now_s, now_s - self._last_up_s
            flight.sent_bytes += n_bytes
        self._now_s = self._last_bulk_s = self._last_up_s = now_s

    def on_data(self, now_s: float, *, is_up: bool) -> None:
        """Note that a chunk of a request (`is_up`) or of an answer crosses."""
        self._now_s = self._last_bulk_s = now_s
        if is_up:
            self._last_up_s = now_s
        if self._flight is not None:
            self._flight.is_overtaken = True
        self._prober.on_data(now_s)

    def on_report(self, probe_id: int, now_s: float, report: ProbeReport) -> None:
        """Take in the server's report; one for an abandoned probe is ignored.

        Raises WireError for a report that does not fit what was sent.
        """
        flight = self._flight
        if flight is None or flight.probe_id != probe_id:
            return
        if flight.started_s is None or len(report.arrivals.offsets_s) != flight.plan.messages:
            raise WireError("a report for a probe that was not sent like that")
        self._flight = None
        if flight.is_overtaken:
            self._prober.on_failed(now_s)
            return
        transfer = Transfer(
            direction="up",
            kind="probe",
            started_s=flight.started_s,
            ended_s=max(flight.started_s, now_s - report.held_s),
            idle_before_s=flight.idle_before_s,
            n_bytes=flight.sent_bytes,
            arrivals=as_arrivals(report.arrivals),
        )
        self._estimator.on_transfer(now_s, transfer)
        self._prober.on_done(now_s, transfer, self._estimator.estimate(now_s))

    def abandon(self) -> None:
        """Give up the probe because data comes or the server has gone, which says nothing about the link's rate."""
        if self._flight is not None:
            self._flight = None
            self._prober.on_failed(self._now_s)

    def expire(self, now_s: float) -> None:
        """Doubt the link when a report is late, give the probe up when it does not come: unknown, not zero."""
        flight = self._flight
        if flight is None:
            return
        waited_s = now_s - flight.queued_s
        if waited_s >= flight.plan.late_s and not (flight.is_late or flight.is_overtaken):
            flight.is_late = True
            self._estimator.on_probe_failed(now_s)
        if waited_s >= flight.plan.timeout_s:
            self.failed += not flight.is_overtaken
            self._flight = None
            self._prober.on_failed(now_s)
