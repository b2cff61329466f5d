"""What tests of fetching share: an offering server, a lying one, and a caller who watches the progress."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import xxhash
import zmq

from splitd.transport.device.fetch import FetchedBundle, FetchProgress, fetch_bundle
from splitd.transport.server.bundle_offer import BundleOffer
from splitd.transport.server.endpoint import Endpoint
from splitd.transport.wire import frames as wire
from splitd.transport.wire.handshake import newcomer
from splitd.transport.wire.limits import FILE_PART_BYTES, MIB, SessionLimits
from splitd.transport.wire.messages import FilePart, GetFile, Hello, Message, Offer, ServerLoad
from tests.echo_server import CUTS, MODEL
from tests.support.file_pair import noise

QUICK = SessionLimits(ping_interval_s=0.1, down_after_s=0.4, min_rate_bytes_per_s=1 * MIB, reconnect_s=0.05)
CONTENT = noise(3 * MIB + 5)
HELLO = newcomer("1", "device")
PATIENCE_S = 20.0


class StopError(Exception):
    """What a caller raises who has had enough."""


class Watch:
    """Takes progress; `act` is called once as soon as that many bytes have come."""

    def __init__(self, at_bytes: int = 0, act: Callable[[], None] = lambda: None) -> None:
        self.seen: list[FetchProgress] = []
        self.began_s = time.monotonic()
        self._at_bytes, self._act = at_bytes, act
        self._acted = False

    def __call__(self, progress: FetchProgress) -> None:
        self.seen.append(progress)
        assert time.monotonic() - self.began_s < PATIENCE_S, f"nothing came of it: {progress}"
        if not self._acted and progress.received_bytes >= self._at_bytes:
            self._acted = True
            self._act()


def stop() -> None:
    raise StopError


@contextlib.contextmanager
def serving(content: bytes | None, folder: Path, bind: str = "tcp://127.0.0.1:*", **options: Any) -> Iterator[Endpoint]:
    """A server that offers `content`, or nothing."""
    offer = None
    if content is not None:
        path = folder / "offered.splitd"
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        offer = BundleOffer(path, model_digest=MODEL, name="net")
    server = Endpoint(
        bind,
        dict,
        model_digest=MODEL,
        cut_names_hash=CUTS,
        on_request=lambda request: request.fail("internal", "none wanted"),
        load=ServerLoad,
        offer=offer,
        **options,
    )
    server.start()
    try:
        yield server
    finally:
        server.close()


def fetch(
    address: str, into: Path, progress: Callable[[FetchProgress], None] | None = None, **options: Any
) -> FetchedBundle:
    options = {"session_limits": QUICK, **options}
    return fetch_bundle(address, HELLO, into=into, progress=progress or Watch(), **options)


def digest_name(content: bytes) -> str:
    return f"{xxhash.xxh3_128_hexdigest(content)}.splitd"


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def until(condition: Callable[[], Any]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@contextlib.contextmanager
def lying(answer: Callable[[GetFile], list[Message]], bind: str = "tcp://127.0.0.1:*") -> Iterator[str]:
    """A server of no good that offers CONTENT and answers each GET_FILE as `answer` says."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.bind(bind)
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            if not router.poll(20):
                continue
            routing_id, *frames = router.recv_multipart()
            envelope = wire.decode(frames)
            said: list[Message] = []
            if isinstance(envelope.message, Hello):
                said = [Offer(xxhash.xxh3_128_hexdigest(CONTENT), MODEL, len(CONTENT), "net")]
            elif isinstance(envelope.message, GetFile):
                said = answer(envelope.message)
            for message in said:
                router.send_multipart([routing_id, *wire.encode(message, epoch=9, request_id=envelope.request_id)])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield router.getsockopt_string(zmq.LAST_ENDPOINT)
    finally:
        done.set()
        thread.join()
        router.close(linger=0)
        context.term()


def parts(content: bytes, get: GetFile) -> list[Message]:
    ends = range(get.offset, get.offset + get.n_bytes, FILE_PART_BYTES)
    return [FilePart(at, content[at : at + FILE_PART_BYTES]) for at in ends]
