"""Fetching the server's file through links that break, servers that go, and servers that lie."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from splitd.errors import PeerError, SplitdError, WireError
from splitd.transport.device.fetch import FetchedBundle, FetchProgress
from splitd.transport.wire import frames as wire
from splitd.transport.wire.limits import KIB, MIB, EndpointLimits
from splitd.transport.wire.messages import FilePart, GetFile, Message, Offer
from tests.support.fetching import (
    CONTENT,
    HELLO,
    PATIENCE_S,
    StopError,
    Watch,
    digest_name,
    fetch,
    files,
    lying,
    parts,
    serving,
    stop,
    until,
)
from tests.support.file_pair import noise
from tests.tcp_relay import TcpRelay


def test_a_link_that_is_cut_again_and_again_costs_no_byte_twice(tmp_path: Path) -> None:
    with serving(CONTENT, tmp_path) as server:
        relay = TcpRelay(server.address)
        cuts = iter(range(1, 4))

        def cut_in_between(progress: FetchProgress) -> None:
            watch(progress)
            if progress.received_bytes >= at[0]:
                relay.cut()
                at[0] = next(cuts, 100) * 700 * KIB

        at, watch = [200 * KIB], Watch()
        found = fetch(relay.address, tmp_path / "bundles", cut_in_between)
        relay.close()
    assert found.path.read_bytes() == CONTENT
    received = [progress.received_bytes for progress in watch.seen if progress.total_bytes is not None]
    assert received == sorted(received)
    assert any(progress.trouble for progress in watch.seen)


def test_a_link_that_goes_dead_is_noticed_and_the_rest_fetched(tmp_path: Path) -> None:
    with serving(CONTENT, tmp_path) as server:
        relay = TcpRelay(server.address)

        def silence() -> None:
            relay.pause()
            threading.Timer(1.0, relay.resume).start()

        found = fetch(relay.address, tmp_path / "bundles", Watch(100 * KIB, silence))
        relay.close()
    assert found.path.read_bytes() == CONTENT


def test_a_process_that_ends_leaves_what_it_got_to_the_next(tmp_path: Path) -> None:
    into = tmp_path / "bundles"
    with serving(CONTENT, tmp_path) as server:
        with pytest.raises(StopError):
            fetch(server.address, into, Watch(500 * KIB, stop))
        (partial,) = into.iterdir()
        assert partial.name == f"{digest_name(CONTENT)}.partial"
        size = partial.stat().st_size
        assert 500 * KIB <= size < len(CONTENT)
        watch = Watch()
        assert fetch(server.address, into, watch).path.read_bytes() == CONTENT
        begun = [progress.received_bytes for progress in watch.seen if progress.total_bytes is not None]
        assert begun[0] >= size
    assert files(into) == [digest_name(CONTENT)]


@contextlib.contextmanager
def half_fetched(tmp_path: Path, into: Path) -> Iterator[tuple[str, list[FetchedBundle]]]:
    """A fetch that stands still half-way since its server went; the server's address, and what will be found."""
    found: list[FetchedBundle] = []
    half_way = threading.Event()
    with serving(CONTENT, tmp_path) as server:
        address, relay = server.address, TcpRelay(server.address)

        def stand_still() -> None:
            relay.pause()  # or the rest might be there before the server goes
            half_way.set()

        watch = Watch(300 * KIB, stand_still)
        device = threading.Thread(target=lambda: found.append(fetch(relay.address, into, watch)))
        device.start()
        assert half_way.wait(PATIENCE_S)
    relay.cut()
    relay.resume()
    try:
        yield address, found
        device.join(PATIENCE_S)
    finally:
        relay.close()


def test_a_server_that_restarts_goes_on_where_it_was(tmp_path: Path) -> None:
    asked: list[int] = []
    with (
        half_fetched(tmp_path, tmp_path / "bundles") as (address, found),
        lying(lambda get: asked.append(get.offset) or parts(CONTENT, get), bind=address),
    ):
        until(lambda: found)
    assert found[0].path.read_bytes() == CONTENT
    assert asked[0] >= 300 * KIB


def test_a_server_that_comes_back_with_another_file_is_followed(tmp_path: Path) -> None:
    into, other = tmp_path / "bundles", noise(MIB, seed=9)
    with half_fetched(tmp_path, into) as (address, found), serving(other, tmp_path, address):
        until(lambda: found)
    assert found[0].path.read_bytes() == other
    assert files(into) == [digest_name(other)]


def test_a_first_part_that_a_power_cut_damaged_is_fetched_again(tmp_path: Path) -> None:
    into = tmp_path / "bundles"
    into.mkdir()
    (into / f"{digest_name(CONTENT)}.partial").write_bytes(bytes(MIB))
    with serving(CONTENT, tmp_path) as server:
        assert fetch(server.address, into).path.read_bytes() == CONTENT


@pytest.mark.parametrize("there", [CONTENT, CONTENT + b"and more", b""])
def test_a_partial_file_of_any_length_is_made_good(tmp_path: Path, there: bytes) -> None:
    into = tmp_path / "bundles"
    into.mkdir()
    (into / f"{digest_name(CONTENT)}.partial").write_bytes(there)
    with serving(CONTENT, tmp_path) as server:
        assert fetch(server.address, into).path.read_bytes() == CONTENT


def test_replacing_the_servers_file_under_its_name_changes_nothing_for_who_is_fetching(tmp_path: Path) -> None:
    def replace() -> None:
        (tmp_path / "new").write_bytes(b"another network")
        (tmp_path / "new").replace(tmp_path / "offered.splitd")

    with serving(CONTENT, tmp_path) as server:
        found = fetch(server.address, tmp_path / "bundles", Watch(200 * KIB, replace))
    assert found.path.read_bytes() == CONTENT


def test_a_servers_file_that_is_cut_short_is_an_error_that_says_so(tmp_path: Path) -> None:
    with serving(CONTENT, tmp_path) as server:
        os.truncate(tmp_path / "offered.splitd", 400 * KIB)
        with pytest.raises(PeerError, match="shorter than it was"):
            fetch(server.address, tmp_path / "bundles")


def test_who_is_told_to_stop_stops_at_once_also_while_nobody_is_there(tmp_path: Path) -> None:
    began_s = time.monotonic()

    def soon(_progress: FetchProgress) -> None:
        if time.monotonic() - began_s > 0.3:
            raise StopError

    with pytest.raises(StopError):
        fetch("tcp://127.0.0.1:9", tmp_path / "bundles", soon)
    assert time.monotonic() - began_s < 1.0


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda get: [FilePart(get.offset + 1, b"x")], WireError),
        (lambda get: [*parts(CONTENT, get)[:-1], FilePart(3 * MIB, b"123456")], WireError),
        (lambda get: parts(CONTENT, get)[::-1], WireError),
        (lambda get: [FilePart(0, bytes(MIB))] * 20, WireError),
        (lambda get: parts(bytes(len(CONTENT)), get), PeerError),
    ],
    ids=["another place", "more than offered", "backwards", "endless", "another file"],
)
def test_a_lying_server_leaves_no_file_and_is_named(
    tmp_path: Path, answer: Callable[[GetFile], list[Message]], kind: type[SplitdError]
) -> None:
    with lying(answer) as address, pytest.raises(kind) as caught:
        fetch(address, tmp_path / "bundles")
    assert address in str(caught.value)
    left = list((tmp_path / "bundles").iterdir())
    assert [path.suffix for path in left] == [".partial"]
    assert left[0].stat().st_size <= len(CONTENT)


def test_a_server_that_offers_and_never_gives_is_waited_for_until_told_to_stop(tmp_path: Path) -> None:
    began_s = time.monotonic()

    def soon(_progress: FetchProgress) -> None:
        if time.monotonic() - began_s > 1.5:  # longer than the silence that costs a connection
            raise StopError

    asked: list[GetFile] = []
    with lying(lambda get: asked.append(get) or []) as address, pytest.raises(StopError):
        fetch(address, tmp_path / "bundles", soon)
    assert len(asked) >= 2


def test_a_device_that_acknowledges_nothing_gets_a_window_and_costs_the_others_nothing(tmp_path: Path) -> None:
    with serving(CONTENT, tmp_path) as server, zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(server.address)
        socket.send_multipart(wire.encode(HELLO, epoch=0, request_id=1))
        offered = wire.decode(socket.recv_multipart())
        assert isinstance(offered.message, Offer)
        get = wire.encode(GetFile(offered.message.file_digest, 0, len(CONTENT)), epoch=offered.epoch, request_id=2)
        socket.send_multipart(get)
        assert fetch(server.address, tmp_path / "bundles").path.read_bytes() == CONTENT
        came = sum(len(message.payload) for message in drained(socket) if isinstance(message, FilePart))
        assert came == EndpointLimits().file_window_bytes
        for _ in range(1000):  # a flood: the first of them costs the device its place
            socket.send_multipart(get)
        until(lambda: server.clients() == ())
        assert fetch(server.address, tmp_path / "others").is_new


def drained(socket: zmq.Socket[bytes]) -> list[Message]:
    """All that comes until nothing has come for a while."""
    found = []
    while socket.poll(300):
        found.append(wire.decode(socket.recv_multipart()).message)
    return found
