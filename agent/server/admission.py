"""Which complete requests may wait for the processor.

Runs in the thread that takes arrival times: only headers are looked at, no payload is copied, joined or decoded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from splitd.agent.server.ledger import Ledger
from splitd.agent.server.queue import WorkQueue
from splitd.agent.server.tail_times import TailTimes
from splitd.errors import OverloadError, SplitdError, WireError
from splitd.native import crossing
from splitd.transport.server import IncomingRequest


@dataclass(frozen=True)
class Admitted:
    """A request that may wait; `batch` is its number of samples, counted once for all who need it."""

    request: IncomingRequest
    batch: int


def admit(request: IncomingRequest, last: int, max_batch: int) -> Admitted:
    """Check what the headers of a request say; `last` is the index of no offloading, the first cut that is none.

    Raises:
        WireError: There is no such cut.
        CodecError: A stream of images is cut short.
        OverloadError: It holds no sample, or more than `max_batch`.
    """
    if not 0 <= request.cut < last:
        raise WireError(f"there is no cut {request.cut}")
    batch = crossing.batch_of(request.tensors, request.chunks, max_batch)
    if not 0 < batch <= max_batch:
        raise OverloadError(f"a batch of {batch}; this server takes 1 to {max_batch}")
    return Admitted(request, batch)


class Admission:
    """Puts requests into the queue with the time that they will probably take, or refuses them."""

    def __init__(
        self,
        queue: WorkQueue[Admitted],
        times: TailTimes,
        ledger: Ledger,
        *,
        max_batch: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue = queue
        self.times = times
        self._ledger = ledger
        self._last = len(times.profile.cut_names) - 1
        self._max_batch = max_batch
        self._clock = clock

    def take(self, request: IncomingRequest) -> None:
        """Queue a request or answer it with the error that refuses it; never blocks."""
        try:
            admitted = admit(request, self._last, self._max_batch)
            self.queue.put(admitted, self.times.expected_s(self._clock(), request.cut, admitted.batch))
        except SplitdError as error:
            self._ledger.fail(request, error)
