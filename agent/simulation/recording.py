"""Plays a flight recording back: the daemon's inputs through estimator and Decider again, its decisions beside ours.

On the machine that recorded it every decision is the daemon's, to the last bit. Another processor may round a vector
operation otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from splitd.agent.decide import Decider, Pin, Surroundings
from splitd.agent.recorder import (
    Calibrated,
    Configured,
    Crossed,
    Decided,
    Doubted,
    Event,
    Followed,
    Looked,
    Pinned,
    Ponged,
    Start,
    Taught,
    WentDown,
    WentUp,
    as_event,
    read_event,
    resume,
    ring_files,
)
from splitd.calibration.profile import LatencyProfile
from splitd.errors import InputError, SplitdError
from splitd.transport.estimate import LinkEstimator


@dataclass(frozen=True)
class PlayedDecision:
    """One decision: when (Unix seconds), what was chosen now, what the daemon had chosen, and the uplink (bytes/s)."""

    time: float
    ours: Decided
    daemons: Decided
    rate_bytes_per_s: float | None

    @property
    def is_identical(self) -> bool:
        """True if it is the daemon's decision: the same candidate, predicted time and patience, to the last bit."""
        return self.ours == self.daemons


def play_recording(directory: Path) -> Iterator[PlayedDecision]:
    """Yield the decisions of all files of a recording, oldest first.

    Raises:
        InputError: There is no recording, or a line is no event; it names file and line.
    """
    files = ring_files(directory)
    if not files:
        raise InputError(f"{directory}: no recording-*.jsonl here; `splitctl record` says where it saves the ring")
    for path in files:
        yield from _play_file(path)


def _play_file(path: Path) -> Iterator[PlayedDecision]:
    player: _Player | None = None
    for number, event in _events(path):
        try:
            if isinstance(event, Start):
                player = _Player(event)
                continue
            if player is None:
                raise InputError("a recording begins with its start")
            played = player.play(event)
        except SplitdError as error:
            raise InputError(f"{path}:{number}: {error}") from error
        if played is not None:
            yield played


def _events(path: Path) -> Iterator[tuple[int, Event]]:
    """Yield (line number, event); a last line that a crash cut short is left out."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.endswith("\n"):
                    yield number, _read(path, number, line)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None


def _read(path: Path, number: int, line: str) -> Event:
    try:
        return read_event(line)
    except SplitdError as error:
        raise InputError(f"{path}:{number}: {error}") from None


class _Player:
    """Estimator and Decider as they were at the start of a file."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._decider, self._estimator = resume(start)
        self._around: Surroundings | None = None

    def play(self, event: Event) -> PlayedDecision | None:
        """Hand on one event; return the decision if it was one."""
        if isinstance(event, Decided):
            return self._decide(event)
        if isinstance(event, Looked):
            self._around = self._decider.look(self._estimator, event.now_s, event.queue)
        elif not _tell_estimator(self._estimator, event):
            _tell_decider(self._decider, event)
        return None

    def _decide(self, event: Decided) -> PlayedDecision:
        around = self._around
        if around is None:
            raise InputError("a decision without a look at the link before it")
        ours = as_event(event.wanted, self._decider.decide(event.wanted, around))
        time = self._start.time + around.now_s - self._start.now_s
        return PlayedDecision(time, ours, event, around.rate_bytes_per_s)


def _tell_estimator(estimator: LinkEstimator, event: Event) -> bool:
    """Hand on an event that is the estimator's; return whether it was."""
    match event:
        case Ponged(now_s, rtt_s):
            estimator.on_ping(now_s, rtt_s)
        case Crossed(now_s, transfer):
            estimator.on_transfer(now_s, transfer)
        case Doubted(now_s):
            estimator.on_probe_failed(now_s)
        case WentUp(now_s):
            estimator.on_up(now_s)
        case WentDown(now_s):
            estimator.on_down(now_s)
        case _:
            return False
    return True


def _tell_decider(decider: Decider, event: Event) -> None:
    match event:
        case Taught(cost, done):
            decider.learned.take_in(cost, done)
        case Followed(server):
            decider.follow(LatencyProfile.from_json(server))
        case Calibrated(device):
            decider.replace_profile(LatencyProfile.from_json(device))
        case Configured(config):
            decider.reconfigure(config)
        case Pinned(pin):
            decider.set_pin(None if pin is None else Pin(*pin))
