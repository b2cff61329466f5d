"""The flight recorder: events go into a queue, and a thread of its own writes them to a ring of files.

No batch and no I/O thread waits for a disk: `put` costs a microsecond, and where the disk does not keep up, events are
dropped as a whole until a new file can begin with a snapshot.
"""

from __future__ import annotations

import logging
import queue
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from splitd.agent.recorder.events import Event, Start, write_event
from splitd.errors import OverloadError, StateError

log = logging.getLogger(__name__)

# The ring's granularity: a fourth of it is what a new file costs of the past.
FILES = 4
# Bounds memory where the disk hangs: some 200 bytes each, so 10 MB; at a hundred batches a second half a minute.
MAX_WAITING = 50_000
# How long a reader of the ring waits for the writer, at most: the control socket's clients give up after ten seconds.
SAVE_TIMEOUT_S = 5.0
_FLUSH_S = 1.0
_NAME = re.compile(r"recording-(\d{6})\.jsonl")


class Recorder:
    """A ring of FILES files in `directory`, about `size_bytes` together; older files of the same ring are taken over.

    `put` may be called from any thread that holds the lock of what it tells about; `start` events by one that holds
    all of them.
    """

    def __init__(self, directory: Path, size_bytes: int) -> None:
        self.directory = directory
        self._file_bytes = max(1, size_bytes // FILES)
        self._events: queue.SimpleQueue[Event | threading.Event | None] = queue.SimpleQueue()
        self._is_lost = True  # nothing can be replayed before the first snapshot
        self._wants_snapshot = False
        self._snapshot: Callable[[], None] = lambda: None
        self._file: TextIO | None = None
        self._written_bytes = 0
        self._thread = threading.Thread(target=self._loop, name="recorder", daemon=True)
        self.error: str | None = None

    def start(self, snapshot: Callable[[], None]) -> None:
        """Begin to write.

        `snapshot` is called by the recorder's thread whenever a new file is to begin: it takes the locks of Decider and
        estimator, and puts a Start. The first one is called here, before anything can happen.
        """
        self._snapshot = snapshot
        self._snapshot()
        self._thread.start()

    def put(self, event: Event) -> None:
        """Record one event; never blocks."""
        if isinstance(event, Start):
            self._is_lost = False
        elif self._is_lost or self._events.qsize() >= MAX_WAITING:
            self._is_lost = True
            return
        self._events.put(event)

    def save(self, to: Path) -> list[Path]:
        """Copy the ring as it is now into a new folder; return the copies, oldest first.

        Raises:
            OverloadError: The disk does not keep up.
            StateError: Nothing is recorded, or the copy cannot be written.
        """
        if self.error is not None:
            raise StateError(f"nothing is being recorded: {self.error}")
        flushed = threading.Event()
        self._events.put(flushed)
        if not flushed.wait(SAVE_TIMEOUT_S):
            raise OverloadError(f"the disk of {self.directory} does not keep up; try again")
        try:
            to.mkdir(parents=True)
            return [Path(shutil.copy(path, to)) for path in ring_files(self.directory)]
        except OSError as error:
            raise StateError(f"{to}: the recording cannot be saved ({error.strerror or error})") from error

    def close(self) -> None:
        """Write what is waiting, and end."""
        self._events.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    # The writer's thread

    def _loop(self) -> None:
        try:
            while self._turn():
                pass
        except OSError as error:
            self.error = f"{self.directory}: {error.strerror or error}"
            log.warning("the recorder stops: %s; make room or change its directory, then restart", self.error)
            self._drain()
        finally:
            if self._file is not None:
                self._file.close()

    def _turn(self) -> bool:
        """Handle one event or a second without any; return False at the end."""
        try:
            event = self._events.get(timeout=_FLUSH_S)
        except queue.Empty:
            self._flush()
        else:
            if event is None:
                return False
            self._handle(event)
        full = self._written_bytes >= self._file_bytes
        if (full or self._is_lost) and not self._wants_snapshot:
            self._wants_snapshot = True
            self._snapshot()
        return True

    def _handle(self, event: Event | threading.Event) -> None:
        if isinstance(event, threading.Event):
            self._flush()
            event.set()
        elif isinstance(event, Start):
            self._begin(event)
        else:
            self._write(event)

    def _begin(self, start: Start) -> None:
        """Open the next file of the ring and remove the oldest."""
        self._wants_snapshot = False
        if self._file is not None:
            self._file.close()
        self.directory.mkdir(parents=True, exist_ok=True)
        present = ring_files(self.directory)
        number = 1 + (int(_NAME.fullmatch(present[-1].name)[1]) if present else 0)  # type: ignore[index]
        for old in present[: max(0, len(present) + 1 - FILES)]:
            old.unlink(missing_ok=True)
        self._file = (self.directory / f"recording-{number:06d}.jsonl").open("x", encoding="utf-8")
        self._written_bytes = 0
        self._write(start)
        # A profile may fill a small ring's file by itself: what counts against the size is what comes after it.
        self._written_bytes = 0

    def _write(self, event: Event) -> None:
        if self._file is not None:
            self._written_bytes += self._file.write(write_event(event) + "\n")

    def _flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def _drain(self) -> None:
        """Take events without writing them, so that nobody's memory fills and nobody waits for a dead writer."""
        self._is_lost = True
        while (event := self._events.get()) is not None:
            if isinstance(event, threading.Event):
                event.set()


def ring_files(directory: Path) -> list[Path]:
    """Return the files of a recording, oldest first; none if there is no such directory."""
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if _NAME.fullmatch(path.name))
