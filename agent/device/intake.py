"""The agent's local ZeroMQ socket: requests in, batches out to the pipeline, exactly one answer per request back."""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import Any

import zmq

from splitd.agent.client import (
    Answer,
    claim_socket,
    decode_request,
    encode_answer,
    encode_error,
    release_socket,
    request_id_of,
    share_socket,
)
from splitd.agent.configuration import IntakeConfig
from splitd.agent.device.batcher import Batcher, Job
from splitd.errors import DeadlineError, InputError, LinkError, SplitdError

log = logging.getLogger(__name__)

BYTES_PER_MB = 1_000_000
HANDSHAKE_MS = 3_000  # a local client that connects and says nothing is dropped after this
BACKLOG = 128  # pending connections the kernel keeps; more wait in connect()
HIGH_WATER = 256  # messages queued by libzmq per client, and kept for a client that never reads; more are dropped
IDLE_POLL_MS = 500


class Intake:
    """Owns the socket in one thread. `next_batch` and `finish` are called by the pipeline's thread.

    Every accepted request is answered once: by `finish`, or, when its deadline passes first, with a DeadlineError;
    what `finish` brings after that is dropped.
    """

    def __init__(self, config: IntakeConfig) -> None:
        """Bind the socket.

        Raises:
            ConfigError: The socket's path cannot be used.
        """
        self._config = config
        self._batcher = Batcher(config.max_batch, config.max_wait_ms / 1000, config.max_queue)
        self._changed = threading.Condition()
        self._open: dict[tuple[bytes, int], Job] = {}
        self._replies: queue.SimpleQueue[tuple[Job, Answer | SplitdError]] = queue.SimpleQueue()
        self._context = zmq.Context()
        try:
            self._socket, self._wake_in, self._wake_out = self._bind()
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._draining = False
        self._stopped = False
        self._thread = threading.Thread(target=self._loop, name="intake", daemon=True)
        self.accepted = 0
        self.refused = 0
        self.expired = 0

    def start(self) -> None:
        """Begin to accept requests."""
        self._thread.start()

    def next_batch(self, timeout_s: float) -> list[Job] | None:
        """Wait for a batch that is ready, `timeout_s` at most; return None when there is none."""
        end_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                now_s = time.monotonic()
                batch = self._batcher.take(now_s)
                if batch is not None or now_s >= end_s:
                    return batch
                ready_s = self._batcher.ready_at_s()
                self._changed.wait(max(0.0, min(end_s, ready_s if ready_s is not None else end_s) - now_s))

    def finish(self, job: Job, outcome: Answer | SplitdError) -> None:
        """Send the answer or error of one job; thread-safe, never blocks."""
        self._replies.put((job, outcome))
        self._wake()

    def open_requests(self) -> int:
        """Return how many accepted requests have no answer yet."""
        return len(self._open)

    def queued(self) -> int:
        """Return how many requests wait to be put into a batch."""
        return len(self._batcher)

    def drain(self, timeout_s: float) -> bool:
        """Refuse new requests, and wait until every open one is answered; return whether all were in time."""
        self._draining = True
        end_s = time.monotonic() + timeout_s
        with self._changed:
            while self._open and (left_s := end_s - time.monotonic()) > 0:
                self._changed.wait(min(left_s, 0.1))
            return not self._open

    def close(self) -> None:
        """Answer what is still open with an error, then close and remove the socket."""
        self._stopped = True
        self._wake()
        if self._thread.ident is not None:
            self._thread.join()
        self._context.destroy(linger=200)
        release_socket(self._config.socket)

    def _bind(self) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes], zmq.Socket[bytes]]:
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
        wake_in: zmq.Socket[bytes] = self._context.socket(zmq.PUSH)
        wake_out: zmq.Socket[bytes] = self._context.socket(zmq.PULL)
        wake_out.bind("inproc://wake")
        wake_in.connect("inproc://wake")
        return router, wake_in, wake_out

    def _wake(self) -> None:
        with self._changed:  # a ZeroMQ socket has one user at a time
            self._wake_in.send(b"", zmq.NOBLOCK)

    def _loop(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake_out, zmq.POLLIN)
        while not self._stopped:
            ready = dict(poller.poll(self._poll_ms()))
            if self._wake_out in ready:
                self._send_replies()
            if self._socket in ready:
                self._receive(self._socket.recv_multipart())
            self._expire(time.monotonic())
        self._send_replies()
        for job in list(self._open.values()):
            self._answer(job, LinkError("the agent is stopping; ask again when it has restarted"))

    def _poll_ms(self) -> int:
        if not self._open:
            return IDLE_POLL_MS
        first_s = min(job.deadline_s for job in self._open.values())
        return max(0, min(IDLE_POLL_MS, int((first_s - time.monotonic()) * 1000) + 1))

    def _receive(self, frames: list[bytes]) -> None:
        caller, body = frames[0], frames[1:]
        try:
            self._accept(caller, body)
        except SplitdError as error:
            self.refused += 1
            self._send(caller, encode_error(request_id_of(body), error))

    def _accept(self, caller: bytes, body: list[bytes]) -> None:
        limit_bytes = self._config.max_request_mb * BYTES_PER_MB
        if sum(map(len, body)) > limit_bytes:
            raise InputError(f"a request has at most {limit_bytes:.0f} bytes (intake.max_request_mb)")
        request = decode_request(body)
        if self._draining:
            raise LinkError("the agent is stopping; ask again when it has restarted")
        now_s = time.monotonic()
        job = Job(caller, request, now_s, now_s + (request.deadline_ms or self._config.deadline_ms) / 1000)
        if job.key in self._open:
            raise InputError(f"request {request.request_id} is open already; give each request its own id")
        with self._changed:
            self._batcher.add(job)
            self._open[job.key] = job
            self._changed.notify_all()
        self.accepted += 1

    def _send_replies(self) -> None:
        while self._wake_out.poll(0):
            self._wake_out.recv()
        while True:
            try:
                job, outcome = self._replies.get_nowait()
            except queue.Empty:
                return
            self._answer(job, outcome)

    def _expire(self, now_s: float) -> None:
        for job in [job for job in self._open.values() if job.deadline_s <= now_s]:
            self.expired += 1
            waited_ms = (now_s - job.received_s) * 1000
            self._answer(job, DeadlineError(f"no answer within {waited_ms:.0f} ms; raise the deadline or send less"))

    def _answer(self, job: Job, outcome: Answer | SplitdError) -> None:
        with self._changed:
            if self._open.get(job.key) is not job:
                return  # answered already, at its deadline
            del self._open[job.key]
            self._batcher.discard(job.key)
            self._changed.notify_all()
        if isinstance(outcome, Answer):
            self._send(job.caller, encode_answer(outcome))
        else:
            self._send(job.caller, encode_error(job.request.request_id, outcome))

    def _send(self, caller: bytes, frames: list[Any]) -> None:
        try:
            self._socket.send_multipart([caller, *frames], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            log.debug("a client is gone before its answer: %s", error)
