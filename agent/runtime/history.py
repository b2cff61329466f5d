"""The last decisions with what came of them: predicted and measured time, for `splitctl history` and the metrics."""

from __future__ import annotations

import threading
from collections import deque
from statistics import mean, median

from splitd.agent.client import Record, Regret

KEPT = 512  # the last minutes of a busy agent, in about 200 KB


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
        if not regrets:
            return None
        return Regret(median=median(regrets), mean=mean(regrets), batches=len(regrets))

    def last(self, count: int) -> tuple[Record, ...]:
        """Return the last `count` records, oldest first."""
        with self._lock:
            return tuple(self._records)[-count:] if count > 0 else ()
