"""The server's worker: takes requests from the queue, decodes them, runs their tails, answers. One thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy.typing as npt

from splitd.agent.backends import ServerBackend
from splitd.agent.server.admission import Admitted
from splitd.agent.server.ledger import Ledger
from splitd.agent.server.queue import Queued, WorkQueue
from splitd.agent.server.tail_times import TailTimes
from splitd.calibration.chain import Engine
from splitd.calibration.images import prepare_image
from splitd.errors import DeadlineError, LinkError, SplitdError
from splitd.native import crossing
from splitd.transport.wire import ServerTimings

log = logging.getLogger(__name__)

POLL_S = 0.2
JOIN_S = 10.0  # a tail that is under way when the server stops gets this long
HANG_S = 60.0  # no tail takes this long; a worker that does is stuck

Array = npt.NDArray[Any]


class Worker:
    """Finishes one request after the other; each ends in exactly one answer, whatever happens to it."""

    def __init__(
        self,
        engine: Engine,
        backend: ServerBackend,
        queue: WorkQueue[Admitted],
        times: TailTimes,
        ledger: Ledger,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._backend = backend
        self._queue = queue
        self._times = times
        self._ledger = ledger
        self._clock = clock
        self._stopping = threading.Event()
        self._errands: deque[Callable[[], None]] = deque()
        self._thread = threading.Thread(target=self._loop, name="worker", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the present request, then end; one that never ends is left behind."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)

    def between_requests(self, errand: Callable[[], None]) -> None:
        """Have the worker's thread run something, which must not fail, before its next request."""
        self._errands.append(errand)

    def alive(self) -> bool:
        """Tell whether work gets on."""
        return self._thread.is_alive() and self._queue.running_s() < HANG_S

    def work(self, queued: Queued[Admitted]) -> None:
        """Answer one request: with its result, or with the typed error that says why there is none."""
        request = queued.item.request
        try:
            self._answer(queued)
        except SplitdError as error:
            self._ledger.fail(request, error)
        except Exception as error:
            log.exception("request failed")
            self._ledger.fail(request, SplitdError(f"internal error: {error}"))

    def _loop(self) -> None:
        while not self._stopping.is_set():
            queued = self._queue.get(POLL_S)
            while self._errands:
                self._errands.popleft()()
            if queued is None:
                continue
            try:
                self.work(queued)
            finally:
                self._queue.done()

    def _answer(self, queued: Queued[Admitted]) -> None:
        request, batch = queued.item.request, queued.item.batch
        begun_s = self._clock()
        queue_s = begun_s - queued.queued_s
        if request.is_cancelled:
            raise LinkError("the device no longer waits for this")
        if request.deadline_s is not None and begun_s >= request.deadline_s:
            raise DeadlineError(f"the deadline passed while the request waited {queue_s * 1000:.0f} ms")
        tail = self._backend.load(request.cut, arrays_of(queued.item, self._engine))
        decoded_s = self._clock()
        outputs = tail()
        done_s = self._clock()
        timings = ServerTimings(queue_s, decoded_s - begun_s, done_s - decoded_s, self._queue.load())
        request.reply(outputs, timings)
        self._ledger.answered(request.cut, timings)
        self._times.observe(done_s, done_s - decoded_s, request.cut, batch)


def arrays_of(admitted: Admitted, engine: Engine) -> Sequence[Array]:
    """Return what crossed: at cut 0 one batch of images or prepared tensors, at the others the cut's live tensors.

    Raises:
        CodecError: A payload is not what its header says.
        InputError: One of the application's files is no usable image.
        WireError: Another number of tensors, shape or dtype than the cut has.
    """
    request, batch = admitted.request, admitted.batch
    if request.cut == 0:
        prepare = partial(prepare_image, preprocessing=engine.preprocessing)
        return (crossing.decode_input(request.tensors, request.chunks, batch, engine.sample_shape, prepare),)
    arrays = crossing.decode(request.tensors, request.chunks)
    crossing.check_shapes(arrays, engine.description.batch_shapes(request.cut, batch))
    return arrays
