"""The client library: hand images to the local agent, get the network's outputs. Needs numpy and pyzmq, not torch."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import zmq

from splitd.agent.client.protocol import Answer, Item, Request, Source, decode_reply, encode_request, kind_of
from splitd.agent.client.sockets import check_reachable
from splitd.errors import DeadlineError, InputError

DEFAULT_SOCKET = Path("/run/splitd/infer.sock")
LIVENESS_CHECK_S = 0.5  # how long a wait goes on before we look whether the daemon is still there
GRACE_S = 2.0  # the daemon answers by the deadline; its answer may take this much longer to reach us
DEFAULT_TIMEOUT_S = 30.0
_ONE_IMAGE = (2, 3)  # dimensions of one grey or coloured image
_ONE_INPUT = (1, 3)  # of one sequence, or of one prepared image


@dataclass(frozen=True)
class Result:
    """What the network said about one call's inputs.

    Attributes:
        outputs: One array per model output, batch first.
        split: Name of the cut the batch was split at; `input` is full offloading, `output` is all on this device.
        codec: What the crossing tensor was encoded with, `-` when nothing crossed.
        timings: Seconds by stage; `total` is from the request's arrival at the daemon to its answer.
        source: `server`, `local` (decided so), or `finished-locally` (the server or link failed after the head ran).
    """

    outputs: tuple[npt.NDArray[Any], ...]
    split: str
    codec: str
    timings: dict[str, float]
    source: Source


class Client:
    """A connection to the local agent; thread-safe, one call at a time."""

    def __init__(self, socket: str | Path | None = None, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._path = Path(socket or os.environ.get("SPLITD_SOCKET") or DEFAULT_SOCKET)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._context: zmq.Context[zmq.Socket[bytes]]
        self._socket: zmq.Socket[bytes] | None = None

    def infer(self, images: Item | Sequence[Item], *, deadline_s: float | None = None) -> Result:
        """Run the network on one image or a sequence of images.

        Args:
            images: JPEG/PNG bytes, uint8 images (height, width, channels) or (height, width), or prepared arrays as
                the network takes them for one sample; one, a sequence of one kind, or an array with a leading batch
                dimension. An array of its own is one input if it is uint8 of two or three dimensions, or has one or
                three; otherwise its first dimension is the batch. A sequence holds one input in each place.
            deadline_s: Answer within this time or raise; default: the daemon's configured deadline.

        Raises:
            InputError: The inputs are of no known kind.
            DaemonUnreachableError: The daemon does not run, or stopped while we waited.
            DeadlineError: No answer in time.
            RemoteError: The daemon refused; `code` tells why (input, overload, deadline, ...).
        """
        items = _as_items(images)
        kinds = {kind_of(item) for item in items}
        if len(kinds) != 1:
            raise InputError(
                f"the inputs of one call must be of one kind; these are {', '.join(sorted(kinds)) or 'none'}"
            )
        deadline_ms = None if deadline_s is None else deadline_s * 1000
        with self._lock:
            request = Request(next(self._ids), kinds.pop(), items, deadline_ms)
            answer = self._exchange(request, self._timeout_s if deadline_s is None else deadline_s + GRACE_S)
        return Result(answer.outputs, answer.split, answer.codec, answer.timings, answer.source)

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        with self._lock:
            self._disconnect()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _exchange(self, request: Request, timeout_s: float) -> Answer:
        socket = self._connected()
        socket.send_multipart(encode_request(request), copy=True)
        end_s = time.monotonic() + timeout_s
        while (left_s := end_s - time.monotonic()) > 0:
            if not socket.poll(int(min(left_s, LIVENESS_CHECK_S) * 1000) + 1):
                self._check_daemon()
                continue
            reply = decode_reply(socket.recv_multipart())
            if isinstance(reply, Answer):
                if reply.request_id == request.request_id:
                    return reply
            elif reply[0] in (request.request_id, 0):
                raise reply[1]
        self._disconnect()  # a late answer must not meet the next request
        raise DeadlineError(f"no answer from {self._path} within {timeout_s:.1f} s")

    def _connected(self) -> zmq.Socket[bytes]:
        if self._socket is None:
            check_reachable(self._path)
            self._context = zmq.Context()
            self._socket = self._context.socket(zmq.DEALER)
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.connect(f"ipc://{self._path}")
        return self._socket

    def _check_daemon(self) -> None:
        try:
            check_reachable(self._path)
        except Exception:
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._context.destroy(linger=0)
            self._socket = None


def _as_items(images: Item | Sequence[Item]) -> tuple[Item, ...]:
    if isinstance(images, bytes | bytearray | memoryview):
        return (bytes(images),)
    if hasattr(images, "__array__"):
        array = np.asarray(images)
        return (array,) if array.ndim in (_ONE_IMAGE if array.dtype == np.uint8 else _ONE_INPUT) else tuple(array)
    return tuple(bytes(i) if isinstance(i, bytes | bytearray | memoryview) else np.asarray(i) for i in images)
