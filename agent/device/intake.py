"""The agent's local ZeroMQ socket: `IntakeCore` behind it, looked after by whichever thread has nothing else to do.

While the pipeline waits for a batch it takes requests from the socket itself, and it sends its answers itself: a
request to an idle agent passes through one thread. While the pipeline works, the thread `intake` looks after the
socket, so that requests are still accepted or refused, and answered when their deadline passes.
"""

from __future__ import annotations

import logging
import math
import select
import threading
import time

import zmq

from splitd.agent.client import Answer, claim_socket, release_socket, share_socket
from splitd.agent.configuration import IntakeConfig
from splitd.agent.device.batcher import Job
from splitd.agent.device.intake_core import BYTES_PER_MB, IntakeCore
from splitd.errors import SplitdError
from splitd.ownership import guarded
from splitd.transport.wire import WakeUp

log = logging.getLogger(__name__)

HANDSHAKE_MS = 3_000  # a local client that connects and says nothing is dropped after this
BACKLOG = 128  # pending connections the kernel keeps; more wait in connect()
HIGH_WATER = 256  # messages queued by libzmq per client, and kept for a client that never reads; more are dropped
IDLE_POLL_S = 0.5  # nothing depends on it: requests, deadlines and the end all end the poll
CLOSE_LINGER_MS = 200  # the last answers get this long to reach their clients, of which one may not be reading
MAX_MESSAGES = 256  # taken in before the lock is given up once: a client that floods must not keep answers back
# While batches come, the thread `intake` looks this often whether the pipeline is at work; being told with every batch
# would be two wake-ups of a thread per request. Until then only a network slower than this lets requests lie unseen.
TICK_S = 0.01
QUIET_S = 1.0  # after as long without a batch it no longer looks, and the next batch does wake it


class Intake:
    """Accepts requests at the configured socket; `next_batch` and `finish` are called by the pipeline's thread.

    Every accepted request is answered once: by `finish`, or, when its deadline passes first, with a DeadlineError;
    what `finish` brings after that is dropped.
    """

    def __init__(self, config: IntakeConfig) -> None:
        """Bind the socket.

        Raises:
            ConfigError: The socket's path cannot be used.
        """
        self._config = config
        self._lock = threading.RLock()
        self._answered = threading.Condition(self._lock)
        self._called = threading.Condition(self._lock)
        self._core = guarded(IntakeCore(config), self._lock, "intake core")
        self._context = zmq.Context()
        try:
            router = self._bind()
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._router = guarded(router, self._lock, "intake socket")
        self._wakeup = WakeUp()  # of the thread `intake`
        self._attention = WakeUp()  # of the pipeline
        with self._lock:
            self._poller, self._watch_poller = self._new_poller(self._attention), self._new_poller(self._wakeup)
        self._attended = False  # the pipeline waits in `next_batch`, and looks after the socket meanwhile
        self._dozing = False  # the thread `intake` looks no more by itself
        self._last_batch_s = -math.inf
        self._batches = 0
        self._long_batch = 0  # number of the batch during which the thread `intake` looks after the socket
        self._stopped = False
        self._thread = threading.Thread(target=self._watch, name="intake", daemon=True)

    def start(self) -> None:
        """Begin to accept requests while nobody waits for a batch, too."""
        self._thread.start()

    def next_batch(self, timeout_s: float) -> list[Job] | None:
        """Wait for a batch that is ready, `timeout_s` at most; return None when there is none."""
        end_s = time.monotonic() + timeout_s
        while True:
            with self._lock:
                now_s = time.monotonic()
                self._turn(now_s)
                batch = self._core.take_batch(now_s)
                if batch is not None or now_s >= end_s or self._stopped:
                    self._leave(now_s, batch)
                    return batch
                self._attended = True
                wake_s = min(end_s, self._due_s(), _or_never(self._core.batch_ready_s()))
            self._wait(self._poller, self._attention, wake_s - now_s)

    def finish(self, job: Job, outcome: Answer | SplitdError) -> None:
        """Send the answer or error of one job; thread-safe, never waits for a client."""
        with self._lock:
            self._core.finish(job, outcome)
            self._turn(time.monotonic())
            self._answered.notify_all()

    @property
    def accepted(self) -> int:
        """Requests accepted so far."""
        with self._lock:
            return self._core.accepted

    @property
    def refused(self) -> int:
        """Requests refused so far: malformed, too large, over a limit, or while stopping."""
        with self._lock:
            return self._core.refused

    @property
    def expired(self) -> int:
        """Requests that were answered by their deadline so far."""
        with self._lock:
            return self._core.expired

    def open_requests(self) -> int:
        """Return how many accepted requests have no answer yet."""
        with self._lock:
            return self._core.open_requests

    def queued(self) -> int:
        """Return how many requests wait to be put into a batch."""
        with self._lock:
            return self._core.queued

    def drain(self, timeout_s: float) -> bool:
        """Refuse new requests, and wait until every open one is answered; return whether all were in time."""
        with self._answered:
            self._core.drain()
            return self._answered.wait_for(lambda: self._core.open_requests == 0, timeout_s)

    def close(self) -> None:
        """Answer what is still open with an error, then close and remove the socket; nobody asks for a batch now."""
        with self._lock:
            self._stopped = True
            self._called.notify_all()
        self._wakeup.set()
        if self._thread.ident is not None:
            self._thread.join()
        with self._lock:
            self._core.close()
            self._deliver()
            self._router.close(linger=CLOSE_LINGER_MS)
        self._context.destroy(linger=CLOSE_LINGER_MS)
        self._wakeup.close()
        self._attention.close()
        release_socket(self._config.socket)

    def _bind(self) -> zmq.Socket[bytes]:
        path = self._config.socket
        claim_socket(path)
        router: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        router.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        router.setsockopt(zmq.MAXMSGSIZE, int(self._config.max_request_mb * BYTES_PER_MB))
        router.setsockopt(zmq.BACKLOG, BACKLOG)
        router.setsockopt(zmq.SNDHWM, HIGH_WATER)
        router.setsockopt(zmq.RCVHWM, HIGH_WATER)
        router.bind(f"ipc://{path}")
        share_socket(path, self._config.group)
        return router

    def _new_poller(self, wakeup: WakeUp) -> select.poll:
        # libzmq's descriptor becomes readable when something may have come, once: whoever has the lock therefore leaves
        # the socket only when it has nothing more to give (`_turn`). Waiting on the descriptor needs no lock.
        poller = select.poll()
        poller.register(int(self._router.getsockopt(zmq.FD)), select.POLLIN)
        poller.register(wakeup, select.POLLIN)
        return poller

    def _wait(self, poller: select.poll, wakeup: WakeUp, seconds: float) -> None:
        """Wait until something may have come; a thread with a poller of its own, without the lock."""
        # Rounded up: a poll that came back too early would only be asked again.
        ready = poller.poll(max(0, math.ceil(seconds * 1000)))
        if any(descriptor == wakeup.fileno() for descriptor, _ in ready):
            wakeup.clear()

    def _leave(self, now_s: float, batch: list[Job] | None) -> None:
        """The pipeline goes; the other thread is called if it would look too late."""
        self._attended = False
        if batch is not None:
            self._last_batch_s = now_s
            self._batches += 1
            if self._dozing or self._due_s() < now_s + TICK_S:
                self._long_batch = self._batches
                self._called.notify_all()

    # The socket; with the lock

    def _turn(self, now_s: float) -> None:
        """Take in what has come and send what is due, until the socket has nothing more to give."""
        self._core.expire(now_s)
        self._deliver()
        for _ in range(MAX_MESSAGES):
            if self._router.closed or not int(self._router.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                return
            caller, *frames = self._router.recv_multipart()
            self._core.on_request(now_s, caller, frames)
            self._deliver()
        # There may be more, and the descriptor does not say so a second time.
        self._attention.set()
        self._wakeup.set()

    def _deliver(self) -> None:
        for delivery in self._core.take_deliveries():
            try:
                self._router.send_multipart(delivery.frames(), zmq.NOBLOCK)
            except zmq.ZMQError as error:
                log.debug("a client is gone before its answer: %s", error)

    def _due_s(self) -> float:
        return _or_never(self._core.next_expiry_s())

    # The thread `intake`

    def _watch(self) -> None:
        while (pause_s := self._rest()) is not None:
            self._wait(self._watch_poller, self._wakeup, pause_s)
            with self._lock:
                self._turn(time.monotonic())
                # Both threads may wait on the socket after a long batch. The one that reads it first leaves it
                # unreadable, so the kernel lets the other sleep on: until its time-out, if nobody called it.
                if self._attended:
                    self._attention.set()

    def _rest(self) -> float | None:
        """Wait until the socket needs this thread; return how long to wait for a message, None at the end."""
        with self._called:
            while not self._stopped and (self._attended or self._batches != self._long_batch):
                self._long_batch = self._batches  # if it is the same at the next look, it is a long one
                self._dozing = self._attended and time.monotonic() - self._last_batch_s > QUIET_S
                # Work between batches comes without a call: a calibration, for one.
                self._called.wait(IDLE_POLL_S if self._dozing else TICK_S)
                self._dozing = False
            return None if self._stopped else min(IDLE_POLL_S, self._due_s() - time.monotonic())


def _or_never(moment_s: float | None) -> float:
    return math.inf if moment_s is None else moment_s
