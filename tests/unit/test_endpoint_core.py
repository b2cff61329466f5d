"""The server's side of the protocol on a simulated clock: who is let in, what is bounded, what is dropped."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from splitd.errors import LinkError, RemoteError
from splitd.transport.device.requests import Reply
from splitd.transport.server.client_record import ClientRecord
from splitd.transport.server.endpoint_core import EndpointCore
from splitd.transport.wire import frames as wire
from splitd.transport.wire.limits import KIB, MIB, EndpointLimits
from splitd.transport.wire.messages import (
    Ack,
    Bye,
    Cancel,
    Chunk,
    ErrorReply,
    Message,
    Ping,
    Pong,
    Probe,
    ProbeReport,
    Refuse,
    Welcome,
)
from splitd.transport.wire.outgoing import outgoing
from tests.protocol_pair import ROUTING_ID, Pair, activation, data_chunks, encoded, hello, new_server


def join(core: EndpointCore, routing_id: bytes = ROUTING_ID, now_s: float = 0.0) -> ClientRecord:
    """Let a device in and swallow its WELCOME."""
    core.on_frames(now_s, routing_id, encoded(hello(), 0, 1))
    client = core.clients[routing_id]
    assert isinstance(said(client)[0], Welcome)
    return client


def said(client: ClientRecord) -> list[Message]:
    """What the server says to a device."""
    messages: list[Message] = []
    client.outbox.flush(lambda item: messages.append(wire.decode(item.frames).message) is None)
    return messages


def refusals(core: EndpointCore) -> list[Refuse]:
    """What the server says to strangers."""
    messages = [wire.decode(item.frames).message for _, item in core.strays]
    core.strays.clear()
    return [message for message in messages if isinstance(message, Refuse)]


def test_every_hello_gets_an_epoch_of_its_own() -> None:
    core, _ = new_server()
    first = join(core).epoch
    assert join(core).epoch != first
    assert len(core.clients) == 1


def test_a_stranger_must_say_hello_first() -> None:
    core, _ = new_server()
    core.on_frames(0.0, b"stranger", encoded(Ping(1), 77))
    assert [refuse.code for refuse in refusals(core)] == ["hello"]
    assert core.counters.stale_messages == 1


def test_a_request_of_a_former_epoch_is_dropped() -> None:
    core, _ = new_server()
    client = join(core)
    for chunk in data_chunks(activation()):
        assert core.on_frames(0.0, ROUTING_ID, encoded(chunk, client.epoch - 1, 5)) is None
    assert client.open_requests == 0
    assert core.counters.stale_messages == 6


def test_a_device_of_another_version_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(wire, "PROTOCOL_VERSION", 2)
        frames = encoded(hello(), 0, 1)
    core, _ = new_server()
    core.on_frames(0.0, b"newer", frames)
    (refuse,) = refusals(core)
    assert refuse.code == "version"
    assert "version 1" in refuse.message
    assert "the other end 2" in refuse.message


@pytest.mark.parametrize("frames", [[], [b"noise"], [b"a", b"b", b"c"]])
def test_noise_costs_the_client_its_place_and_nothing_else(frames: list[bytes]) -> None:
    core, _ = new_server()
    join(core)
    other = join(core, b"other")
    assert core.on_frames(0.0, ROUTING_ID, frames) is None
    assert list(core.clients) == [b"other"]
    assert other.open_requests == 0
    assert core.counters.wire_errors == 1


def test_messages_that_only_a_server_sends_are_refused() -> None:
    core, _ = new_server()
    for message in (Bye("x"), ErrorReply("x", "y"), data_chunks(activation(), is_result=True)[0]):
        client = join(core)
        core.on_frames(0.0, ROUTING_ID, encoded(message, client.epoch))
        assert not core.clients


def test_chunks_of_another_model_are_refused() -> None:
    core, _ = new_server()
    client = join(core)
    core.on_frames(0.0, ROUTING_ID, encoded(data_chunks(activation(), model_digest="ee" * 16)[0], client.epoch, 1))
    assert not core.clients


def test_a_complete_request_carries_its_deadline_and_arrivals() -> None:
    core, _ = new_server()
    client = join(core)
    chunks = data_chunks(activation(), deadline_ms=500)
    for second, chunk in enumerate(chunks[:-1]):
        assert core.on_frames(0.01 * second, ROUTING_ID, encoded(chunk, client.epoch, 5)) is None
    complete = core.on_frames(0.1, ROUTING_ID, encoded(chunks[-1], client.epoch, 5))
    assert complete is not None
    assert complete.deadline_s == pytest.approx(0.5)
    assert [arrival.t_s for arrival in complete.arrivals] == pytest.approx([0.0, 0.01, 0.02, 0.03, 0.04, 0.1])
    assert list(client.running_bytes) == [5]


def test_a_transfer_that_stops_is_dropped_and_frees_its_memory() -> None:
    core, _ = new_server()
    client = join(core)
    core.on_frames(0.0, ROUTING_ID, encoded(data_chunks(activation())[0], client.epoch, 5))
    assert client.pending_bytes > 50_000
    core.on_frames(9.0, ROUTING_ID, encoded(Ping(1), client.epoch))
    core.on_tick(10.1)
    assert client.pending_bytes == 0
    assert any(isinstance(message, ErrorReply) for message in said(client))
    for chunk in data_chunks(activation())[1:]:
        core.on_frames(10.2, ROUTING_ID, encoded(chunk, client.epoch, 5))
    assert client.open_requests == 0


def test_a_transfer_past_its_deadline_is_dropped() -> None:
    core, _ = new_server()
    client = join(core)
    core.on_frames(0.0, ROUTING_ID, encoded(data_chunks(activation(), deadline_ms=200)[0], client.epoch, 5))
    core.on_tick(0.3)
    (error,) = (message for message in said(client) if isinstance(message, ErrorReply))
    assert error.code == "deadline"


def test_a_silent_device_is_forgotten_with_its_requests() -> None:
    core, gone = new_server()
    client = join(core)
    for chunk in data_chunks(activation()):
        core.on_frames(0.0, ROUTING_ID, encoded(chunk, client.epoch, 5))
    core.on_tick(30.1)
    assert not core.clients
    assert gone == [(ROUTING_ID, client.epoch, 5)]


def test_unfinished_transfers_are_limited_in_number_and_in_memory() -> None:
    limits = EndpointLimits(
        max_open_requests_per_client=3, max_pending_bytes_per_client=200 * KIB, max_pending_bytes=1 * MIB
    )
    core, _ = new_server(limits)
    client = join(core)
    for request_id in range(100):
        for chunk in data_chunks(activation(1 * MIB))[:-1]:
            core.on_frames(0.0, ROUTING_ID, encoded(chunk, client.epoch, request_id))
            assert client.pending_bytes <= 200 * KIB + 70 * KIB
            assert client.open_requests <= 3
    assert core.counters.overloads == 100
    assert {message.code for message in said(client) if isinstance(message, ErrorReply)} == {"overload"}


def test_all_devices_together_are_limited() -> None:
    limits = EndpointLimits(max_clients=8, max_pending_bytes_per_client=1 * MIB, max_pending_bytes=2 * MIB)
    core, _ = new_server(limits)
    clients = [join(core, bytes([number])) for number in range(8)]
    for client, chunk in itertools.product(clients, data_chunks(activation(900 * KIB))[:-1]):
        core.on_frames(0.0, client.routing_id, encoded(chunk, client.epoch, 1))
        assert sum(other.pending_bytes for other in clients) <= 2 * MIB + 70 * KIB
    assert core.counters.overloads > 0


def test_empty_chunks_count_too() -> None:
    core, _ = new_server(EndpointLimits(max_pending_bytes_per_client=100 * KIB, max_pending_bytes=100 * KIB))
    client = join(core)
    big = data_chunks(np.zeros(4000, np.uint8))[0]
    for index in range(2000):
        chunk = replace(big, codec=2, chunk_index=index, chunk_count=4000, first_element=0, n_elements=1, payload=b"")
        core.on_frames(0.0, ROUTING_ID, encoded(chunk, client.epoch, 1))
        assert client.pending_bytes <= 101 * KIB
    assert core.counters.overloads == 1


def test_devices_are_limited_and_one_that_has_gone_makes_room() -> None:
    core, _ = new_server(EndpointLimits(max_clients=2))
    join(core, b"a", now_s=0.0)
    join(core, b"b", now_s=4.0)
    core.on_frames(4.5, b"c", encoded(hello(), 0, 1))
    assert [refuse.code for refuse in refusals(core)] == ["overload"]
    join(core, b"c", now_s=5.5)
    assert set(core.clients) == {b"b", b"c"}


def test_contradicting_chunks_cost_the_client_its_place() -> None:
    first, *_, last = data_chunks(activation())
    contradictions: list[Chunk] = [
        first,  # twice
        replace(last, cut=4),
        replace(last, tensor_count=2),
        replace(last, chunk_count=7),
        replace(last, tensor=replace(last.tensor, shape=(1, 75_000))),
    ]
    for contradiction in contradictions:
        core, _ = new_server()
        client = join(core)
        core.on_frames(0.0, ROUTING_ID, encoded(first, client.epoch, 5))
        core.on_frames(0.0, ROUTING_ID, encoded(contradiction, client.epoch, 5))
        assert not core.clients
        assert core.counters.wire_errors == 1


def test_ranges_that_do_not_cover_the_tensor_cost_the_client_its_place() -> None:
    core, _ = new_server()
    client = join(core)
    chunks = data_chunks(activation())
    chunks[3] = replace(chunks[3], first_element=chunks[2].first_element)
    for chunk in chunks:
        assert core.on_frames(0.0, ROUTING_ID, encoded(chunk, client.epoch, 5)) is None
    assert not core.clients


def test_more_chunks_for_a_complete_request_cost_the_client_its_place() -> None:
    core, _ = new_server()
    client = join(core)
    for chunk in data_chunks(activation()):
        core.on_frames(0.0, ROUTING_ID, encoded(chunk, client.epoch, 5))
    core.on_frames(0.0, ROUTING_ID, encoded(data_chunks(activation())[0], client.epoch, 5))
    assert not core.clients


def test_a_probe_is_timed_and_reported() -> None:
    core, _ = new_server()
    client = join(core)
    for index in range(4):
        core.on_frames(1.0 + 0.1 * index, ROUTING_ID, encoded(Probe(index, 4, bytes(1000)), client.epoch, 9))
    (ack, report) = said(client)
    assert ack == Ack(4000)
    assert isinstance(report, ProbeReport)
    assert report.arrivals.offsets_s == pytest.approx((0.0, 0.1, 0.2, 0.3))


def test_a_stopped_device_cannot_fill_the_server_with_answers() -> None:
    pair = Pair(endpoint_limits=EndpointLimits(window_bytes=1 * MIB, max_reply_bytes=4 * MIB))
    pair.connect()
    answers = 0
    for _ in range(50):
        if ROUTING_ID not in pair.server.clients:
            break
        pair.open(activation(1 * KIB))
        pair.device_sends()
        pair.answer(pair.complete[-1], np.zeros(2 * MIB, np.uint8))
        pair.session.requests.drop(pair.complete[-1].key[2])
        client = pair.server.clients.get(ROUTING_ID)
        assert client is None or client.outbox.n_bytes < 8 * MIB
        answers += 1
    assert answers < 5
    assert pair.server.counters.overloads == 1


def test_answers_stay_within_the_credits_of_the_device() -> None:
    pair = Pair(endpoint_limits=EndpointLimits(window_bytes=1 * MIB))
    pair.connect()
    request_id = pair.open(activation())
    pair.device_sends()
    output = np.random.default_rng(0).integers(0, 255, 5 * MIB, np.uint8)
    pair.answer(pair.complete[0], output)
    while pair.server_sends():
        assert pair.server.clients[ROUTING_ID].window.in_flight_bytes <= 1 * MIB
        pair.device_sends()
    outcome = pair.session.requests.outcome(request_id)
    assert isinstance(outcome, Reply)
    np.testing.assert_array_equal(outcome.outputs[0], output)


def test_a_pong_overtakes_chunks_that_wait_for_credits() -> None:
    core, _ = new_server()
    client = join(core)
    for chunk in data_chunks(activation()):
        complete = core.on_frames(0.0, ROUTING_ID, encoded(chunk, client.epoch, 5))
    assert complete is not None
    results = data_chunks(activation(), is_result=True)
    core.queue_answer(complete.key, [outgoing(chunk, epoch=client.epoch, request_id=5) for chunk in results])
    core.on_frames(0.0, ROUTING_ID, encoded(Ping(3), client.epoch))
    kinds = [type(message) for message in said(client)]
    assert kinds.index(Pong) < kinds.index(Chunk)


def test_a_cancelled_request_is_reported_and_its_answer_dropped() -> None:
    core, gone = new_server()
    client = join(core)
    for chunk in data_chunks(activation()):
        complete = core.on_frames(0.0, ROUTING_ID, encoded(chunk, client.epoch, 5))
    assert complete is not None
    core.on_frames(0.0, ROUTING_ID, encoded(Cancel(), client.epoch, 5))
    assert gone == [complete.key]
    assert not client.running_bytes
    result = data_chunks(activation(), is_result=True)[0]
    core.queue_answer(complete.key, [outgoing(result, epoch=client.epoch, request_id=5)])
    assert not any(isinstance(message, Chunk) for message in said(client))


def test_a_profile_that_does_not_fit_is_said_and_stops_nobody() -> None:
    core, _ = new_server()
    core._reception._welcome = lambda: {"profile": "x" * (5 * MIB)}
    core.on_frames(0.0, ROUTING_ID, encoded(hello(), 0, 1))
    assert [refuse.code for refuse in refusals(core)] == ["internal"]
    assert not core.clients


def test_the_error_tree_of_the_far_end_crosses_by_name() -> None:
    pair = Pair()
    pair.connect()
    request_id = pair.open(activation())
    pair.exchange()
    pair.server.queue_answer(
        pair.complete[0].key,
        [outgoing(ErrorReply("codec", "cannot decode"), epoch=pair.session.epoch, request_id=request_id)],
    )
    pair.exchange()
    outcome = pair.session.requests.outcome(request_id)
    assert isinstance(outcome, RemoteError)
    assert not isinstance(outcome, LinkError)
    assert outcome.code == "codec"
