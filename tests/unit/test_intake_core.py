"""The intake's core: requests are accepted or refused, and each gets exactly one answer, whatever happens meanwhile."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from splitd.agent.client.protocol import Answer, Request, decode_reply, encode_request
from splitd.agent.configuration import IntakeConfig
from splitd.agent.device.batcher import Job
from splitd.agent.device.intake_core import Delivery, IntakeCore
from splitd.errors import InputError, LinkError, RemoteError

CALLERS = (b"one", b"two")


def core(**settings: float) -> IntakeCore:
    return IntakeCore(IntakeConfig(socket=Path("unused"), **settings))  # type: ignore[arg-type]


def frames(request_id: int, size: int = 1, deadline_ms: float | None = None) -> list[bytes]:
    items = tuple(np.zeros((2, 2, 3), np.uint8) for _ in range(size))
    return [bytes(frame) for frame in encode_request(Request(request_id, "uint8", items, deadline_ms))]


def answer(job: Job) -> Answer:
    return Answer(job.request.request_id, (np.zeros(job.size, np.float32),), "head", "u8", "local", {})


def codes(deliveries: list[Delivery]) -> list[str]:
    """What callers are told: `answer`, or the code of their error."""
    replies = [decode_reply([bytes(frame) for frame in delivery.frames()[1:]]) for delivery in deliveries]
    return ["answer" if isinstance(reply, Answer) else reply[1].code for reply in replies]


def test_a_request_becomes_a_job_with_its_deadline() -> None:
    intake = core(max_wait_ms=0, deadline_ms=2000)
    intake.on_request(5.0, b"one", frames(1))
    intake.on_request(5.0, b"one", frames(2, deadline_ms=100))
    batch = intake.take_batch(5.0)
    assert batch is not None
    assert [(job.caller, job.received_s, job.deadline_s) for job in batch] == [(b"one", 5.0, 7.0), (b"one", 5.0, 5.1)]
    assert intake.next_expiry_s() == 5.1
    assert (intake.accepted, intake.open_requests, intake.queued) == (2, 2, 0)


def test_the_answer_goes_to_who_asked() -> None:
    intake = core(max_wait_ms=0)
    intake.on_request(5.0, b"two", frames(9))
    (job,) = intake.take_batch(5.0) or []
    intake.finish(job, answer(job))
    (delivery,) = intake.take_deliveries()
    assert (delivery.caller, delivery.request_id, delivery.frames()[0]) == (b"two", 9, b"two")
    assert codes([delivery]) == ["answer"]
    assert intake.take_deliveries() == []


def test_a_message_that_cannot_be_read_is_refused_under_its_own_id() -> None:
    intake = core()
    intake.on_request(5.0, b"one", [b'{"v": 1, "id": 77, "items": []}'])
    (delivery,) = intake.take_deliveries()
    reply = decode_reply([bytes(frame) for frame in delivery.frames()[1:]])
    assert isinstance(reply, tuple)
    assert isinstance(reply[1], RemoteError)
    assert (reply[0], reply[1].code) == (77, "input")
    assert (intake.accepted, intake.refused) == (0, 1)


def test_many_small_frames_do_not_pass_the_limit_of_one_request() -> None:
    intake = core(max_request_mb=0.001)
    intake.on_request(5.0, b"one", [b"{", *(b"x" * 100 for _ in range(20))])
    assert codes(intake.take_deliveries()) == ["input"]


def test_an_id_that_is_open_is_refused_and_may_be_used_again_after_its_answer() -> None:
    intake = core(max_wait_ms=0)
    intake.on_request(5.0, b"one", frames(1))
    intake.on_request(5.0, b"one", frames(1))
    assert codes(intake.take_deliveries()) == ["input"]
    (job,) = intake.take_batch(5.0) or []
    intake.finish(job, answer(job))
    intake.on_request(5.1, b"one", frames(1))
    assert codes(intake.take_deliveries()) == ["answer"]
    assert intake.accepted == 2


def test_what_comes_after_the_deadline_does_not_answer_the_next_request_of_that_id() -> None:
    intake = core(max_wait_ms=0)
    intake.on_request(5.0, b"one", frames(1, deadline_ms=100))
    (late,) = intake.take_batch(5.0) or []
    intake.expire(5.1)
    intake.on_request(5.2, b"one", frames(1))
    intake.finish(late, answer(late))
    assert codes(intake.take_deliveries()) == ["deadline"]
    assert (intake.open_requests, intake.expired) == (1, 1)


def test_an_expired_request_is_not_worked_on() -> None:
    intake = core(max_wait_ms=1000)
    intake.on_request(5.0, b"one", frames(1, deadline_ms=100))
    intake.expire(5.1)
    assert intake.take_batch(9.0) is None
    assert intake.next_expiry_s() is None


def test_while_draining_open_requests_go_on_and_new_ones_are_refused() -> None:
    intake = core(max_wait_ms=0)
    intake.on_request(5.0, b"one", frames(1))
    intake.drain()
    intake.on_request(5.0, b"one", frames(2))
    assert codes(intake.take_deliveries()) == ["link"]
    (job,) = intake.take_batch(5.0) or []
    intake.finish(job, answer(job))
    assert codes(intake.take_deliveries()) == ["answer"]


def test_closing_answers_what_is_open() -> None:
    intake = core()
    intake.on_request(5.0, b"one", frames(1))
    intake.close()
    assert codes(intake.take_deliveries()) == ["link"]
    assert (intake.open_requests, intake.queued) == (0, 0)


@given(st.integers(1, 6), st.integers(1, 6))
def test_the_queue_is_bounded(max_queue: int, more: int) -> None:
    intake = core(max_queue=max_queue, max_wait_ms=1000)
    for request_id in range(max_queue + more):
        intake.on_request(5.0, b"one", frames(request_id))
    assert (intake.accepted, intake.refused) == (max_queue, more)
    assert codes(intake.take_deliveries()) == ["overload"] * more


class ExactlyOnce(RuleBasedStateMachine):
    """Requests, batches, answers, deadlines and the end in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.core = core(max_batch=3, max_queue=4, max_wait_ms=5)
        self.now_s = 100.0
        self.asked = 0
        self.held: list[Job] = []
        self.told: Counter[bytes] = Counter()
        self.is_closed = False

    def deliver(self) -> None:
        for delivery in self.core.take_deliveries():
            self.told[delivery.caller] += 1

    @rule(caller=st.sampled_from(CALLERS), request_id=st.integers(0, 3), size=st.integers(1, 4), ms=st.integers(1, 30))
    def ask(self, caller: bytes, request_id: int, size: int, ms: int) -> None:
        self.asked += 1
        self.core.on_request(self.now_s, caller, frames(request_id, size, ms))

    @rule(passed_ms=st.integers(0, 12))
    def wait(self, passed_ms: int) -> None:
        self.now_s += passed_ms / 1000
        self.core.expire(self.now_s)

    @rule()
    def take(self) -> None:
        self.held += self.core.take_batch(self.now_s) or []

    @precondition(lambda self: self.held)
    @rule(data=st.data(), keep=st.booleans(), fails=st.booleans())
    def finish(self, data: st.DataObject, keep: bool, fails: bool) -> None:
        index = data.draw(st.integers(0, len(self.held) - 1))
        job = self.held[index] if keep else self.held.pop(index)  # a kept one is finished once more, later
        self.core.finish(job, InputError("no image") if fails else answer(job))

    @rule()
    def drain(self) -> None:
        self.core.drain()

    @rule()
    def close(self) -> None:
        self.core.close()
        self.is_closed = True

    @invariant()
    def everyone_was_told_once_or_waits(self) -> None:
        self.deliver()
        assert self.told.total() + self.core.open_requests == self.asked == self.core.accepted + self.core.refused
        assert self.core.queued <= self.core.open_requests
        if self.is_closed:
            assert self.core.open_requests == 0

    def teardown(self) -> None:
        self.core.close()
        self.deliver()
        assert self.told.total() == self.asked


TestExactlyOnce = ExactlyOnce.TestCase


def test_an_error_of_the_pipeline_reaches_the_caller() -> None:
    intake = core(max_wait_ms=0)
    intake.on_request(5.0, b"one", frames(1))
    (job,) = intake.take_batch(5.0) or []
    intake.finish(job, LinkError("gone"))
    reply = decode_reply([bytes(frame) for frame in intake.take_deliveries()[0].frames()[1:]])
    assert isinstance(reply, tuple)
    with pytest.raises(RemoteError, match="gone"):
        raise reply[1]
