"""A device that gets its network from the server: the protocol's two cores on a simulated clock."""

from __future__ import annotations

import numpy as np
import pytest

from splitd.errors import LinkError, RemoteError, WireError
from splitd.transport.server.client_record import ClientRecord
from splitd.transport.server.endpoint_core import EndpointCore
from splitd.transport.wire import frames as wire
from splitd.transport.wire.handshake import newcomer, refusal
from splitd.transport.wire.limits import FILE_PART_BYTES, KIB, MIB, EndpointLimits, SessionLimits
from splitd.transport.wire.messages import (
    Ack,
    Cancel,
    ErrorReply,
    FilePart,
    GetFile,
    Message,
    Offer,
    Ping,
    Pong,
    Probe,
    Refuse,
    Welcome,
)
from tests.protocol_pair import data_chunks, encoded, hello
from tests.support.file_pair import MODEL, ROUTING_ID, FilePair, new_core, noise, offer_of

CONTENT = noise(3 * MIB + 17)


def joined(core: EndpointCore) -> ClientRecord:
    """Let a device without a network in."""
    core.on_frames(0.0, ROUTING_ID, encoded(newcomer("1", "device"), 0, 7))
    return core.clients[ROUTING_ID]


def said(core: EndpointCore) -> list[Message]:
    """What the server says to anyone, parts of the file aside."""
    items = [item for _, item in core.strays]
    core.strays.clear()
    for client in core.clients.values():
        client.outbox.flush(lambda item: items.append(item) is None)
    return [wire.decode(item.frames).message for item in items]


def test_the_whole_file_comes_in_order_and_within_the_window() -> None:
    pair = FilePair(CONTENT)
    pair.connect()
    assert bytes(pair.received) == CONTENT
    assert pair.most_in_flight_bytes <= EndpointLimits().file_window_bytes
    assert pair.server.clients[ROUTING_ID].file is None
    assert pair.server.clients[ROUTING_ID].window.in_flight_bytes == 0


@pytest.mark.parametrize("size", [1, FILE_PART_BYTES, FILE_PART_BYTES + 1])
def test_files_of_any_size_come(size: int) -> None:
    pair = FilePair(CONTENT[:size])
    pair.connect()
    assert bytes(pair.received) == CONTENT[:size]


def test_a_fetch_goes_on_where_the_link_broke() -> None:
    pair = FilePair(CONTENT)
    pair.budget = 11
    pair.connect()
    assert len(pair.received) == 10 * FILE_PART_BYTES
    pair.break_link()
    pair.budget = 10**9
    pair.connect()
    assert bytes(pair.received) == CONTENT


def test_a_server_without_a_file_says_so_and_how_to_mend_it() -> None:
    pair = FilePair(CONTENT)
    pair.server = new_core(None)
    with pytest.raises(LinkError, match=r"the server refuses .*no-bundle.*model.bundle: FILE"):
        pair.connect()


def test_an_older_server_refuses_a_device_without_a_network_by_its_digest() -> None:
    refuse = refusal(newcomer("2", "device"), model_digest=MODEL, cut_names_hash="cd" * 16)
    assert refuse is not None
    assert refuse.code == "model-mismatch"
    pair = FilePair(CONTENT)
    pair.device.on_connected(pair.now_s)
    pair.device.outbox.clear()
    with pytest.raises(LinkError, match="model-mismatch"):
        pair.device.on_frames(pair.now_s, encoded(refuse, 0, 1001 - 1))


def test_a_full_server_is_asked_again_later() -> None:
    pair = FilePair(CONTENT, EndpointLimits(max_clients=1))
    pair.server.on_frames(pair.now_s, b"other", encoded(hello(), 0, 1))
    pair.connect()
    assert pair.device.trouble is not None
    assert "already" in pair.device.trouble
    pair.server.forget(b"other")
    pair.now_s += SessionLimits().refused_retry_s
    pair.device.on_tick(pair.now_s)
    pair.exchange()
    assert bytes(pair.received) == CONTENT
    assert pair.device.trouble is None


def test_a_forgotten_device_says_hello_again_and_goes_on() -> None:
    pair = FilePair(CONTENT)
    pair.budget = 5
    pair.connect()
    pair.budget = 10**9
    pair.server.forget(ROUTING_ID)
    pair.now_s += SessionLimits().ping_interval_s
    pair.device.on_tick(pair.now_s)
    pair.exchange()
    pair.device.on_tick(pair.now_s)
    pair.exchange()
    assert bytes(pair.received) == CONTENT


def test_a_server_that_falls_silent_costs_the_connection() -> None:
    pair = FilePair(CONTENT)
    pair.budget = 5
    pair.connect()
    while not pair.device.take_reset():
        assert pair.now_s < 60.0
        pair.now_s = max(pair.now_s, pair.device.next_wake_s())
        pair.device.on_tick(pair.now_s)
    assert pair.now_s - 50.0 == pytest.approx(6.0)
    assert pair.device.trouble is not None
    assert "silent" in pair.device.trouble
    assert pair.device.offer is None


def test_a_hello_without_an_answer_costs_the_connection() -> None:
    pair = FilePair(CONTENT)
    pair.device.on_connected(pair.now_s)
    pair.device.on_tick(pair.now_s + SessionLimits().hello_timeout_s)
    assert pair.device.take_reset()
    assert not pair.device.take_reset()


def test_a_server_that_closes_is_waited_for() -> None:
    pair = FilePair(CONTENT)
    pair.budget = 5
    pair.connect()
    pair.budget = 10**9
    pair.server.say_bye("maintenance")
    pair.exchange()
    assert pair.device.trouble is not None
    assert "maintenance" in pair.device.trouble
    pair.break_link()
    pair.connect()
    assert bytes(pair.received) == CONTENT


# A hostile server


@pytest.mark.parametrize(
    "message",
    [
        FilePart(5, b"x"),
        FilePart(MIB, b"x"),
        FilePart(2**35, b"x"),
        FilePart(0, bytes(MIB)),
        Welcome(MIB, 1, {}),
        GetFile("00" * 16, 0, 1),
        Probe(0, 1, b""),
    ],
)
def test_what_does_not_continue_the_file_is_misbehaviour(message: Message) -> None:
    pair = FilePair(CONTENT[: 100 * KIB])
    pair.budget = 1  # the offer
    pair.connect()
    with pytest.raises(WireError, match="the server broke the protocol"):
        pair.device.on_frames(pair.now_s, encoded(message, 100, 1001))


def test_parts_that_nobody_asked_for_and_more_than_was_offered_are_misbehaviour() -> None:
    pair = FilePair(CONTENT[:10])
    pair.connect()
    with pytest.raises(WireError, match="bytes 10 to 11"):
        pair.device.on_frames(pair.now_s, encoded(FilePart(10, b"x"), 100, 1001))


def test_a_part_under_another_id_is_misbehaviour() -> None:
    pair = FilePair(CONTENT[:10])
    pair.budget = 1
    pair.connect()
    with pytest.raises(WireError):
        pair.device.on_frames(pair.now_s, encoded(FilePart(0, b"x"), 100, 5))


def test_a_welcome_in_place_of_an_offer_is_misbehaviour() -> None:
    pair = FilePair(CONTENT)
    pair.device.on_connected(pair.now_s)
    with pytest.raises(WireError, match="WELCOME"):
        pair.device.on_frames(pair.now_s, encoded(Welcome(MIB, 1, {}), 100, 1000))


def test_messages_of_another_epoch_and_answers_to_other_hellos_are_nothing() -> None:
    pair = FilePair(CONTENT[:10])
    pair.device.on_connected(pair.now_s)
    assert pair.device.on_frames(pair.now_s, encoded(offer_of(b"other"), 5, 999)) is None
    assert pair.device.on_frames(pair.now_s, encoded(FilePart(0, b"x"), 0, 0)) is None
    pair.exchange()
    assert pair.device.on_frames(pair.now_s, encoded(FilePart(7, b"x"), 99, 1001)) is None
    assert bytes(pair.received) == CONTENT[:10]


def test_a_server_that_cannot_read_its_file_ends_the_fetch_with_its_reason() -> None:
    pair = FilePair(CONTENT)
    pair.budget = 3
    pair.connect()
    with pytest.raises(RemoteError, match="cut short") as caught:
        pair.device.on_frames(pair.now_s, encoded(ErrorReply("state", "cut short"), 100, 1001))
    assert caught.value.code == "state"


# A hostile device


@pytest.mark.parametrize(
    "gets",
    [
        [("ee" * 16, 0, 1)],
        [(None, 0, len(CONTENT) + 1)],
        [(None, len(CONTENT), 1)],
        [(None, 2**35, 2**35)],
        [(None, 0, len(CONTENT)), (None, 0, 1)],
    ],
    ids=["another file", "too much", "behind the end", "huge", "twice at once"],
)
def test_who_asks_for_what_is_not_offered_loses_its_place(gets: list[tuple[str | None, int, int]]) -> None:
    core = new_core(offer_of(CONTENT))
    client = joined(core)
    for digest, offset, n_bytes in gets:
        get = GetFile(digest or offer_of(CONTENT).file_digest, offset, n_bytes)
        core.on_frames(0.0, ROUTING_ID, encoded(get, client.epoch, 5))
    assert core.clients == {}
    assert [message.code for message in said(core) if isinstance(message, Refuse)] == ["wire"]


def test_nobody_gets_more_than_the_file_in_one_epoch() -> None:
    content = CONTENT[:1000]
    core = new_core(offer_of(content))
    client = joined(core)
    for _ in range(2):
        core.on_frames(0.0, ROUTING_ID, encoded(GetFile(offer_of(content).file_digest, 0, 501), client.epoch, 5))
        if (due := core.files.due(client)) is not None:
            core.files.on_sent(client, due)
            core.on_frames(0.0, ROUTING_ID, encoded(Ack(501), client.epoch))
            assert client.file is None
    assert core.clients == {}


@pytest.mark.parametrize("message", [data_chunks(np.zeros(4, np.float32))[0], Cancel(), Probe(0, 1, b"x")], ids=type)
def test_a_device_without_a_network_may_do_nothing_but_fetch(message: Message) -> None:
    core = new_core(offer_of(CONTENT))
    client = joined(core)
    assert core.on_frames(0.0, ROUTING_ID, encoded(message, client.epoch, 5)) is None
    assert core.clients == {}


def test_a_device_with_a_network_may_not_fetch() -> None:
    core = new_core(offer_of(CONTENT))
    core.on_frames(0.0, ROUTING_ID, encoded(hello(), 0, 7))
    epoch = core.clients[ROUTING_ID].epoch
    assert isinstance(said(core)[0], Welcome)
    core.on_frames(0.0, ROUTING_ID, encoded(GetFile(offer_of(CONTENT).file_digest, 0, 1), epoch, 5))
    assert core.clients == {}


def test_a_stranger_cannot_fetch() -> None:
    core = new_core(offer_of(CONTENT))
    core.on_frames(0.0, b"stranger", encoded(GetFile(offer_of(CONTENT).file_digest, 0, 1), 100, 5))
    assert [message.code for message in said(core) if isinstance(message, Refuse)] == ["hello"]


def test_a_device_that_does_not_read_gets_a_window_and_is_forgotten_though_it_pings() -> None:
    limits = EndpointLimits(file_window_bytes=256 * KIB, client_idle_s=30.0)
    core = new_core(offer_of(CONTENT), limits)
    client = joined(core)
    core.on_frames(0.0, ROUTING_ID, encoded(GetFile(offer_of(CONTENT).file_digest, 0, len(CONTENT)), client.epoch, 5))
    sent = 0
    while (due := core.files.due(client)) is not None:
        core.files.on_sent(client, due)
        sent += due.n_bytes
    assert sent == 256 * KIB
    for second in range(1, 31):
        core.on_frames(float(second), ROUTING_ID, encoded(Ping(second), client.epoch))
        core.on_frames(float(second), ROUTING_ID, encoded(Ack(0), client.epoch))
        core.on_tick(float(second))
        assert len(core.clients) == 1
    core.on_tick(30.5)
    assert core.clients == {}
    assert core.counters.lost_clients == 1


def test_a_device_that_acknowledges_what_it_never_got_loses_its_place() -> None:
    core = new_core(offer_of(CONTENT))
    client = joined(core)
    core.on_frames(0.0, ROUTING_ID, encoded(Ack(1), client.epoch))
    assert core.clients == {}


def test_pings_are_answered_while_a_file_is_on_its_way() -> None:
    core = new_core(offer_of(CONTENT))
    client = joined(core)
    assert [type(message) for message in said(core)] == [Offer]
    core.on_frames(0.0, ROUTING_ID, encoded(GetFile(offer_of(CONTENT).file_digest, 0, 9), client.epoch, 5))
    core.on_frames(0.0, ROUTING_ID, encoded(Ping(4), client.epoch))
    assert [message.sequence for message in said(core) if isinstance(message, Pong)] == [4]


def test_a_device_that_is_done_leaves() -> None:
    pair = FilePair(CONTENT)
    pair.connect()
    pair.device.say_bye("done")
    pair.exchange()
    assert pair.server.clients == {}
