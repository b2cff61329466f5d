"""The flight recorder: what it writes is what it was told, every file stands by itself, and playing back is exact."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from splitd.agent.commands.replay import command
from splitd.agent.decide.candidates import Wanted
from splitd.agent.decide.decider import Decider, DeciderConfig
from splitd.agent.decide.learning import Done, Remote
from splitd.agent.decide.planner import PlannerConfig
from splitd.agent.decide.surroundings import ReportedQueue
from splitd.agent.recorder.events import Decided, Looked, Ponged, Start, Taught, read_event, write_event
from splitd.agent.recorder.recorder import FILES, MAX_WAITING, Recorder, ring_files
from splitd.agent.recorder.snapshot import resume, take_snapshot
from splitd.agent.recorder.taps import RecordedDecider, RecordedEstimator
from splitd.agent.simulation.recording import play_recording
from splitd.agent.simulation.replay import open_pair
from splitd.calibration.profile.pair import ProfilePair
from splitd.errors import InputError, StateError
from splitd.transport.estimate.observations import Arrival, Transfer

CODECS = ("f16", "u8", "u8h", "u6h")
MB = 1_000_000
REFUSALS = {(0, "raw"): "too large", (0, "jpeg90"): "too rough"}  # so that cuts inside the network are chosen, too


@pytest.fixture(scope="module")
def pair() -> ProfilePair:
    return open_pair(None)


class Flight:
    """A recorded Decider and estimator that a random script of link, server and people acts upon."""

    def __init__(self, directory: Path, pair: ProfilePair, *, size_bytes: int = 64 * MB, seed: int = 0) -> None:
        self.recorder = Recorder(directory, size_bytes)
        self.pair = pair
        self.estimator = RecordedEstimator(self.recorder)
        self.decider = RecordedDecider(
            self.recorder, pair.device, codecs=CODECS, refusals=REFUSALS, result_elements=(1000,)
        )
        self.now_s = 1000.0
        self.lock = threading.RLock()  # stands for those of Steering and session
        self.decided: list[str] = []
        self._random = random.Random(seed)  # noqa: S311 - the same script every time
        self._rate = 1e6

    def snapshot(self) -> None:
        with self.lock:
            self.recorder.put(take_snapshot(self.decider, self.estimator, self.now_s))

    def connect(self) -> None:
        with self.lock:
            self.estimator.on_up(self.now_s)
            self.decider.follow(self.pair.server)

    def reconnect(self) -> None:
        self.estimator.on_down(self.now_s)
        self.now_s += 1.0
        self.connect()

    def step(self) -> None:
        """Let something happen, mostly a batch."""
        draw = self._random
        self.now_s += draw.expovariate(3.0)
        rare: list[Callable[[], None]] = [
            lambda: self.estimator.on_probe_failed(self.now_s),
            self.reconnect,
            self.connect,
            lambda: self.decider.replace_profile(self.pair.device),
            lambda: self.decider.reconfigure(DeciderConfig(PlannerConfig(objective=draw.choice(["p50", "p90"])), 0.5)),
            lambda: self.decider.pin(draw.choice(self.pair.device.cut_names), None),
            self.decider.unpin,
        ]
        with self.lock:
            if draw.random() < 0.1:
                draw.choice(rare)()
            self.estimator.on_ping(self.now_s, draw.choice([None, 0.02 * draw.lognormvariate(0.0, 0.2)]))
        self._batch()

    def _batch(self) -> None:
        draw = self._random
        self._rate = min(1e7, max(2e4, self._rate * draw.lognormvariate(0.0, 0.3)))
        if draw.random() < 0.5:
            with self.lock:
                self.estimator.on_transfer(self.now_s, self._transfer(100_000))
        queue = draw.choice([None, ReportedQueue(draw.random() * 0.1, draw.random())])
        wanted = Wanted(
            draw.choice([1, 2, 8]), draw.choice(["uint8", "encoded"]), jpeg_bytes=draw.choice([0, 0, 0, 9000])
        )
        with self.lock:
            around = self.decider.look(self.estimator, self.now_s, queue)
            decision = self.decider.decide(wanted, around)
        self.decided.append(decision.chosen.cost.label)
        self.now_s += 0.1
        given_up = draw.random() < 0.05
        if decision.chosen.cost.kind != "local" and not given_up:
            with self.lock:
                self.estimator.on_transfer(self.now_s, self._transfer(decision.chosen.cost.wire_bytes))
        cost = decision.chosen.cost
        remote = None if cost.kind == "local" or given_up else Remote(0.0, cost.decode_s, cost.tail_s * 1.3)
        done = Done(
            self.now_s, 0.1, cost.head_s * draw.lognormvariate(0.2, 0.2), draw.random() * 0.01, wanted.batch,
            wanted.kind, given_up=given_up, remote=remote, rate_bytes_per_s=self.estimator.uplink_rate(self.now_s),
        )  # fmt: skip
        with self.lock:
            self.decider.learn(decision, done)

    def _transfer(self, n_bytes: int) -> Transfer:
        messages = max(6, n_bytes // 65_536)
        each_s = n_bytes / messages / self._rate
        arrivals = tuple(Arrival(5.0 + i * each_s, n_bytes // messages) for i in range(messages))
        elapsed_s = messages * each_s + 0.02
        return Transfer("up", "data", self.now_s - elapsed_s, self.now_s, 0.1, n_bytes, arrivals)


def fly(flight: Flight, steps: int) -> Flight:
    """Record `steps` steps, and end."""
    flight.recorder.start(flight.snapshot)
    flight.connect()
    for _ in range(steps):
        flight.step()
    flight.recorder.close()
    return flight


def test_playing_back_gives_every_decision_to_the_last_bit(tmp_path: Path, pair: ProfilePair) -> None:
    flight = fly(Flight(tmp_path, pair), 400)
    played = list(play_recording(tmp_path))
    assert [one.daemons.label for one in played] == flight.decided
    assert all(one.is_identical for one in played)
    assert len({one.ours.label for one in played}) > 3


def test_every_file_of_the_ring_can_be_played_by_itself(tmp_path: Path, pair: ProfilePair) -> None:
    flight = Flight(tmp_path / "ring", pair, size_bytes=200_000)
    flight.recorder.start(flight.snapshot)
    flight.connect()
    for _ in range(1500):
        flight.step()
    flight.recorder.close()
    files = ring_files(tmp_path / "ring")
    assert len(files) == FILES
    played = list(play_recording(tmp_path / "ring"))
    assert 50 < len(played) < 1500
    assert [one.daemons.label for one in played] == flight.decided[-len(played) :]
    assert all(one.is_identical for one in played)


def test_the_next_start_goes_on_with_the_ring(tmp_path: Path, pair: ProfilePair) -> None:
    for _ in range(FILES + 2):
        fly(Flight(tmp_path, pair), 2)
    assert [path.name for path in ring_files(tmp_path)] == [f"recording-{n:06d}.jsonl" for n in range(3, FILES + 3)]


def test_a_decision_that_differs_is_shown(tmp_path: Path, pair: ProfilePair) -> None:
    fly(Flight(tmp_path, pair), 30)
    (path,) = ring_files(tmp_path)
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        event = read_event(line)
        if isinstance(event, Taught):  # the device was slower than that
            faster = replace(event.done, head_s=event.done.head_s / 5.0)
            lines[number] = write_event(replace(event, done=faster))
    path.write_text("\n".join(lines) + "\n")
    result = CliRunner().invoke(command, ["--recording", str(tmp_path), "--json"])
    printed = json.loads(result.stdout)
    assert result.exit_code == 1
    assert printed["identical"] < len(printed["decisions"]) == 30
    shown = CliRunner().invoke(command, ["--recording", str(tmp_path)])
    assert "differ from those that the daemon made" in shown.stdout


def test_the_command_prints_the_decisions(tmp_path: Path, pair: ProfilePair) -> None:
    flight = fly(Flight(tmp_path, pair), 20)
    result = CliRunner().invoke(command, ["--recording", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "20 decisions, all identical to those that the daemon made" in result.stdout
    document = json.loads(CliRunner().invoke(command, ["--recording", str(tmp_path), "--json"]).stdout)
    assert [one["chosen"] for one in document["decisions"]] == flight.decided
    assert document["identical"] == 20


def test_what_is_lost_is_lost_up_to_the_next_snapshot(tmp_path: Path, pair: ProfilePair) -> None:
    flight = Flight(tmp_path, pair)
    flight.recorder._thread.run = lambda: None  # type: ignore[method-assign]  # a writer that hangs
    flight.recorder.start(flight.snapshot)
    for _ in range(MAX_WAITING + 10):
        flight.recorder.put(Ponged(1.0, None))
    assert flight.recorder._events.qsize() == MAX_WAITING
    waiting = [flight.recorder._events.get() for _ in range(MAX_WAITING)]
    assert isinstance(waiting[0], Start)
    flight.recorder.put(Ponged(2.0, None))
    assert flight.recorder._events.empty()  # it could not be replayed: events before it are missing
    flight.snapshot()
    flight.recorder.put(Ponged(3.0, None))
    assert flight.recorder._events.qsize() == 2


def test_a_full_disk_stops_the_recorder_and_nothing_else(tmp_path: Path, pair: ProfilePair) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    flight = Flight(blocked / "ring", pair)  # a folder inside a file cannot be made
    fly(flight, 5)
    assert flight.recorder.error is not None
    assert str(blocked) in flight.recorder.error
    with pytest.raises(StateError, match="nothing is being recorded"):
        flight.recorder.save(tmp_path / "copy")
    assert len(flight.decided) == 5


def test_saving_copies_the_ring_as_it_is_now(tmp_path: Path, pair: ProfilePair) -> None:
    flight = Flight(tmp_path / "ring", pair)
    flight.recorder.start(flight.snapshot)
    for _ in range(10):
        flight.step()
    copies = flight.recorder.save(tmp_path / "copy")
    for _ in range(10):
        flight.step()
    flight.recorder.close()
    assert [path.parent for path in copies] == [tmp_path / "copy"]
    assert len(list(play_recording(tmp_path / "copy"))) == 10
    assert len(list(play_recording(tmp_path / "ring"))) == 20


def test_events_survive_their_line(pair: ProfilePair) -> None:
    flight = Flight(Path("/nowhere"), pair)
    start = take_snapshot(flight.decider, flight.estimator, 3.0)
    decided = Decided(Wanted(1), flight.decider.costs(1)[0].key, "x", explored=True, predicted_s=0.1, give_up_s=9.0)
    for event in (start, decided, Looked(0.1 + 0.2, ReportedQueue(0.1, 0.3)), Ponged(1e-9, None)):
        assert read_event(write_event(event)) == event


def test_a_snapshot_holds_everything_that_decisions_depend_on(tmp_path: Path, pair: ProfilePair) -> None:
    flight = fly(Flight(tmp_path, pair), 60)
    flight.decider.pin("blocks.2.0", "u8")
    line = write_event(take_snapshot(flight.decider, flight.estimator, flight.now_s))
    start = read_event(line)
    assert isinstance(start, Start)
    decider, estimator = resume(start)
    assert decider.pinned == "blocks.2.0/u8"
    for batch in (1, 3):
        for rate in (1e5, 1e7):
            now_s = flight.now_s + batch
            theirs = flight.decider.explain(batch, rate, Decider.look(flight.decider, flight.estimator, now_s, None))[0]
            ours = decider.explain(batch, rate, decider.look(estimator, now_s, None))[0]
            assert ours.scored == theirs.scored


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "not an event"),
        ('["pong"]', "not an event"),
        ('["sing", {}]', "not an event"),
        ('["pong", {"now_s": "x", "rtt_s": null}]', "now_s"),
        ('["look", {"now_s": 1.0, "queue": null}]', "begins with its start"),
    ],
)
def test_what_is_no_recording_is_refused_with_file_and_line(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "recording-000001.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=rf"recording-000001\.jsonl:1: .*{said}"):
        list(play_recording(tmp_path))


def test_an_empty_folder_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="splitctl record"):
        list(play_recording(tmp_path))


def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path: Path, pair: ProfilePair) -> None:
    fly(Flight(tmp_path, pair), 10)
    (path,) = ring_files(tmp_path)
    path.write_text(path.read_text() + '["look", {"now')
    assert len(list(play_recording(tmp_path))) == 10
