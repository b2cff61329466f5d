"""How requests ended, counted once for the status and the metrics."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from splitd.agent.runtime import ServerMetrics
from splitd.errors import SplitdError
from splitd.transport.server import IncomingRequest
from splitd.transport.wire import ServerTimings

log = logging.getLogger(__name__)


class Ledger:
    """Thread-safe: requests end in the endpoint's thread, where they are refused, and in the worker's."""

    def __init__(self, names: Sequence[str], metrics: ServerMetrics) -> None:
        self._names = tuple(names)
        self._metrics = metrics
        self._lock = threading.Lock()
        self._answered = 0
        self._failed = 0

    def answered(self, cut: int, timings: ServerTimings) -> None:
        """Count a request that was answered with a result."""
        with self._lock:
            self._answered += 1
        self._metrics.on_answer(self._name(cut), queue_s=timings.queue_s, compute_s=timings.compute_s)

    def fail(self, request: IncomingRequest, error: SplitdError) -> None:
        """Answer a request with a typed error, and count it."""
        log.warning("a request fails: %s: %s", error.code, error)
        with self._lock:
            self._failed += 1
        self._metrics.on_failure(self._name(request.cut), error.code)
        request.fail(error.code, str(error))

    def totals(self) -> tuple[int, int]:
        """Return how many requests were answered with a result, and with an error."""
        with self._lock:
            return self._answered, self._failed

    def _name(self, cut: int) -> str:
        # A device may claim any of 65536 cuts, and a metric keeps a time series for each label that it has ever had.
        return self._names[cut] if 0 <= cut < len(self._names) else "unknown"
