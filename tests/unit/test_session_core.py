"""The device's side of the protocol on a simulated clock: handshake, liveness, losses, what counts as an answer."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from splitd.errors import LinkError, OverloadError, RemoteError, UsageError
from splitd.transport.device.requests import Reply, RequestMeta
from splitd.transport.device.session_state import TRANSITIONS, Event, SessionState, follow
from splitd.transport.estimate.link import LinkEstimator, Transfer
from splitd.transport.wire import frames as wire
from splitd.transport.wire.limits import KIB, MIB, SessionLimits
from splitd.transport.wire.messages import Ack, Bye, ErrorReply, Ping, Refuse, TensorMeta
from tests.protocol_pair import MODEL, ROUTING_ID, Pair, activation, data_chunks, encoded, hello


class RecordingEstimator(LinkEstimator):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.rtts_s: list[float | None] = []
        self.transfers: list[Transfer] = []
        self.ups = self.downs = self.failed_probes = 0

    def on_ping(self, now_s: float, rtt_s: float | None) -> None:
        self.rtts_s.append(rtt_s)

    def on_transfer(self, now_s: float, transfer: Transfer) -> None:
        self.transfers.append(transfer)

    def on_probe_failed(self, now_s: float) -> None:
        self.failed_probes += 1

    def on_up(self, now_s: float) -> None:
        self.ups += 1

    def on_down(self, now_s: float) -> None:
        self.downs += 1


@pytest.fixture
def pair() -> Pair:
    joined = Pair(estimator=RecordingEstimator())
    joined.connect()
    return joined


def reply_of(pair: Pair, request_id: int) -> Reply:
    outcome = pair.session.requests.outcome(request_id)
    assert isinstance(outcome, Reply), outcome
    return outcome


def test_the_table_knows_every_state_and_leads_out_of_each() -> None:
    assert {before for before, _ in TRANSITIONS} == set(SessionState)
    for state in SessionState:
        assert any(before is state and after is not state for (before, _), after in TRANSITIONS.items())
    assert follow(SessionState.DOWN, Event.HEARD) is SessionState.DOWN


def test_a_handshake_makes_the_session_ready(pair: Pair) -> None:
    assert pair.session.state is SessionState.READY
    assert pair.session.server is not None
    assert (pair.session.server.name, pair.session.server.version) == ("server", "2")
    assert pair.session.epoch == 100


def test_before_the_handshake_no_request_can_be_opened() -> None:
    with pytest.raises(LinkError):
        Pair().open(activation())


def test_a_request_comes_back_with_timings_and_both_transfers(pair: Pair) -> None:
    request_id = pair.open(activation())
    pair.exchange()
    pair.now_s += 0.5
    pair.answer(pair.complete[0], np.arange(10, dtype=np.int64).reshape(2, 5))
    pair.exchange()
    reply = reply_of(pair, request_id)
    np.testing.assert_array_equal(reply.outputs[0], np.arange(10).reshape(2, 5))
    assert reply.server.compute_s == 0.03
    assert len(reply.up.arrivals) == 6
    assert reply.up.n_bytes == sum(arrival.n_bytes for arrival in reply.up.arrivals) > 300_000
    assert reply.up.elapsed_s == pytest.approx(0.0)  # the half second at the server is not the link's
    assert [arrival.t_s for arrival in reply.down.arrivals] == [pair.now_s] * 2
    assert pair.session._estimator.transfers == [reply.up, reply.down]


def test_pings_give_round_trips_only_while_no_data_crosses(pair: Pair) -> None:
    estimator = pair.session._estimator
    pair.pass_time(1.0)
    pair.device_sends()
    pair.now_s += 0.02
    pair.server_sends()
    pair.pass_time(1.0)
    pair.device_sends()
    pair.open(activation())
    pair.device_sends()
    pair.now_s += 0.3
    pair.exchange()
    assert estimator.rtts_s == [pytest.approx(0.02), None]


def test_a_ping_that_met_data_is_repeated_in_the_first_quiet_moment(pair: Pair) -> None:
    estimator = pair.session._estimator
    pair.open(activation())
    pair.pass_time(0.0)  # the ping behind the data
    assert pair.device_sends() > 1
    pair.now_s += 0.3
    pair.server_sends()
    assert estimator.rtts_s == [None]
    pair.pass_time(0.1)  # everything is acknowledged: long before the next regular ping
    assert pair.device_sends() == 1
    pair.pass_time(0.02)
    pair.server_sends()
    assert estimator.rtts_s == [None, pytest.approx(0.02)]
    pair.pass_time(0.1)
    assert pair.device_sends() == 0


def test_pongs_carry_the_load_of_the_server(pair: Pair) -> None:
    pair.pass_time(1.0)
    pair.exchange()
    assert pair.session.server_load is not None
    assert (pair.session.server_load.queue_s, pair.session.server_load.load) == (0.25, 0.75)
    assert pair.session.server_load_s == pair.now_s


def test_silence_makes_suspect_then_down_and_ends_requests_at_once(pair: Pair) -> None:
    request_id = pair.open(activation(1 * KIB))
    pair.exchange()
    pair.pass_time(2.6)
    assert pair.session.state is SessionState.SUSPECT
    assert pair.session.requests.outcome(request_id) is None
    pair.pass_time(2.5)
    assert pair.session.state is SessionState.DOWN
    assert isinstance(pair.session.requests.outcome(request_id), LinkError)
    assert "silent for 5.1 s" in str(pair.session.error)
    assert pair.session.take_reset()
    assert not pair.session.take_reset()
    assert pair.session._estimator.downs == 1


def test_one_late_word_ends_the_suspicion(pair: Pair) -> None:
    pair.pass_time(2.6)
    pair.exchange()
    assert pair.session.state is SessionState.READY
    assert pair.session.error is None


def test_acknowledgements_keep_a_long_transfer_on_a_slow_link_alive(pair: Pair) -> None:
    """At 40 KB/s an acknowledgement of 128 KiB takes 3.3 s, longer than the plain suspicion limit."""
    pair.open(activation(2 * MIB))
    for received in range(128 * KIB, 1 * MIB, 128 * KIB):
        for _ in range(33):
            pair.pass_time(0.1)
            assert pair.session.state is SessionState.READY
        pair.session.on_frames(pair.now_s, encoded(Ack(received), pair.session.epoch))


def test_data_in_flight_does_not_keep_a_dead_server_alive_for_long(pair: Pair) -> None:
    pair.open(activation(2 * MIB))
    pair.pass_time(7.1)
    assert pair.session.state is SessionState.DOWN


def test_a_broken_connection_ends_requests_at_once_and_a_new_one_has_a_new_epoch(pair: Pair) -> None:
    request_id = pair.open(activation())
    pair.session.on_disconnected(pair.now_s, "hung up")
    assert isinstance(pair.session.requests.outcome(request_id), LinkError)
    assert len(pair.session.outbox) == 0
    old_epoch = 100
    pair.connect()
    assert pair.session.state is SessionState.READY
    assert pair.session.epoch != old_epoch
    assert pair.session.counters.reconnects == 1
    assert pair.session._estimator.ups == 2


def test_what_an_old_epoch_says_is_dropped(pair: Pair) -> None:
    pair.session.on_disconnected(pair.now_s, "hung up")
    pair.connect()
    pair.session.on_frames(pair.now_s, encoded(Bye("I am the old server"), 100))
    assert pair.session.state is SessionState.READY
    assert pair.session.counters.stale_messages == 1


def test_a_late_answer_to_a_closed_request_is_dropped_but_acknowledged(pair: Pair) -> None:
    request_id = pair.open(activation())
    pair.device_sends()
    pair.answer(pair.complete[0], np.zeros(200_000, np.uint8))
    pair.session.close_request(request_id, pair.now_s)
    pair.server_sends()  # the answer crosses our cancellation on the way
    pair.exchange()
    assert pair.session.counters.late_messages > 0
    assert pair.session.state is SessionState.READY
    assert pair.server.clients[ROUTING_ID].window.in_flight_bytes == 0
    assert isinstance(pair.session.requests.outcome(request_id), UsageError)


def test_closing_a_request_takes_back_its_queued_chunks_and_tells_the_server(pair: Pair) -> None:
    first = pair.open(activation())
    pair.exchange()
    second = pair.open(activation())
    pair.session.close_request(second, pair.now_s)
    pair.session.close_request(first, pair.now_s)
    assert pair.session.window.in_flight_bytes == 0
    pair.exchange()
    assert [key[2] for key in pair.gone] == [first]
    assert pair.server.clients[ROUTING_ID].open_requests == 0


def test_a_typed_error_of_the_server_ends_the_request(pair: Pair) -> None:
    request_id = pair.open(activation())
    pair.session.on_frames(pair.now_s, encoded(ErrorReply("overload", "too busy"), pair.session.epoch, request_id))
    outcome = pair.session.requests.outcome(request_id)
    assert isinstance(outcome, RemoteError)
    assert (outcome.code, str(outcome)) == ("overload", "too busy")
    assert pair.session.window.in_flight_bytes == 0


def test_the_number_of_open_requests_is_limited() -> None:
    pair = Pair(session_limits=SessionLimits(max_open_requests=2))
    pair.connect()
    pair.open(activation())
    pair.open(activation())
    with pytest.raises(OverloadError):
        pair.open(activation())


def test_another_model_is_refused_with_both_digests_and_asked_again_later() -> None:
    pair = Pair(greeting=hello(model_digest="ee" * 16))
    pair.connect()
    assert pair.session.state is SessionState.REFUSED
    assert "ee" * 16 in str(pair.session.error)
    assert MODEL in str(pair.session.error)
    pair.server._reception._model_digest = "ee" * 16  # the server is restarted with our model
    pair.pass_time(4.9)
    assert len(pair.session.outbox) == 0
    pair.pass_time(0.2)
    pair.exchange()
    assert pair.session.state is SessionState.READY


def test_other_cuts_are_refused() -> None:
    pair = Pair(greeting=hello(cut_names_hash="ee" * 16))
    pair.connect()
    assert pair.session.state is SessionState.REFUSED
    assert "cuts" in str(pair.session.error)


def test_a_server_of_another_protocol_version_is_refused_by_name(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(wire, "PROTOCOL_VERSION", 9)
        frames = encoded(Refuse("version", "I speak version 9"), 0, 5)
    newcomer = Pair()
    newcomer.session._greeter._new_id = itertools.count(5).__next__
    newcomer.session.on_connected(0.0)
    newcomer.session.on_frames(0.0, frames)
    assert newcomer.session.state is SessionState.REFUSED
    assert newcomer.session.error == "I speak version 9"


def test_a_refused_key_is_an_error_that_people_can_read() -> None:
    pair = Pair()
    pair.session.on_key_refused(1.0, "the key is not allowed")
    assert (pair.session.state, pair.session.error) == (SessionState.REFUSED, "the key is not allowed")


def test_a_server_that_forgot_us_gets_a_new_hello(pair: Pair) -> None:
    request_id = pair.open(activation(1 * KIB))
    pair.server.forget(ROUTING_ID)
    pair.exchange()
    assert pair.session.state is SessionState.READY
    assert pair.session.epoch == 101
    assert isinstance(pair.session.requests.outcome(request_id), LinkError)


def test_a_good_bye_ends_requests_and_the_server_is_asked_again(pair: Pair) -> None:
    request_id = pair.open(activation())
    pair.server.say_bye("maintenance")
    pair.server_sends()
    assert pair.session.state is SessionState.DOWN
    assert "maintenance" in str(pair.session.error)
    assert isinstance(pair.session.requests.outcome(request_id), LinkError)
    pair.pass_time(5.1)
    pair.exchange()
    assert pair.session.state is SessionState.READY


def test_the_reason_of_a_good_bye_outlives_the_hang_up_that_follows(pair: Pair) -> None:
    pair.server.say_bye("maintenance")
    pair.server_sends()
    pair.session.on_disconnected(pair.now_s, "hung up")
    assert "maintenance" in str(pair.session.error)


@pytest.mark.parametrize("arrived", [False, True])
def test_a_request_that_is_given_up_puts_the_rates_in_doubt(pair: Pair, arrived: bool) -> None:
    request_id = pair.open(activation())
    if arrived:
        pair.exchange()
        assert pair.session.window.in_flight_bytes == 0
    pair.session.close_request(request_id, pair.now_s)
    assert pair.session._estimator.failed_probes == 1


def test_a_request_that_was_answered_does_not(pair: Pair) -> None:
    request_id = pair.open(activation())
    pair.exchange()
    pair.answer(pair.complete[0], np.zeros(4, np.int64))
    pair.exchange()
    pair.session.close_request(request_id, pair.now_s)
    assert pair.session._estimator.failed_probes == 0


def test_a_hello_without_answer_is_given_up() -> None:
    pair = Pair()
    pair.session.on_connected(pair.now_s)
    pair.pass_time(20.1)
    assert pair.session.state is SessionState.DOWN
    assert pair.session.take_reset()


@pytest.mark.parametrize("frames", [[b"noise"], [b"", b""], []])
def test_a_server_that_breaks_the_protocol_is_left(pair: Pair, frames: list[bytes]) -> None:
    pair.session.on_frames(pair.now_s, frames)
    assert pair.session.state is SessionState.DOWN
    assert pair.session.take_reset()
    assert pair.session.counters.wire_errors == 1


def test_impossible_messages_of_a_server_cost_the_connection(pair: Pair) -> None:
    request_id = pair.open(activation(1 * KIB))
    for message in (Ping(1), Ack(10**9), data_chunks(activation())[0], data_chunks(activation(), is_result=True)[0]):
        pair.session.on_frames(pair.now_s, encoded(message, pair.session.epoch, request_id))
        assert pair.session.state is SessionState.DOWN
        pair.connect()
        request_id = pair.open(activation(1 * KIB))
        pair.device_sends()


def test_an_answer_over_the_limit_costs_the_connection() -> None:
    pair = Pair(session_limits=SessionLimits(max_result_bytes=100 * KIB))
    pair.connect()
    request_id = pair.open(activation())
    pair.exchange()
    pair.answer(pair.complete[0], np.zeros(300_000, np.uint8))
    pair.exchange()
    assert isinstance(pair.session.requests.outcome(request_id), LinkError)


def test_next_wake_is_never_later_than_the_next_duty(pair: Pair) -> None:
    for _ in range(200):
        wake_s = pair.session.next_wake_s(pair.now_s)
        pair.pass_time(max(0.0, wake_s - pair.now_s))
        pair.exchange()
        assert pair.session.state is SessionState.READY


def test_a_request_must_be_one_that_can_cross() -> None:
    for cut, tensors in ((-1, 1), (65536, 1), (1, 0), (1, 129)):
        with pytest.raises(UsageError):
            RequestMeta(cut, (TensorMeta((1,)),) * tensors)
