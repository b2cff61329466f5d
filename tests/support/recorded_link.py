"""What a link estimator was told on a real link, saved as gzipped JSON, and told again to another one.

One event a row: [kind, time_s, …] with the arguments of the estimator's method of that name; `ask` is a transfer that
is about to start, for which the estimate of that moment is compared with what the transfer then took.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitd.transport.estimate.link import LinkEstimator
from splitd.transport.estimate.observations import Arrival, Transfer

_DIGITS = 6  # microseconds


class Recorder(LinkEstimator):
    """An estimator that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self._events: list[list[Any]] = []

    def on_ping(self, now_s: float, rtt_s: float | None) -> None:
        """See the base class, as for the methods below."""
        self._events.append(["ping", now_s, rtt_s])
        super().on_ping(now_s, rtt_s)

    def on_transfer(self, now_s: float, transfer: Transfer) -> None:
        times, sizes = zip(*((arrival.t_s, arrival.n_bytes) for arrival in transfer.arrivals), strict=True)
        moments = (transfer.started_s, transfer.ended_s, transfer.idle_before_s)
        self._events.append(
            ["transfer", now_s, transfer.direction, transfer.kind, *moments, transfer.n_bytes, times, sizes]
        )
        super().on_transfer(now_s, transfer)

    def on_probe_failed(self, now_s: float) -> None:
        self._events.append(["failed", now_s])
        super().on_probe_failed(now_s)

    def on_up(self, now_s: float) -> None:
        self._events.append(["up", now_s])
        super().on_up(now_s)

    def on_down(self, now_s: float) -> None:
        self._events.append(["down", now_s])
        super().on_down(now_s)

    def asked(self, now_s: float, n_bytes: int, idle_s: float) -> None:
        """Note that a transfer of `n_bytes` begins now."""
        self._events.append(["ask", now_s, n_bytes, idle_s])

    def save(self, path: Path) -> None:
        """Write everything so far; the same events give the same file."""
        rounded = json.loads(json.dumps(self._events), parse_float=lambda text: round(float(text), _DIGITS))
        path.write_bytes(gzip.compress(json.dumps(rounded).encode(), mtime=0))


@dataclass(frozen=True)
class Predicted:
    """One transfer of a recording: seconds predicted (None: unknown) and measured, and the rate believed after it."""

    n_bytes: int
    predicted_s: float | None
    measured_s: float
    rate_after: float | None

    @property
    def error(self) -> float:
        """How far the prediction was off, as a share of the measured time; 1 where there was none."""
        return 1.0 if self.predicted_s is None else abs(self.predicted_s - self.measured_s) / self.measured_s


def replay(path: Path, estimator: LinkEstimator) -> Iterator[Predicted]:
    """Tell a saved recording to an estimator; yield what it predicted of each transfer that was asked for."""
    asked: tuple[int, float | None] | None = None
    for kind, now_s, *rest in json.loads(gzip.decompress(path.read_bytes())):
        if kind == "ask":
            n_bytes, idle_s = rest
            estimate = estimator.estimate(now_s)
            transfer = estimate.transfer_s(n_bytes, "up", idle_s)
            known = transfer is not None and estimate.rtt_s is not None
            asked = (n_bytes, transfer.p50 + estimate.rtt_s.p50 if known else None)
        elif kind == "transfer":
            transfer = _transfer(rest)
            estimator.on_transfer(now_s, transfer)
            if asked is not None and (transfer.direction, transfer.kind) == ("up", "data"):
                rate = estimator.estimate(now_s).up
                yield Predicted(*asked, transfer.elapsed_s, rate.p50 if rate else None)
                asked = None
        else:
            tell = {"ping": "on_ping", "failed": "on_probe_failed", "up": "on_up", "down": "on_down"}[kind]
            getattr(estimator, tell)(now_s, *rest)


def _transfer(fields: list[Any]) -> Transfer:
    *head, times, sizes = fields
    return Transfer(*head, tuple(Arrival(t_s, size) for t_s, size in zip(times, sizes, strict=True)))
