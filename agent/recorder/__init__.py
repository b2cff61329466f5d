"""The flight recorder: what the Decider and the link estimator were given, in a ring of files.

It knows the events and their bytes, the snapshot that every file begins with, and the thread that writes. Playing a
recording back is the business of `simulation`. It records no image and no tensor.
"""

from splitd.agent.recorder.events import (
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
    read_event,
)
from splitd.agent.recorder.recorder import Recorder, ring_files
from splitd.agent.recorder.snapshot import resume, take_snapshot
from splitd.agent.recorder.taps import RecordedDecider, RecordedEstimator, as_event

__all__ = [
    "Calibrated",
    "Configured",
    "Crossed",
    "Decided",
    "Doubted",
    "Event",
    "Followed",
    "Looked",
    "Pinned",
    "Ponged",
    "RecordedDecider",
    "RecordedEstimator",
    "Recorder",
    "Start",
    "Taught",
    "WentDown",
    "WentUp",
    "as_event",
    "read_event",
    "resume",
    "ring_files",
    "take_snapshot",
]
