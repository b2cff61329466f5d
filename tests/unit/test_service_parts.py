"""Small parts of the daemons: notifications, log limits, reload, phases, history."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from splitd.agent.client.documents import Record
from splitd.agent.client.protocol import Source
from splitd.agent.configuration.reload import reloaded
from splitd.agent.configuration.schema import AgentConfig, PlannerSection
from splitd.agent.device.running import live_keys
from splitd.agent.runtime.history import History
from splitd.agent.runtime.logs import JournalFormatter, RepeatLimit
from splitd.agent.runtime.notify import notify, watchdog_interval_s
from splitd.agent.runtime.phase import Phase, StoppedError
from splitd.agent.runtime.views import positive, whole
from splitd.errors import UsageError


def test_notifications_reach_the_service_managers_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        assert notify("READY=1", "STATUS=ok")
        assert manager.recv(100) == b"READY=1\nSTATUS=ok"


def test_without_a_service_manager_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not notify("READY=1")


def test_the_watchdog_is_fed_twice_as_often_as_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    assert watchdog_interval_s() == 5.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_interval_s() is None


def test_every_line_of_a_journal_record_has_its_priority() -> None:
    record = logging.LogRecord("splitd.x", logging.WARNING, "", 0, "one\ntwo", None, None)
    assert JournalFormatter("%(message)s").format(record) == "<4>one\n<4>two"


def test_repeated_lines_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr("splitd.agent.runtime.logs.time.monotonic", lambda: now_s[0])
    limit = RepeatLimit()

    def log_once() -> str | None:
        record = logging.LogRecord("splitd.x", logging.INFO, "", 0, "down", None, None)
        return record.getMessage() if limit.filter(record) else None

    assert [log_once() for _ in range(3)] == ["down", None, None]
    now_s[0] = 2.0
    assert log_once() == "down (2 like it left out)"


def test_reload_takes_over_what_may_change_and_names_the_rest() -> None:
    old = AgentConfig.model_validate({"server": {"address": "tcp://127.0.0.1:1"}})
    new = old.model_copy(
        update={"planner": PlannerSection(privacy=True), "device": old.device.model_copy(update={"threads": 3})}
    )
    message, merged = reloaded(old, new, live=("planner",))
    assert message == "configuration read again; now in force: planner; needs a restart: device"
    assert merged.planner.privacy
    assert merged.device == old.device
    assert "nothing has changed" in reloaded(old, old, live=("planner",))[0]


def test_codecs_that_were_not_calibrated_wait_for_a_restart() -> None:
    old = PlannerSection()
    assert "planner" in live_keys(old, PlannerSection(privacy=True))
    assert "planner" not in live_keys(old, PlannerSection(codecs=("f16",)))


def test_a_stopping_daemon_leaves_calibration_and_never_looks_ready_again() -> None:
    phase = Phase()
    phase.calibrating(0.5, "heads")
    assert (phase.state, phase.text) == ("calibrating", "calibrating, 50%: heads")
    phase.stop()
    with pytest.raises(StoppedError):
        phase.calibrating(0.6, "heads")
    phase.set("ready", "")
    assert phase.state == "stopping"


def record(split: str, source: Source = "server", hindsight_s: float = 0.1) -> Record:
    return Record(
        time=0.0,
        batch=1,
        split=split,
        codec="u8",
        source=source,
        explored=False,
        predicted_s=0.1,
        predicted_p90_s=0.2,
        measured_s=0.1,
        hindsight_s=hindsight_s,
        rate_bytes_per_s=None,
        wire_bytes=10,
        timings={},
        cause=None,
    )


def test_history_counts_batches_switches_and_sources_and_is_bounded() -> None:
    history = History(kept=2)
    switched = [history.add(record(split)) for split in ("a", "a", "b")]
    assert switched == [False, False, True]
    assert (history.batches, history.switches) == (3, 1)
    assert history.by_source["server"] == 3
    assert [row.split for row in history.last(10)] == ["a", "b"]


def test_history_reports_the_regret_of_what_it_keeps() -> None:
    history = History(kept=3)
    assert history.regret() is None
    for hindsight_s in (0.01, 0.1, 0.05, 0.1):
        history.add(record("a", hindsight_s=hindsight_s))
    regret = history.regret()
    assert regret is not None
    assert (regret.median, regret.mean, regret.batches) == pytest.approx((0.0, 1.0 / 3.0, 3))


@pytest.mark.parametrize("text", ["0", "-1", "257", "1.5", "x", "", "²", "9" * 5000])
def test_a_count_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="batch: a whole number from 1 to 256"):
        whole({"batch": text}, "batch")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x", ""])
def test_a_rate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="rate: a positive number"):
        positive({"rate": text}, "rate")


def test_a_parameter_that_is_not_given_is_none() -> None:
    assert whole({}, "batch") is None
    assert positive({}, "rate") is None
    assert (whole({"batch": "256"}, "batch"), positive({"rate": "1e6"}, "rate")) == (256, 1e6)
