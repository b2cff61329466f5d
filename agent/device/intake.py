"""The agent's local ZeroMQ socket: one I/O thread around `IntakeCore`, and batches for the pipeline's thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

import zmq

from splitd.agent.client import Answer, claim_socket, release_socket, share_socket
from splitd.agent.configuration import IntakeConfig
from splitd.agent.device.batcher import Job
from splitd.agent.device.intake_core import BYTES_PER_MB, Delivery, IntakeCore
from splitd.errors import SplitdError
from splitd.ownership import guarded
from splitd.transport.wire import WakeUp

log = logging.getLogger(__name__)

HANDSHAKE_MS = 3_000  # a local client that connects and says nothing is dropped after this
BACKLOG = 128  # pending connections the kernel keeps; more wait in connect()
HIGH_WATER = 256  # messages queued by libzmq per client, and kept for a client that never reads; more are dropped
IDLE_POLL_MS = 500  # nothing depends on it: requests, answers and deadlines all end the poll
CLOSE_LINGER_MS = 200  # the last answers get this long to reach their clients, of which one may not be reading


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
        self._changed = threading.Condition()
        self._core = guarded(IntakeCore(config), self._changed, "intake core")
        self._context = zmq.Context()
        try:
            router = self._bind()
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._wakeup = WakeUp()
        self._stopped = False
        # The socket is the thread's alone: nobody else has it.
        self._thread = threading.Thread(target=self._run, args=(router,), name="intake", daemon=True)

    def start(self) -> None:
        """Begin to accept requests."""
        self._thread.start()

    def next_batch(self, timeout_s: float) -> list[Job] | None:
        """Wait for a batch that is ready, `timeout_s` at most; return None when there is none."""
        end_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                now_s = time.monotonic()
                batch = self._core.take_batch(now_s)
                if batch is not None or now_s >= end_s:
                    return batch
                ready_s = self._core.batch_ready_s()
                self._changed.wait(max(0.0, min(end_s, ready_s if ready_s is not None else end_s) - now_s))

    def finish(self, job: Job, outcome: Answer | SplitdError) -> None:
        """Send the answer or error of one job; thread-safe, never waits for a client."""
        with self._changed:
            self._core.finish(job, outcome)
            self._changed.notify_all()
        self._wakeup.set()

    @property
    def accepted(self) -> int:
        """Requests accepted so far."""
        with self._changed:
            return self._core.accepted

    @property
    def refused(self) -> int:
        """Requests refused so far: malformed, too large, over a limit, or while stopping."""
        with self._changed:
            return self._core.refused

    @property
    def expired(self) -> int:
        """Requests that were answered by their deadline so far."""
        with self._changed:
            return self._core.expired

    def open_requests(self) -> int:
        """Return how many accepted requests have no answer yet."""
        with self._changed:
            return self._core.open_requests

    def queued(self) -> int:
        """Return how many requests wait to be put into a batch."""
        with self._changed:
            return self._core.queued

    def drain(self, timeout_s: float) -> bool:
        """Refuse new requests, and wait until every open one is answered; return whether all were in time."""
        with self._changed:
            self._core.drain()
            return self._changed.wait_for(lambda: self._core.open_requests == 0, timeout_s)

    def close(self) -> None:
        """Answer what is still open with an error, then close and remove the socket."""
        self._stopped = True
        self._wakeup.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._context.destroy(linger=CLOSE_LINGER_MS)
        self._wakeup.close()
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

    # The I/O thread

    def _run(self, router: zmq.Socket[bytes]) -> None:
        try:
            self._serve(router)
        finally:
            router.close(linger=CLOSE_LINGER_MS)

    def _serve(self, router: zmq.Socket[bytes]) -> None:
        poller = zmq.Poller()
        poller.register(router, zmq.POLLIN)
        poller.register(self._wakeup, zmq.POLLIN)
        while not self._stopped:
            ready = dict(poller.poll(self._poll_ms()))
            self._wakeup.clear()
            _send(router, self._turn(router.recv_multipart() if router in ready else None))
        with self._changed:
            self._core.close()
            last = self._core.take_deliveries()
        _send(router, last)

    def _turn(self, message: list[bytes] | None) -> list[Delivery]:
        """Take in a message, if one came, and return what is to be delivered now."""
        now_s = time.monotonic()
        with self._changed:
            if message is not None:
                self._core.on_request(now_s, message[0], message[1:])
            self._core.expire(now_s)
            self._changed.notify_all()
            return self._core.take_deliveries()

    def _poll_ms(self) -> int:
        with self._changed:
            expiry_s = self._core.next_expiry_s()
        if expiry_s is None:
            return IDLE_POLL_MS
        return max(0, min(IDLE_POLL_MS, int((expiry_s - time.monotonic()) * 1000) + 1))


def _send(router: zmq.Socket[bytes], deliveries: Sequence[Delivery]) -> None:
    for delivery in deliveries:
        try:
            router.send_multipart(delivery.frames(), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            log.debug("a client is gone before its answer: %s", error)
