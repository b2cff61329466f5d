"""Pings and probes on the simulated clock, as the session sends them, for whoever learns from them."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

from splitd.agent.decide import ReportedQueue
from splitd.agent.simulation.world import World
from splitd.transport.device import Pinger
from splitd.transport.estimate import LinkEstimator, Prober, Transfer
from splitd.transport.wire import SessionLimits

TICK_S = 0.1


class Heartbeat:
    """Keeps an estimator informed between batches; `on_probe` also hears of every probe that came back."""

    def __init__(self, world: World, estimator: LinkEstimator, on_probe: Callable[[Transfer], None]) -> None:
        self._world = world
        self._estimator = estimator
        self._on_probe = on_probe
        self._prober = Prober()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._now_s = 0.0
        self._pinger = Pinger(SessionLimits())
        self._probe_id = 0
        self.probe_bytes = 0
        self._queue: tuple[float, float] | None = None

    def queue(self, now_s: float) -> ReportedQueue | None:
        """Return what the last pong said of the server's queue."""
        return None if self._queue is None else ReportedQueue(self._queue[0], now_s - self._queue[1])

    def advance(self, until_s: float, *, busy: bool = False) -> None:
        """Let the time pass; `busy`: a batch is on the link, so nothing is probed."""
        while self._now_s < until_s:
            self._now_s = min(until_s, self._now_s + TICK_S)
            self._deliver()
            quiet = not busy and self._world.up.free_s <= self._now_s
            if self._pinger.is_due(self._now_s, quiet=quiet):
                self._ping(quiet=quiet)
            if quiet and not self._pinger.is_timing(self._now_s):
                self._probe()
        self._deliver()

    def on_data(self) -> None:
        """Note that a batch has crossed."""
        self._pinger.on_bulk()
        self._prober.on_data(self._now_s)

    def _at(self, time_s: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time_s, next(self._order), event))

    def _deliver(self) -> None:
        while self._events and self._events[0][0] <= self._now_s:
            time_s, _, event = heapq.heappop(self._events)
            event(time_s)

    def _ping(self, *, quiet: bool) -> None:
        sequence = self._pinger.ping(self._now_s, quiet=quiet)
        rtt_s = self._world.ping_s(self._now_s)
        queue_s = self._world.load.at(self._now_s + rtt_s / 2.0)[1]
        self._at(self._now_s + rtt_s, lambda t: self._ponged(t, sequence, queue_s))

    def _ponged(self, now_s: float, sequence: int, queue_s: float) -> None:
        self._queue = queue_s, now_s
        self._estimator.on_ping(now_s, self._pinger.pong(now_s, sequence))

    def _probe(self) -> None:
        quiet_s = self._now_s - max(self._world.up.free_s, 0.0)
        plan = self._prober.due(self._now_s, self._estimator.estimate(self._now_s), quiet_s) if quiet_s > 0.0 else None
        if plan is None:
            return
        self._pinger.on_bulk()
        train = self._world.cross(self._now_s, plan.n_bytes, plan.messages)
        self.probe_bytes += plan.n_bytes
        self._probe_id += 1
        probe_id, transfer = self._probe_id, self._world.seen(train, "probe")
        self._at(transfer.ended_s, lambda t: self._came_back(t, probe_id, transfer))
        self._at(self._now_s + plan.late_s, lambda t: self._is_late(t, probe_id))
        self._at(self._now_s + plan.timeout_s, lambda _: self._timed_out(probe_id))

    def _came_back(self, now_s: float, probe_id: int, transfer: Transfer) -> None:
        if probe_id != self._probe_id:
            return  # the report of a probe that was given up
        self._probe_id += 1
        self._estimator.on_transfer(now_s, transfer)
        self._prober.on_done(now_s, transfer, self._estimator.estimate(now_s))
        self._on_probe(transfer)

    def _is_late(self, now_s: float, probe_id: int) -> None:
        if probe_id == self._probe_id:
            self._estimator.on_probe_failed(now_s)

    def _timed_out(self, probe_id: int) -> None:
        if probe_id == self._probe_id:
            self._probe_id += 1
            self._prober.on_failed(self._now_s)
