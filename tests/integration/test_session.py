"""Session and endpoint over real sockets on loopback, in one process and in two, through every way a server can go."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from splitd.errors import ConfigError, DeadlineError, LinkError, RemoteError, UsageError
from splitd.native import crossing
from splitd.ownership import OwnershipError
from splitd.transport.device.requests import RequestMeta
from splitd.transport.device.session import Session
from splitd.transport.server.endpoint import Endpoint
from splitd.transport.server.incoming import IncomingRequest
from splitd.transport.wire.keys import AllowList, ClientKeys, generate_keys, load_pair
from splitd.transport.wire.limits import KIB, MIB, EndpointLimits, SessionLimits
from splitd.transport.wire.messages import Hello, ServerLoad, ServerTimings, TensorMeta
from tests.echo_server import CUTS, HOLD, MODEL, answer, spawn
from tests.sessions import send_raw, wait_state
from tests.tcp_relay import TcpRelay

# A second instead of five: the tests wait for silence to be noticed.
QUICK = SessionLimits(
    ping_interval_s=0.1, suspect_after_s=0.4, down_after_s=0.8, min_rate_bytes_per_s=1 * MIB, reconnect_s=0.05
)
PATIENCE_S = 20.0


@contextlib.contextmanager
def endpoint(on_request=answer, **options) -> Iterator[Endpoint]:  # type: ignore[no-untyped-def]
    """A server in this process; requests are answered in a thread of their own."""
    requests: queue.SimpleQueue[IncomingRequest | None] = queue.SimpleQueue()
    arguments = {"model_digest": MODEL, "cut_names_hash": CUTS, "load": lambda: ServerLoad(0.5, 0.25), **options}
    server = Endpoint(
        arguments.pop("bind", "tcp://127.0.0.1:*"), lambda: {"name": "here"}, on_request=requests.put, **arguments
    )

    def work() -> None:
        while (request := requests.get()) is not None:
            on_request(request)

    worker = threading.Thread(target=work)
    worker.start()
    server.start()
    try:
        yield server
    finally:
        requests.put(None)
        worker.join()
        server.close()


@contextlib.contextmanager
def session(address: str, digest: str = MODEL, limits: SessionLimits = QUICK, **options) -> Iterator[Session]:  # type: ignore[no-untyped-def]
    """A device."""
    device = Session(address, Hello(digest, CUTS, "1", "device"), limits=limits, **options)
    device.start()
    try:
        yield device
    finally:
        device.close()


def ready(device: Session) -> Session:
    wait_state(device, "ready", timeout_s=PATIENCE_S)
    return device


def ask(device: Session, array: np.ndarray, cut: int = 1, deadline_s: float | None = None) -> np.ndarray:
    """One request with one raw tensor; returns the first output."""
    with device.open(RequestMeta(cut, (TensorMeta(array.shape, array.dtype.name),), deadline_s)) as exchange:
        send_raw(exchange, array)
        return exchange.result(PATIENCE_S).outputs[0]


def noise(n_bytes: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 255, n_bytes, np.uint8)


@pytest.fixture
def server_process() -> Iterator[tuple]:  # type: ignore[type-arg]
    process, address = spawn()
    yield process, address
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGCONT)
    process.kill()
    process.communicate()


def test_several_tensors_of_several_codecs_cross_and_come_back() -> None:
    def sums(request: IncomingRequest) -> None:
        outputs = []
        for meta, chunks in zip(request.tensors, request.chunks, strict=True):
            (array,) = crossing.decode([meta], [chunks])
            outputs.append(np.asarray(array.sum(dtype=np.float64)))
        request.reply(outputs, ServerTimings(1.0, 2.0, 3.0, 0.5))

    rng = np.random.default_rng(0)
    first = rng.standard_normal((4, 8, 32, 32)).astype(np.float32)
    empty = np.zeros((0, 8, 3, 3), np.float32)
    with endpoint(sums) as server, session(server.address) as device:
        ready(device)
        metas = tuple(TensorMeta(array.shape) for array in (first, empty))
        with device.open(RequestMeta(7, metas, device.clock() + 5)) as exchange:
            for index, array in enumerate((first, empty)):
                for piece in crossing.encode([array], "u8"):
                    exchange.send(piece.chunk, index, piece.plan, piece.chunk_index, piece.chunk_count)
            reply = exchange.result(PATIENCE_S)
    assert reply.outputs[0] == pytest.approx(first.sum(dtype=np.float64), abs=first.size * 0.02)
    assert reply.outputs[1] == 0.0
    assert reply.server == ServerTimings(1.0, 2.0, 3.0, 0.5)
    assert len(reply.up.arrivals) >= 7
    assert reply.down.n_bytes > 0


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (5, 3, 7)])
def test_tensors_of_any_shape_cross_raw(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int), dtype=np.int16).reshape(shape)
    with endpoint() as server, session(server.address) as device:
        assert ask(ready(device), array).tobytes() == array.tobytes()


def test_an_echo_across_two_processes(server_process) -> None:  # type: ignore[no-untyped-def]
    with session(server_process[1]) as device:
        ready(device)
        for n_bytes in (1, 100_000, 9 * MIB):
            np.testing.assert_array_equal(ask(device, noise(n_bytes)), noise(n_bytes))
        assert device.status().in_flight_bytes == 0
        assert device.link() is not None


def test_a_killed_server_ends_requests_at_once_and_its_successor_is_found(server_process) -> None:  # type: ignore[no-untyped-def]
    process, address = server_process
    with session(address) as device:
        epoch = ready(device).status().epoch
        with device.open(RequestMeta(HOLD, (TensorMeta((10,), "uint8"),))) as exchange:
            send_raw(exchange, noise(10))
            process.kill()
            started_s = time.monotonic()
            with pytest.raises(LinkError):
                exchange.result(PATIENCE_S)
            assert time.monotonic() - started_s < 0.5
        with pytest.raises(LinkError):
            device.open(RequestMeta(1, (TensorMeta(()),)))
        process.wait()
        successor, _ = spawn(address)
        try:
            ready(device)
            assert device.status().epoch != epoch
            assert device.status().reconnects == 1
            np.testing.assert_array_equal(ask(device, noise(1000)), noise(1000))
        finally:
            successor.kill()
            successor.communicate()


def test_a_stopped_server_is_suspect_then_down_and_comes_back(server_process) -> None:  # type: ignore[no-untyped-def]
    process, address = server_process
    seen: list[str] = []
    with session(address, on_state=lambda status: seen.append(status.state)) as device:
        ready(device)
        process.send_signal(signal.SIGSTOP)
        with device.open(RequestMeta(1, (TensorMeta((8 * MIB,), "uint8"),))) as exchange:
            with pytest.raises(LinkError):
                send_raw(exchange, noise(8 * MIB))
            assert device.status().in_flight_bytes == 0
        process.send_signal(signal.SIGCONT)
        ready(device)
        np.testing.assert_array_equal(ask(device, noise(1000)), noise(1000))
    assert seen[:4] == ["connecting", "ready", "suspect", "down"]


def test_a_black_hole_is_noticed_and_the_link_comes_back(server_process) -> None:  # type: ignore[no-untyped-def]
    relay = TcpRelay(server_process[1])
    with session(relay.address) as device:
        ready(device)
        relay.pause()
        with device.open(RequestMeta(HOLD, (TensorMeta((10,), "uint8"),))) as exchange:
            send_raw(exchange, noise(10))
            with pytest.raises(LinkError, match="silent"):
                exchange.result(PATIENCE_S)
        relay.resume()
        ready(device)
        np.testing.assert_array_equal(ask(device, noise(1000)), noise(1000))
    relay.close()


def test_a_flapping_link_never_confuses_answers(server_process) -> None:  # type: ignore[no-untyped-def]
    relay = TcpRelay(server_process[1])
    answered = lost = 0
    with session(relay.address) as device:
        for round_number in range(60):
            payload = np.full(200_000, round_number, np.uint8)
            if round_number % 12 == 6:
                ready(device)
                relay.cut()
            try:
                np.testing.assert_array_equal(ask(device, payload), payload)
                answered += 1
            except LinkError:
                lost += 1
                ready(device)
        assert answered + lost == 60
        assert answered > 40
        assert device.status().reconnects >= 3
    relay.close()


def test_a_peer_that_takes_nothing_keeps_memory_bounded_and_meets_the_deadline(server_process) -> None:  # type: ignore[no-untyped-def]
    process, address = server_process
    patient = SessionLimits(suspect_after_s=30.0, down_after_s=60.0)
    with session(address, limits=patient) as device:
        ready(device)
        process.send_signal(signal.SIGSTOP)
        deadline_s = device.clock() + 0.7
        with device.open(RequestMeta(1, (TensorMeta((32 * MIB,), "uint8"),), deadline_s)) as exchange:
            with pytest.raises(DeadlineError):
                send_raw(exchange, noise(32 * MIB))
            assert device.status().in_flight_bytes <= patient.window_bytes
        assert device.clock() - deadline_s < 0.5


def test_another_model_is_refused_with_both_digests() -> None:
    with endpoint() as server, session(server.address, digest="ee" * 16) as device:
        status = wait_state(device, "refused", timeout_s=PATIENCE_S)
        assert status.error is not None
        assert MODEL in status.error
        assert "ee" * 16 in status.error
        with pytest.raises(LinkError, match="refused"):
            device.open(RequestMeta(1, (TensorMeta(()),)))


def test_nobody_listening_is_an_error_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with session(f"tcp://127.0.0.1:{port}") as device:
        status = wait_state(device, "down", timeout_s=PATIENCE_S)
        assert "nothing listens" in str(status.error)


def test_an_address_that_is_none_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError):
        Session("tcp://nowhere", Hello(MODEL, CUTS, "1", "device")).start()
    with pytest.raises(ConfigError):
        Endpoint("tcp://256.0.0.1:1", dict, model_digest=MODEL, cut_names_hash=CUTS, on_request=answer, load=ServerLoad)


def test_a_typed_error_of_the_server_reaches_the_caller() -> None:
    with endpoint(lambda request: request.fail("codec", "no such codec")) as server, session(server.address) as device:
        with pytest.raises(RemoteError, match="no such codec") as caught:
            ask(ready(device), noise(10))
        assert caught.value.code == "codec"


def test_an_overloaded_server_says_so_and_the_session_lives_on() -> None:
    limits = EndpointLimits(max_pending_bytes_per_client=1 * MIB, max_pending_bytes=64 * MIB)
    with endpoint(limits=limits) as server, session(server.address) as device:
        with pytest.raises(RemoteError) as caught:
            ask(ready(device), noise(3 * MIB))
        assert caught.value.code == "overload"
        np.testing.assert_array_equal(ask(device, noise(500 * KIB)), noise(500 * KIB))
        assert server.counters().overloads == 1


def test_a_cancelled_request_is_visible_to_the_server() -> None:
    held: queue.SimpleQueue[IncomingRequest] = queue.SimpleQueue()
    with endpoint(held.put) as server, session(server.address) as device:
        exchange = ready(device).open(RequestMeta(1, (TensorMeta((10,), "uint8"),)))
        send_raw(exchange, noise(10))
        request = held.get(timeout=PATIENCE_S)
        assert not request.is_cancelled
        exchange.close()
        with pytest.raises(UsageError):
            exchange.result()
        ask_once_more(device, held)
        assert request.is_cancelled
        request.reply([noise(10)], ServerTimings(0.0, 0.0, 0.0))  # too late: ignored


def ask_once_more(device: Session, held: queue.SimpleQueue[IncomingRequest]) -> None:
    """Messages keep their order, so one more request that has come proves that the cancellation has."""
    with device.open(RequestMeta(1, (TensorMeta((10,), "uint8"),))) as exchange:
        send_raw(exchange, noise(10))
        held.get(timeout=PATIENCE_S).reply([noise(1)], ServerTimings(0.0, 0.0, 0.0))
        exchange.result(PATIENCE_S)


def test_an_idle_session_hears_how_loaded_the_server_is() -> None:
    with endpoint() as server, session(server.address) as device:
        ready(device)
        with device._changed:
            assert device._changed.wait_for(lambda: device._core.server_load is not None, PATIENCE_S)
        view = device.reported_load()
        assert view is not None
        assert (view.queue_s, view.load) == (0.5, 0.25)


def test_many_threads_share_a_session() -> None:
    failures: list[str] = []

    def work(device: Session, number: int) -> None:
        for _ in range(10):
            payload = np.full(100_000, number, np.uint8)
            if not np.array_equal(ask(device, payload), payload):
                failures.append("mixed up")

    with endpoint() as server, session(server.address) as device:
        ready(device)
        threads = [threading.Thread(target=work, args=(device, number)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


@pytest.fixture
def keys(tmp_path):  # type: ignore[no-untyped-def]
    return {name: load_pair(generate_keys(tmp_path, name)[1]) for name in ("server", "device", "other")}


def test_with_keys_on_both_ends_a_request_crosses(keys) -> None:  # type: ignore[no-untyped-def]
    allow = AllowList([keys["device"].public])
    with endpoint(keys=keys["server"], allow=allow) as server:
        trust = ClientKeys(keys["device"], keys["server"].public)
        with session(server.address, keys=trust) as device:
            np.testing.assert_array_equal(ask(ready(device), noise(300_000)), noise(300_000))


@pytest.mark.parametrize(
    ("own", "server_key", "expected"),
    [
        ("device", "other", "public key is probably not the configured"),
        ("other", "server", "does not allow this device's key"),
        (None, None, "without CURVE keys"),
    ],
)
def test_wrong_keys_are_visible(keys, own: str | None, server_key: str | None, expected: str) -> None:  # type: ignore[no-untyped-def]
    with endpoint(keys=keys["server"], allow=AllowList([keys["device"].public])) as server:
        trust = ClientKeys(keys[own], keys[server_key].public) if own and server_key else None
        with session(server.address, keys=trust) as device:
            status = wait_state(device, "refused", timeout_s=PATIENCE_S)
            assert expected in str(status.error)


def test_keys_against_a_server_without_are_visible(keys) -> None:  # type: ignore[no-untyped-def]
    with (
        endpoint() as server,
        session(server.address, keys=ClientKeys(keys["device"], keys["server"].public)) as device,
    ):
        status = wait_state(device, "refused", timeout_s=PATIENCE_S)
        assert "CURVE" in str(status.error)


def test_closing_ends_waiting_callers() -> None:
    with endpoint(lambda request: None) as server, session(server.address) as device:
        exchange = ready(device).open(RequestMeta(1, (TensorMeta((10,), "uint8"),)))
        send_raw(exchange, noise(10))
        closer = threading.Thread(target=device.close)
        closer.start()
        with pytest.raises(LinkError, match="closed"):
            exchange.result(PATIENCE_S)
        closer.join()


def test_the_state_of_a_session_may_be_looked_at_under_its_lock_only() -> None:
    with endpoint() as server, session(server.address) as device:
        ready(device)
        ask(device, noise(1 * MIB))
        rate, now_s = device.inspect(lambda estimator, now_s: (estimator.uplink_rate(now_s), now_s))
        assert rate is not None
        assert device.uplink_rate() is not None
        assert now_s <= device.clock()
        with pytest.raises(OwnershipError, match="session core"):
            _ = device._core.state
        with pytest.raises(OwnershipError, match="endpoint core"):
            _ = server._core.clients
