"""What the server's worker makes of requests: the unsplit network's answer, or a typed error, and once each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from splitd.agent.backends import BACKENDS, LocalBackend, Tail
from splitd.agent.runtime import ServerMetrics
from splitd.agent.server.admission import Admitted
from splitd.agent.server.ledger import Ledger
from splitd.agent.server.queue import Queued, WorkQueue
from splitd.agent.server.tail_times import TailTimes
from splitd.agent.server.worker import Worker, arrays_of
from splitd.calibration.chain import Engine
from splitd.calibration.images import prepare_image
from splitd.calibration.profile import LatencyProfile
from splitd.errors import LinkError, WireError
from splitd.native.images import encode_images, split_files
from splitd.transport.server import IncomingRequest
from tests.support.daemons import eventually
from tests.support.server_parts import Answers, Array, engine, images, incoming, profile_of


@pytest.fixture(scope="module")
def network() -> Iterator[Engine]:
    threads = torch.get_num_threads()
    yield engine()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def profile(network: Engine, tmp_path_factory: pytest.TempPathFactory) -> LatencyProfile:
    return profile_of(network, tmp_path_factory.mktemp("state"))


class Bench:
    """A worker with what is around it; its clock goes on by one second with every look."""

    def __init__(self, network: Engine, profile: LatencyProfile, backend: Any = None) -> None:
        self.now_s = 1000.0
        self.answers = Answers()
        self.queue: WorkQueue[Admitted] = WorkQueue(8, self.look)
        self.metrics = ServerMetrics()
        self.ledger = Ledger(profile.cut_names, self.metrics)
        self.times = TailTimes(profile)
        backend = backend or LocalBackend(network)
        self.worker = Worker(network, backend, self.queue, self.times, self.ledger, clock=self.look)

    def look(self) -> float:
        self.now_s += 1.0
        return self.now_s

    def run(self, request: IncomingRequest, batch: int = 2) -> None:
        self.worker.work(Queued(Admitted(request, batch), self.now_s, 0.1))


@pytest.fixture
def bench(network: Engine, profile: LatencyProfile) -> Bench:
    return Bench(network, profile)


def live_at(network: Engine, cut: int, batch: Array) -> tuple[Array, ...]:
    return network.to_arrays(network.head(cut, network.to_input(batch)))


def test_every_cut_gives_the_unsplit_networks_answer(network: Engine, bench: Bench) -> None:
    batch = images(2)
    expected = network.tail(0, network.to_input(batch))[0]
    bench.run(incoming(bench.answers, 0, [batch], "raw"))
    for cut in range(1, network.last):
        bench.run(incoming(bench.answers, cut, live_at(network, cut, batch), "f32"))
    assert bench.answers.errors == []
    assert len(bench.answers.replies) == network.last
    for (output,), _ in bench.answers.replies:
        np.testing.assert_array_equal(output, expected)


def test_the_applications_own_files_are_prepared_here(network: Engine, bench: Bench) -> None:
    files = [bytes(file) for file in split_files(encode_images(np.repeat(images(2), 2, axis=1), 90), 2)]
    prepared = np.stack([prepare_image(file, network.preprocessing) for file in files])
    bench.run(incoming(bench.answers, 0, files, "as-given"))
    ((outputs, _),) = bench.answers.replies
    np.testing.assert_array_equal(outputs[0], network.tail(0, network.to_input(prepared))[0])


def test_the_answer_says_where_the_time_went(bench: Bench) -> None:
    bench.run(incoming(bench.answers, 0, [images()], "raw"))
    ((_, timings),) = bench.answers.replies
    assert (timings.queue_s, timings.decode_s, timings.compute_s) == (1.0, 1.0, 1.0)
    text = bench.metrics.render().decode()
    assert 'splitd_server_requests_total{cut="input",outcome="answered"} 1.0' in text
    assert "splitd_server_compute_seconds_sum 1.0" in text


def taking(profile: LatencyProfile, seconds: float) -> LatencyProfile:
    """The profile of a network whose whole takes that long for two samples."""
    factor = seconds / profile.tail_s(0, 2)
    rows = tuple(tuple(replace(cell, median=cell.median * factor) for cell in row) for row in profile.tails.rows)
    return replace(profile, tails=replace(profile.tails, rows=rows))


def test_what_tails_take_is_learned(profile: LatencyProfile, network: Engine) -> None:
    slower = Bench(network, taking(profile, 0.5))
    for _ in range(20):
        slower.run(incoming(slower.answers, 0, [images()], "raw"))
    assert slower.times.expected_s(slower.now_s, 0, 2) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(("wait_s", "codes"), [(0.5, ["deadline"]), (1.5, [])])
def test_a_request_whose_deadline_passed_in_the_queue_is_not_computed(
    bench: Bench, wait_s: float, codes: list[str]
) -> None:
    bench.run(incoming(bench.answers, 0, [images()], "raw", deadline_s=bench.now_s + wait_s))
    assert [code for code, _ in bench.answers.errors] == codes
    assert bench.ledger.totals() == (1 - len(codes), len(codes))


def test_a_device_that_has_gone_is_not_computed_for(bench: Bench) -> None:
    request = incoming(bench.answers, 0, [images()], "raw")
    request.is_cancelled = True
    bench.run(request)
    ((code, _),) = bench.answers.errors
    assert code == LinkError.code


def test_another_shape_than_the_cut_has_is_the_devices_error(network: Engine, bench: Bench) -> None:
    (live,) = live_at(network, 2, images())
    bench.run(incoming(bench.answers, 1, [live], "f32"))
    ((code, message),) = bench.answers.errors
    assert code == WireError.code
    assert str(live.shape) in message


def test_a_damaged_image_is_the_devices_error(bench: Bench) -> None:
    bench.run(incoming(bench.answers, 0, [b"no image"], "as-given"), batch=1)
    assert [code for code, _ in bench.answers.errors] == ["input"]


def test_the_batch_is_not_determined_again(network: Engine, bench: Bench) -> None:
    request = incoming(bench.answers, 0, [b"x"] * 3, "as-given")
    with pytest.raises(Exception, match="follow the last of 2 images"):
        arrays_of(Admitted(request, 2), network)


class Breaking:
    """A backend with a bug."""

    def load(self, cut: int, arrays: Sequence[Array]) -> Tail:
        raise ZeroDivisionError(f"{cut} {len(arrays)}")


def test_a_bug_costs_one_answer_and_is_told(network: Engine, profile: LatencyProfile) -> None:
    bench = Bench(network, profile, Breaking())
    bench.run(incoming(bench.answers, 0, [images()], "raw"))
    assert bench.answers.errors == [("error", "internal error: 0 1")]


def test_the_thread_answers_what_is_queued_and_ends_when_told(network: Engine, bench: Bench) -> None:
    bench.worker.start()
    for _ in range(3):
        bench.queue.put(Admitted(incoming(bench.answers, 0, [images()], "raw"), 2), 0.1)
    assert bench.queue.drain(20.0)
    assert bench.worker.alive()
    bench.worker.stop()
    assert len(bench.answers.replies) == 3
    assert not bench.worker.alive()
    assert not any(thread.name == "worker" for thread in threading.enumerate())


def test_a_worker_that_was_never_started_can_be_stopped(bench: Bench) -> None:
    bench.worker.stop()


def test_an_errand_runs_between_two_requests_by_the_workers_own_thread(network: Engine, bench: Bench) -> None:
    ran: list[str] = []
    bench.worker.start()
    try:
        bench.worker.between_requests(lambda: ran.append(threading.current_thread().name))
        bench.queue.put(Admitted(incoming(bench.answers, 0, [images()], "raw"), 2), 0.1)
        eventually(lambda: ran and bench.answers.replies, what="the errand and the answer")
    finally:
        bench.worker.stop()
    assert ran == ["worker"]


def test_another_profile_forgets_the_old_ones_speed(profile: LatencyProfile) -> None:
    times = TailTimes(taking(profile, 0.5))
    for turn in range(20):
        times.observe(float(turn), 1.0, 0, 2)
    assert times.expected_s(20.0, 0, 2) == pytest.approx(1.0, rel=0.05)
    times.replace_profile(taking(profile, 0.1))
    assert times.expected_s(20.0, 0, 2) == pytest.approx(0.1)


def test_the_registered_backends_run_tails(network: Engine) -> None:
    made: dict[str, Callable[[], tuple[Array, ...]]] = {
        name: backend(network).load(0, [images()]) for name, backend in BACKENDS.items()
    }
    expected = network.tail(0, network.to_input(images()))[0]
    for tail in made.values():
        np.testing.assert_array_equal(tail()[0], expected)
