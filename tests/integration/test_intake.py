"""The agent's local socket with real clients: answers, errors, deadlines, limits."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from splitd.agent.client.client import Client
from splitd.agent.client.protocol import Answer
from splitd.agent.configuration.schema import IntakeConfig
from splitd.agent.device.batcher import Job
from splitd.agent.device.intake import Intake
from splitd.errors import ConfigError, DaemonUnreachableError, InputError, RemoteError, SplitdError
from tests.support.daemons import eventually

IMAGE = np.zeros((4, 4, 3), np.uint8)
Work = Callable[[list[Job]], list[Answer | SplitdError] | None]


def count_samples(batch: list[Job]) -> list[Answer | SplitdError]:
    """Answer every job with the mean of each of its images."""
    return [
        Answer(
            job.request.request_id,
            (np.array([np.mean(item) for item in job.request.items], np.float32),),
            "blocks.1",
            "u8",
            "server",
            {"total": float(len(batch))},
        )
        for job in batch
    ]


@pytest.fixture
def intakes() -> list[Intake]:
    """What `serve` has started."""
    return []


@pytest.fixture
def serve(tmp_path: Path, intakes: list[Intake]) -> Iterator[Callable[..., Path]]:
    """Start an intake whose batches are worked on by a thread; return its socket's path."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start(work: Work = count_samples, **settings: float) -> Path:
        intake = Intake(IntakeConfig(socket=tmp_path / "infer.sock", **settings))  # type: ignore[arg-type]

        def loop() -> None:
            while not stop.is_set():
                batch = intake.next_batch(0.05)
                for job, outcome in zip(batch or [], (batch and work(batch)) or [], strict=False):
                    intake.finish(job, outcome)

        thread = threading.Thread(target=loop)
        intake.start()
        thread.start()
        intakes.append(intake)
        threads.append(thread)
        return tmp_path / "infer.sock"

    yield start
    stop.set()
    for intake, thread in zip(intakes, threads, strict=True):
        thread.join()
        intake.close()


def test_a_client_gets_the_outputs_of_its_images(serve: Callable[..., Path]) -> None:
    with Client(serve()) as client:
        result = client.infer([IMAGE, IMAGE + 3])
    np.testing.assert_array_equal(result.outputs[0], [0.0, 3.0])
    assert (result.split, result.codec, result.source) == ("blocks.1", "u8", "server")


def test_an_array_with_a_batch_dimension_is_a_batch(serve: Callable[..., Path]) -> None:
    with Client(serve()) as client:
        assert client.infer(np.zeros((3, 3, 8, 8), np.float32)).outputs[0].shape == (3,)


def test_many_clients_at_once_each_get_their_own_answer(serve: Callable[..., Path]) -> None:
    path = serve(max_wait_ms=20)
    answers: dict[int, float] = {}

    def ask(value: int) -> None:
        with Client(path) as client:
            answers[value] = float(client.infer(IMAGE + np.uint8(value)).outputs[0][0])

    threads = [threading.Thread(target=ask, args=(value,)) for value in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {value: float(value) for value in range(12)}


def test_a_typed_error_reaches_the_caller(serve: Callable[..., Path]) -> None:
    path = serve(lambda batch: [InputError("not an image") for _ in batch])
    with Client(path) as client, pytest.raises(RemoteError, match="not an image") as caught:
        client.infer(IMAGE)
    assert caught.value.code == "input"


def test_a_request_that_nobody_finishes_ends_at_its_deadline(serve: Callable[..., Path]) -> None:
    path = serve(lambda _batch: None)
    with Client(path) as client, pytest.raises(RemoteError) as caught:
        client.infer(IMAGE, deadline_s=0.1)
    assert caught.value.code == "deadline"


def ask_all(path: Path, values: range) -> list[threading.Thread]:
    """Send one image per client and thread; they are started."""

    def ask(value: int) -> None:
        with Client(path) as client:
            client.infer(IMAGE + np.uint8(value))

    threads = [threading.Thread(target=ask, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    return threads


def test_a_request_goes_at_once_and_what_comes_meanwhile_is_the_next_batch(
    serve: Callable[..., Path], intakes: list[Intake]
) -> None:
    begun, go_on, sizes = threading.Event(), threading.Event(), []

    def work(batch: list[Job]) -> list[Answer | SplitdError]:
        sizes.append(len(batch))
        begun.set()
        assert go_on.wait(20)
        return count_samples(batch)

    path = serve(work)
    first = ask_all(path, range(1))
    assert begun.wait(20)
    others = ask_all(path, range(1, 5))
    eventually(lambda: intakes[0].queued() == 4)
    go_on.set()
    for thread in first + others:
        thread.join()
    assert sizes == [1, 4]


def test_during_a_long_batch_requests_are_refused_and_deadlines_kept(serve: Callable[..., Path]) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(batch: list[Job]) -> list[Answer | SplitdError]:
        begun.set()
        assert go_on.wait(20)
        return count_samples(batch)

    path = serve(work, max_batch=2)
    threads = ask_all(path, range(1))
    assert begun.wait(20)
    with Client(path) as client:
        with pytest.raises(RemoteError, match=r"intake\.max_batch"):
            client.infer([IMAGE] * 3)
        with pytest.raises(RemoteError) as caught:
            client.infer(IMAGE, deadline_s=0.05)
    assert caught.value.code == "deadline"
    go_on.set()
    threads[0].join()


def test_after_a_long_batch_no_request_lies_until_a_poll_times_out(tmp_path: Path) -> None:
    """Then both threads wait on the socket, and the one that reads a request must not leave the other asleep."""
    intake = Intake(IntakeConfig(socket=tmp_path / "infer.sock"))
    intake.start()
    lay_s: list[float] = []

    def work() -> None:
        while len(lay_s) < 30:
            for job in intake.next_batch(5.0) or []:
                lay_s.append(time.monotonic() - job.received_s)
                time.sleep(0.03)  # a network that is slower than the watching thread's look
                intake.finish(job, count_samples([job])[0])

    pipeline = threading.Thread(target=work)
    pipeline.start()
    with Client(tmp_path / "infer.sock") as client:
        for _ in range(30):
            client.infer(IMAGE, deadline_s=20.0)
    pipeline.join()
    intake.close()
    assert max(lay_s) < 1.0


def test_too_many_inputs_are_refused_with_the_limit(serve: Callable[..., Path]) -> None:
    path = serve(max_batch=2)
    with Client(path) as client, pytest.raises(RemoteError, match=r"intake\.max_batch"):
        client.infer([IMAGE] * 3)


def test_an_empty_call_is_an_input_error(serve: Callable[..., Path]) -> None:
    with Client(serve()) as client, pytest.raises(InputError):
        client.infer([])


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"{"],
        [b"[]"],
        [b"[" * 60_000],
        [b'{"v": 9, "id": 1}'],
        [b'{"v": 1, "id": 1, "items": []}'],
        [b'{"v": 1, "id": 1, "items": [{"kind": "uint8", "shape": [2, 2, 3]}]}'],
        [b'{"v": 1, "id": 1, "items": [{"kind": "uint8", "shape": [2, 2, 3]}]}', b"short"],
        [b'{"v": 1, "id": 1, "items": [{"kind": "uint8", "shape": [-2, 2, 3]}]}', b"x" * 12],
        [b'{"v": 1, "id": 1, "items": [{"kind": "uint8", "shape": [99999999999, 99999999999, 3]}]}', b"x"],
        [b'{"v": 1, "id": 1, "items": [{"kind": "nonsense"}]}', b"x"],
        [b'{"v": 1, "id": -1, "items": [{"kind": "encoded"}]}', b"x"],
        [b'{"v": 1, "id": 1, "deadline_ms": -3, "items": [{"kind": "encoded"}]}', b"x"],
        [b'{"v": 1, "id": 1, "deadline_ms": NaN, "items": [{"kind": "encoded"}]}', b"x"],
        [b'{"v": 1, "id": 1, "items": [{"kind": "encoded"}, {"kind": "uint8", "shape": [1, 1, 3]}]}', b"x", b"xxx"],
    ],
)
def test_hostile_requests_get_a_typed_error_and_the_next_one_is_served(
    serve: Callable[..., Path], frames: list[bytes]
) -> None:
    path = serve()
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(f"ipc://{path}")
    dealer.send_multipart(frames)
    assert dealer.poll(5000), "the intake must answer bad requests"
    assert b'"code": "input"' in dealer.recv_multipart()[0]
    context.destroy(linger=0)
    with Client(path) as client:
        assert client.infer(IMAGE).outputs[0][0] == 0.0


def test_a_live_daemons_socket_is_not_taken_over(serve: Callable[..., Path]) -> None:
    path = serve()
    with pytest.raises(ConfigError, match="another daemon is serving this socket"):
        Intake(IntakeConfig(socket=path))


def test_a_stale_socket_file_is_replaced(tmp_path: Path, serve: Callable[..., Path]) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "infer.sock"))
    with Client(serve()) as client:
        assert client.infer(IMAGE).source == "server"


def test_without_a_daemon_the_client_says_so(tmp_path: Path) -> None:
    with Client(tmp_path / "none.sock") as client, pytest.raises(DaemonUnreachableError, match="no such socket"):
        client.infer(IMAGE)
