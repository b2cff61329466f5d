"""The last decisions with what came of them: predicted and measured time, for `splitctl history` and the metrics."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import Any

from splitd.agent.client import Source

KEPT = 512  # the last minutes of a busy agent, in about 200 KB


@dataclass(frozen=True)
class Record:
    """One batch: when it ended (Unix seconds), what was chosen, what was predicted and what happened (seconds).

    `hindsight_s` is what the best choice would have taken, modelled with all that was known after the batch.
    """

    time: float
    batch: int
    split: str
    codec: str
    source: Source
    explored: bool
    predicted_s: float | None
    predicted_p90_s: float | None
    measured_s: float
    hindsight_s: float
    rate_bytes_per_s: float | None
    wire_bytes: int
    timings: dict[str, float]
    cause: str | None

    @property
    def regret(self) -> float:
        """How much longer the batch took than the best choice would have, as a share."""
        return self.measured_s / self.hindsight_s - 1.0 if self.hindsight_s > 0.0 else 0.0


@dataclass(frozen=True)
class Regret:
    """Regret over the last `batches`."""

    median: float
    mean: float
    batches: int


class History:
    """A bounded, thread-safe list of Records."""

    def __init__(self, kept: int = KEPT) -> None:
        self._records: deque[Record] = deque(maxlen=kept)
        self._lock = threading.Lock()
        self._last_choice: tuple[str, str] | None = None
        self.batches = 0
        self.by_source: dict[str, int] = {"server": 0, "local": 0, "finished-locally": 0}
        self.switches = 0

    def add(self, record: Record) -> bool:
        """Keep one record; return whether its split or codec differs from the one before."""
        with self._lock:
            choice = (record.split, record.codec)
            switched = self._last_choice not in (None, choice)
            self._last_choice = choice
            self._records.append(record)
            self.batches += 1
            self.by_source[record.source] += 1
            self.switches += switched
            return switched

    def regret(self) -> Regret | None:
        """Return the regret over the kept records; None if there are none."""
        with self._lock:
            regrets = [record.regret for record in self._records]
        return Regret(median(regrets), mean(regrets), len(regrets)) if regrets else None

    def last(self, count: int) -> list[dict[str, Any]]:
        """Return the last `count` records, oldest first, as JSON-able mappings."""
        with self._lock:
            chosen = list(self._records)[-count:] if count > 0 else []
        return [asdict(record) for record in chosen]
