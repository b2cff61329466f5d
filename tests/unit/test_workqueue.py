"""The server's queue: bounded, and honest about how long a newcomer would wait."""

from __future__ import annotations

import pytest

from splitd.agent.server.queue import WorkQueue
from splitd.errors import OverloadError


def test_work_comes_out_in_order() -> None:
    queue: WorkQueue[str] = WorkQueue(4)
    queue.put("a", 0.1)
    queue.put("b", 0.1)
    assert [queue.get(0.0).item, queue.get(0.0).item] == ["a", "b"]  # type: ignore[union-attr]
    assert queue.get(0.0) is None


def test_a_full_queue_refuses() -> None:
    queue: WorkQueue[str] = WorkQueue(1)
    queue.put("a", 0.1)
    with pytest.raises(OverloadError, match=r"limits\.max_queue"):
        queue.put("b", 0.1)


def test_the_delay_is_what_waits_plus_what_runs() -> None:
    queue: WorkQueue[str] = WorkQueue(4)
    assert queue.delay_s() == 0.0
    queue.put("a", 5.0)
    queue.put("b", 7.0)
    assert queue.delay_s() == pytest.approx(12.0)
    assert queue.get(0.0) is not None
    assert queue.delay_s() == pytest.approx(12.0, abs=1.0)
    queue.done()
    assert queue.delay_s() == pytest.approx(7.0)


def test_the_load_rises_while_work_runs_and_is_bounded() -> None:
    queue: WorkQueue[str] = WorkQueue(4)
    assert queue.load() == 0.0
    queue.put("a", 0.1)
    assert queue.get(0.0) is not None
    assert queue.running_s() >= 0.0
    queue.done()
    assert 0.0 <= queue.load() <= 1.0
    assert queue.running_s() == 0.0
