"""Fetching a file under hypothesis: it arrives wherever the link breaks, and no peer gets further than the protocol."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from splitd.errors import LinkError, PeerError
from splitd.transport.device.fetch_core import FetchCore
from splitd.transport.server.file_desk import FileDesk
from splitd.transport.wire.handshake import newcomer
from splitd.transport.wire.limits import EndpointLimits, SessionLimits
from splitd.transport.wire.messages import Ack, FilePart, GetFile, Message, Offer
from tests.property.test_wire_properties import messages
from tests.protocol_pair import encoded
from tests.support.file_pair import ROUTING_ID, FilePair, new_core, noise, offer_of

CONTENT = noise(700_001)


@settings(deadline=None)
@given(st.lists(st.integers(1, 12), max_size=6), st.integers(1, len(CONTENT)))
def test_the_file_arrives_wherever_the_link_breaks(budgets: list[int], size: int) -> None:
    pair = FilePair(CONTENT[:size], EndpointLimits(file_window_bytes=200_000))
    for pair.budget in budgets:
        if len(pair.received) < size:
            before = len(pair.received)
            pair.connect()
            assert len(pair.received) >= before
            pair.break_link()
    pair.budget = 10**9
    if len(pair.received) < size:
        pair.connect()
    assert bytes(pair.received) == CONTENT[:size]
    assert pair.most_in_flight_bytes <= 200_000


@settings(deadline=None)
@given(
    st.lists(st.tuples(messages, st.sampled_from([0, 100]), st.integers(999, 1003)), max_size=12),
    st.sampled_from([True, False]),
)
def test_whatever_a_server_says_only_typed_errors_escape_and_no_byte_is_taken_out_of_order(
    script: list[tuple[Message, int, int]], opened: bool
) -> None:
    ids = iter(range(1000, 2000))
    core = FetchCore("it", newcomer("1", "device"), SessionLimits(), lambda: next(ids))
    core.on_connected(0.0)
    offer = offer_of(CONTENT)
    taken = 0
    if opened:
        core.on_frames(0.0, encoded(offer, 100, 1000))
        core.ask(0)
    with contextlib.suppress(PeerError, LinkError):
        for message, epoch, request_id in script:
            event = core.on_frames(0.0, encoded(message, epoch, request_id))
            if isinstance(event, Offer):
                offer, taken = event, 0
                core.ask(0)
            elif isinstance(event, FilePart):
                assert event.offset == taken
                taken += len(event.payload)
                assert taken <= offer.n_bytes


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(CONTENT)), st.integers(1, len(CONTENT)), st.integers(0, len(CONTENT))), max_size=8
    )
)
def test_whatever_a_device_asks_for_it_gets_only_bytes_of_the_file_within_window_and_total(
    script: list[tuple[int, int, int]],
) -> None:
    limits = EndpointLimits(file_window_bytes=150_000)
    core = new_core(offer_of(CONTENT), limits)
    core.on_frames(0.0, ROUTING_ID, encoded(newcomer("1", "device"), 0, 7))
    client = core.clients[ROUTING_ID]
    sent = 0
    for offset, n_bytes, acknowledged in script:
        core.on_frames(
            0.0, ROUTING_ID, encoded(GetFile(offer_of(CONTENT).file_digest, offset, n_bytes), client.epoch, 5)
        )
        if ROUTING_ID not in core.clients:
            return
        sent += _send_due(core.files, core.clients[ROUTING_ID])
        assert sent <= len(CONTENT)
        core.on_frames(0.0, ROUTING_ID, encoded(Ack(acknowledged), client.epoch))
        if ROUTING_ID not in core.clients:
            assert acknowledged > sent
            return


def _send_due(files: FileDesk, client) -> int:  # type: ignore[no-untyped-def]
    sent = 0
    while (due := files.due(client)) is not None:
        assert 0 <= due.offset < due.offset + due.n_bytes <= len(CONTENT)
        files.on_sent(client, due)
        sent += due.n_bytes
        assert client.window.in_flight_bytes <= 150_000
    return sent
