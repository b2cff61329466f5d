"""Which requests may wait at the server: told from the headers alone, in the thread that takes arrival times."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from splitd.agent.runtime import ServerMetrics
from splitd.agent.server.admission import Admission, Admitted, admit
from splitd.agent.server.ledger import Ledger
from splitd.agent.server.queue import WorkQueue
from splitd.agent.server.tail_times import TailTimes
from splitd.calibration.profile import LatencyProfile
from splitd.errors import CodecError, OverloadError, WireError
from splitd.native.images import encode_images, split_files
from splitd.transport.server import IncomingRequest
from tests.support.server_parts import Answers, engine, images, incoming, profile_of

MAX_BATCH = 4
LAST = 6


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LatencyProfile]:
    threads = torch.get_num_threads()
    yield profile_of(engine(), tmp_path_factory.mktemp("state"))
    torch.set_num_threads(threads)


def jpegs(batch: int) -> list[bytes]:
    return [bytes(file) for file in split_files(encode_images(images(batch), 90), batch)]


@pytest.mark.parametrize("codec", ["raw", "jpeg90"])
def test_the_samples_of_a_batch_are_counted(codec: str) -> None:
    assert admit(incoming(Answers(), 0, [images(3)], codec), LAST, MAX_BATCH).batch == 3


def test_the_applications_own_files_are_counted() -> None:
    assert admit(incoming(Answers(), 0, jpegs(4), "as-given"), LAST, MAX_BATCH).batch == 4


@pytest.mark.parametrize("batch", [0, 5])
def test_an_empty_or_too_large_batch_is_refused(batch: int) -> None:
    with pytest.raises(OverloadError, match=f"a batch of {batch}; this server takes 1 to 4"):
        admit(incoming(Answers(), 0, [images(batch)], "raw"), LAST, MAX_BATCH)


def test_more_files_than_allowed_are_not_even_counted_to_their_end() -> None:
    with pytest.raises(OverloadError, match="a batch of 5"):
        admit(incoming(Answers(), 0, [b"x"] * 1000, "as-given"), LAST, MAX_BATCH)


def test_a_stream_that_is_cut_short_is_refused() -> None:
    request = incoming(Answers(), 0, jpegs(2), "as-given")
    (parts,) = request.chunks
    request.chunks = ((*parts[:-1], replace(parts[-1], payload=parts[-1].payload[:-1])),)
    with pytest.raises(CodecError, match="ends within image 1"):
        admit(request, LAST, MAX_BATCH)


@pytest.mark.parametrize("cut", [LAST, 65535])
def test_a_cut_that_the_network_does_not_have_is_refused(cut: int) -> None:
    with pytest.raises(WireError, match=f"there is no cut {cut}"):
        admit(incoming(Answers(), cut, [images()], "raw"), LAST, MAX_BATCH)


def test_nothing_of_a_large_payload_is_copied() -> None:
    request = incoming(Answers(), 0, [bytes(5_000_000)] * MAX_BATCH, "as-given")
    assert len(request.chunks[0]) > 10
    tracemalloc.start()
    try:
        assert admit(request, LAST, MAX_BATCH).batch == MAX_BATCH
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100_000


class Desk:
    """Admission with what is around it."""

    def __init__(self, profile: LatencyProfile, max_queue: int = 2) -> None:
        self.answers = Answers()
        self.queue: WorkQueue[Admitted] = WorkQueue(max_queue)
        self.metrics = ServerMetrics()
        self.ledger = Ledger(profile.cut_names, self.metrics)
        self.times = TailTimes(profile)
        self.admission = Admission(self.queue, self.times, self.ledger, max_batch=MAX_BATCH, clock=lambda: 100.0)

    def request(self, cut: int = 0) -> IncomingRequest:
        return incoming(self.answers, cut, [images(2)], "raw")


def test_what_is_admitted_waits_with_the_time_that_it_will_take(profile: LatencyProfile) -> None:
    desk = Desk(profile)
    desk.admission.take(desk.request())
    assert desk.queue.delay_s() == pytest.approx(profile.tail_s(0, 2))
    queued = desk.queue.get(0.0)
    assert queued is not None
    assert queued.item.batch == 2


def test_a_processor_that_became_slower_makes_newcomers_wait_longer(profile: LatencyProfile) -> None:
    slow = replace(profile, tails=scaled(profile, 1000.0))
    desk = Desk(slow)
    for _ in range(20):
        desk.times.observe(99.0, 2.0 * slow.tail_s(0, 2), 0, 2)
    desk.admission.take(desk.request())
    assert desk.queue.delay_s() == pytest.approx(2.0 * slow.tail_s(0, 2), rel=0.05)


def scaled(profile: LatencyProfile, factor: float) -> type:
    rows = tuple(tuple(replace(cell, median=cell.median * factor) for cell in row) for row in profile.tails.rows)
    return replace(profile.tails, rows=rows)


def test_a_request_too_many_gets_the_typed_error_at_once(profile: LatencyProfile) -> None:
    desk = Desk(profile, max_queue=1)
    desk.admission.take(desk.request())
    desk.admission.take(desk.request())
    ((code, message),) = desk.answers.errors
    assert code == "overload"
    assert "limits.max_queue" in message
    assert desk.ledger.totals() == (0, 1)


def test_cuts_that_a_device_makes_up_share_one_label(profile: LatencyProfile) -> None:
    desk = Desk(profile)
    for cut in range(1000, 1100):
        desk.admission.take(desk.request(cut))
    lines = [
        line for line in desk.metrics.render().decode().splitlines() if line.startswith("splitd_server_requests_t")
    ]
    assert lines == ['splitd_server_requests_total{cut="unknown",outcome="wire"} 100.0']
