"""Heartbeats of a session: when to ping, which pong is a clean round trip, how long silence may last. Sans-IO."""

from __future__ import annotations

import math
from dataclasses import dataclass

from splitd.transport.wire import SessionLimits

# Pings under way; older ones count as lost, which the silence limits noticed after the fifth. Bounds the memory that a
# server costs which answers everything but pings.
_MAX_OPEN_PINGS = 16


@dataclass(frozen=True, slots=True)
class _Sent:
    at_s: float
    bulk_count: int
    quiet: bool


class Pinger:
    """Counts pings and pongs.

    A round trip is clean if nothing else was under way when the ping left (`quiet`) and no chunk or probe crossed the
    link meanwhile. Where the regular pings fall into transfers, one more is due in the first quiet moment.
    """

    def __init__(self, limits: SessionLimits) -> None:
        self._limits = limits
        self._sequence = 0
        self._open: dict[int, _Sent] = {}
        self._bulk_count = 0
        self._clean_s = -math.inf
        self.next_s = 0.0
        self.heard_s = 0.0

    def restart(self, now_s: float) -> None:
        """Begin anew after a handshake; the first ping is due at once."""
        self._open.clear()
        self._clean_s = -math.inf
        self.next_s = self.heard_s = now_s

    def on_bulk(self) -> None:
        """Note that a chunk or a probe was sent or has come."""
        self._bulk_count += 1

    def is_due(self, now_s: float, *, quiet: bool) -> bool:
        """Return whether to ping now. `quiet`: nothing of ours is under way."""
        # The pings of a busy session fall into transfers, and a round trip behind 150 KB at 1 MB/s is 150 ms too long.
        unclean_for_s = now_s - self._clean_s
        return now_s >= self.next_s or (
            quiet and unclean_for_s >= self._limits.ping_interval_s and not self.is_timing(now_s)
        )

    def is_timing(self, now_s: float) -> bool:
        """Return whether a ping under way may still give a clean round trip, so that probes should wait."""
        since_s = now_s - self._limits.ping_interval_s
        return any(
            sent.quiet and sent.bulk_count == self._bulk_count and sent.at_s > since_s for sent in self._open.values()
        )

    def ping(self, now_s: float, *, quiet: bool) -> int:
        """Return the sequence number of a ping that is sent now."""
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF  # the field has 32 bits: 136 years of one a second
        self._open[self._sequence] = _Sent(now_s, self._bulk_count, quiet)
        while len(self._open) > _MAX_OPEN_PINGS:
            del self._open[next(iter(self._open))]
        self.next_s = now_s + self._limits.ping_interval_s
        return self._sequence

    def pong(self, now_s: float, sequence: int) -> float | None:
        """Return the round trip in seconds; None if the pong is unknown or other bytes were on the link."""
        sent = self._open.pop(sequence, None)
        if sent is None or not sent.quiet or sent.bulk_count != self._bulk_count:
            return None
        self._clean_s = now_s
        return now_s - sent.at_s

    def silence_s(self, now_s: float, in_flight_bytes: int) -> float:
        """Return for how long the server has been silent beyond what data in flight explains.

        Pings queue behind data, and the next acknowledgement may need `ack_every_bytes` at the slowest rate.
        """
        waiting_bytes = min(in_flight_bytes, self._limits.ack_every_bytes)
        return now_s - self.heard_s - waiting_bytes / self._limits.min_rate_bytes_per_s
