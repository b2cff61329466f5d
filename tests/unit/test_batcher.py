"""Batches: full, or waited long enough, or closed by another kind; bounded."""

from __future__ import annotations

import numpy as np
import pytest

from splitd.agent.client.protocol import Kind, Request
from splitd.agent.device.batcher import Batcher, Job
from splitd.errors import InputError, OverloadError


def job(number: int, *, at_s: float = 0.0, size: int = 1, kind: Kind = "uint8") -> Job:
    items = tuple(np.zeros((2, 2, 3), np.uint8) for _ in range(size))
    return Job(b"caller", Request(number, kind, items, None), at_s, at_s + 10)


def ids(batch: list[Job] | None) -> list[int] | None:
    return None if batch is None else [job.request.request_id for job in batch]


def test_nothing_waiting_gives_no_batch() -> None:
    batcher = Batcher(4, 0.005, 8)
    assert batcher.take(0.0) is None
    assert batcher.ready_at_s() is None


def test_a_full_batch_is_ready_at_once() -> None:
    batcher = Batcher(2, 1.0, 8)
    for number in (1, 2, 3):
        batcher.add(job(number))
    assert ids(batcher.take(0.0)) == [1, 2]
    assert batcher.take(0.5) is None
    assert ids(batcher.take(1.0)) == [3]


def test_another_kind_closes_the_batch() -> None:
    batcher = Batcher(8, 1.0, 8)
    batcher.add(job(1))
    batcher.add(job(2, kind="float32"))
    assert ids(batcher.take(0.0)) == [1]
    assert batcher.take(0.0) is None


def test_a_job_that_does_not_fit_starts_the_next_batch() -> None:
    batcher = Batcher(4, 1.0, 8)
    batcher.add(job(1, size=3))
    batcher.add(job(2, size=2))
    assert ids(batcher.take(0.0)) == [1]
    assert len(batcher) == 1


def test_a_batch_waits_for_company_but_not_longer_than_configured() -> None:
    batcher = Batcher(4, 0.005, 8)
    batcher.add(job(1, at_s=2.0))
    assert batcher.ready_at_s() == pytest.approx(2.005)
    assert batcher.take(2.004) is None
    assert ids(batcher.take(2.005)) == [1]


def test_the_queue_is_bounded() -> None:
    batcher = Batcher(4, 1.0, 2)
    batcher.add(job(1))
    batcher.add(job(2))
    with pytest.raises(OverloadError, match=r"intake\.max_queue"):
        batcher.add(job(3))


def test_a_request_larger_than_a_batch_is_refused() -> None:
    with pytest.raises(InputError, match=r"at most 2 inputs \(intake\.max_batch\)"):
        Batcher(2, 1.0, 2).add(job(1, size=3))


def test_a_discarded_job_is_never_handed_out() -> None:
    batcher = Batcher(2, 0.0, 4)
    gone = job(1)
    batcher.add(gone)
    batcher.add(job(2))
    batcher.discard(gone.key)
    assert ids(batcher.take(0.0)) == [2]
