"""The server's queue: bounded, and honest about how long a newcomer would wait."""

from __future__ import annotations

import threading

import pytest

from splitd.agent.server.queue import LOAD_WINDOW_S, Backlog, WorkQueue
from splitd.errors import OverloadError


def backlog(*expected_s: float, max_length: int = 4) -> Backlog[str]:
    made: Backlog[str] = Backlog(max_length)
    for index, seconds in enumerate(expected_s):
        made.add(0.0, "abcd"[index], seconds)
    return made


def test_work_comes_out_in_order_with_the_time_when_it_came() -> None:
    queue: Backlog[str] = Backlog(4)
    queue.add(1.0, "a", 0.1)
    queue.add(2.0, "b", 0.1)
    first, second = queue.take(3.0), queue.take(3.0)
    assert first is not None
    assert second is not None
    assert (first.item, first.queued_s, second.item) == ("a", 1.0, "b")
    assert queue.take(3.0) is None


def test_a_full_queue_refuses_and_takes_again_when_something_has_left() -> None:
    queue = backlog(0.1, max_length=1)
    with pytest.raises(OverloadError, match=r"limits\.max_queue"):
        queue.add(0.0, "b", 0.1)
    queue.take(0.0)
    queue.add(0.0, "b", 0.1)
    assert len(queue) == 1


def test_the_delay_is_what_waits_plus_what_is_left_of_what_runs() -> None:
    queue = backlog(5.0, 7.0)
    assert queue.delay_s(0.0) == pytest.approx(12.0)
    queue.take(10.0)
    assert queue.delay_s(12.0) == pytest.approx(3.0 + 7.0)
    assert queue.delay_s(99.0) == pytest.approx(7.0)  # late: it may end at any moment
    queue.finish(99.0)
    assert queue.delay_s(99.0) == pytest.approx(7.0)


def test_the_load_is_the_busy_share_of_the_last_seconds() -> None:
    queue = backlog(1.0, 1.0)
    assert queue.load(0.0) == 0.0
    queue.take(0.0)
    assert queue.load(1.0) == pytest.approx(1.0 / LOAD_WINDOW_S)
    queue.finish(2.0)
    assert queue.load(4.0) == pytest.approx(2.0 / LOAD_WINDOW_S)
    assert queue.load(1.0 + LOAD_WINDOW_S) == pytest.approx(1.0 / LOAD_WINDOW_S)
    assert queue.load(2.0 + LOAD_WINDOW_S) == 0.0
    queue.take(20.0)
    assert queue.load(20.0 + 2 * LOAD_WINDOW_S) == 1.0


def test_what_runs_is_timed_from_the_moment_when_it_was_taken() -> None:
    queue = backlog(1.0)
    assert queue.running_s(5.0) == 0.0
    queue.take(5.0)
    assert queue.running_s(65.0) == 60.0
    queue.finish(66.0)
    assert queue.running_s(66.0) == 0.0


def test_a_busy_server_forgets_what_is_older_than_the_window() -> None:
    queue: Backlog[int] = Backlog(1)
    for index in range(10_000):
        queue.add(float(index), index, 0.1)
        queue.take(float(index))
        queue.finish(index + 0.5)
    assert len(queue._busy) <= LOAD_WINDOW_S + 1


def test_the_worker_is_woken_by_new_work() -> None:
    queue: WorkQueue[str] = WorkQueue(4)
    found: list[str] = []

    def work() -> None:
        queued = queue.get(10.0)
        assert queued is not None
        found.append(queued.item)
        queue.done()

    worker = threading.Thread(target=work)
    worker.start()
    queue.put("a", 0.1)
    assert queue.drain(10.0)
    worker.join()
    assert found == ["a"]
    assert queue.get(0.0) is None


def test_draining_gives_up_after_its_time() -> None:
    queue: WorkQueue[str] = WorkQueue(4)
    assert queue.drain(0.0)
    queue.put("a", 0.1)
    assert not queue.drain(0.0)
    assert queue.get(0.0) is not None
    assert not queue.drain(0.0), "what was taken is running"
    queue.done()
    assert queue.drain(0.0)
    assert 0.0 <= queue.load() <= 1.0
    assert (queue.delay_s(), queue.running_s(), len(queue)) == (0.0, 0.0, 0)
