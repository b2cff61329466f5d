"""Active probes on both protocol cores: only when idle, timed by the server, out of the way of data."""

from __future__ import annotations

import pytest

from splitd.errors import WireError
from splitd.transport.device.probing import Probing
from splitd.transport.device.session_state import SessionState
from splitd.transport.estimate.observations import Transfer
from splitd.transport.estimate.prober import ProbeConfig, Prober
from splitd.transport.wire.messages import ArrivalTimes, ProbeReport
from tests.protocol_pair import Pair, activation
from tests.unit.test_session_core import RecordingEstimator


@pytest.fixture
def estimator() -> RecordingEstimator:
    return RecordingEstimator()


@pytest.fixture
def pair(estimator: RecordingEstimator) -> Pair:
    made = Pair(estimator=estimator, probe_share=0.01)
    made.connect()
    made.pass_time(0.0)
    assert made.session.counters.probes == 0  # the first ping measures an empty link
    made.exchange()
    return made


def probes(estimator: RecordingEstimator) -> list[Transfer]:
    return [transfer for transfer in estimator.transfers if transfer.kind == "probe"]


def test_an_idle_link_of_unknown_rate_is_probed_and_the_server_times_it(
    pair: Pair, estimator: RecordingEstimator
) -> None:
    pair.pass_time(0.1)
    pair.device_sends()
    pair.now_s += 0.04
    pair.server_sends()
    (transfer,) = probes(estimator)
    assert transfer.direction == "up"
    assert sum(arrival.n_bytes for arrival in transfer.arrivals) == transfer.n_bytes
    assert len(transfer.arrivals) > 2
    assert transfer.elapsed_s == pytest.approx(0.04)
    assert pair.session.counters.probes == 1
    assert pair.session.window.in_flight_bytes == 0


def test_a_probe_that_does_not_come_back_makes_the_rate_unknown(pair: Pair, estimator: RecordingEstimator) -> None:
    pair.pass_time(0.1)
    pair.session.outbox.clear()  # lost on the way
    pair.session.window.take_back(pair.session.window.in_flight_bytes)
    for _ in range(100):
        pair.pass_time(0.1)
        if pair.session.counters.failed_probes:
            break
        pair.exchange()
    assert estimator.failed_probes == 1
    assert pair.session.counters.failed_probes == 1


def test_a_late_probe_makes_the_rate_unknown_until_its_report_comes(pair: Pair, estimator: RecordingEstimator) -> None:
    pair.pass_time(0.1)
    pair.device_sends()
    pair.pass_time(0.5)
    assert estimator.failed_probes == 1
    pair.server_sends()
    (transfer,) = probes(estimator)
    assert transfer.elapsed_s == pytest.approx(0.5)
    assert pair.session.counters.failed_probes == 0


def test_no_probe_starts_while_a_request_is_under_way(pair: Pair) -> None:
    pair.open(activation())
    pair.exchange()
    for _ in range(40):
        pair.pass_time(0.1)
        pair.exchange()
    assert pair.session.counters.probes == 0


def test_a_waiting_probe_gives_way_to_data(pair: Pair, estimator: RecordingEstimator) -> None:
    pair.pass_time(0.1)
    assert pair.session.counters.probes == 1
    pair.open(activation())
    assert pair.session.window.in_flight_bytes == activation().nbytes
    pair.exchange()
    assert len(pair.complete) == 1
    assert probes(estimator) == []
    assert estimator.failed_probes == 0


def test_a_probe_that_data_overtook_teaches_nothing(pair: Pair, estimator: RecordingEstimator) -> None:
    pair.pass_time(0.1)
    assert pair.device_sends() > 1
    pair.open(activation())
    pair.device_sends()
    pair.exchange()
    assert probes(estimator) == []
    assert estimator.failed_probes == 0


def test_a_probe_ends_with_its_connection(pair: Pair, estimator: RecordingEstimator) -> None:
    pair.pass_time(0.1)
    assert pair.session.counters.probes == 1
    pair.session.on_disconnected(pair.now_s, "hung up")
    pair.connect()
    for _ in range(30):
        pair.pass_time(0.1)
        pair.exchange()
    assert pair.session.state is SessionState.READY
    assert estimator.failed_probes == 0
    assert probes(estimator)


def test_a_report_of_another_number_of_messages_is_a_wire_error(estimator: RecordingEstimator) -> None:
    probing = Probing(estimator, Prober(ProbeConfig()))
    assert probing.due(1.0, 7)
    with pytest.raises(WireError):
        probing.on_report(7, 1.1, ProbeReport(0.0, ArrivalTimes((0.0,), (100,))))


def test_a_report_for_an_unknown_probe_is_nothing(estimator: RecordingEstimator) -> None:
    Probing(estimator, Prober(ProbeConfig())).on_report(7, 1.1, ProbeReport(0.0, ArrivalTimes((0.0,), (100,))))
    assert estimator.transfers == []
