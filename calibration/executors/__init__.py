"""What can run a chain's segments: a registry of executors, each found where it is installed and built when asked.

Importing this room loads no runtime: one that is missing is no error, and one that is there is loaded when it is built.
"""

from splitd.calibration.executors.protocols import (
    Availability,
    BuildPlan,
    Executor,
    Found,
    KnownAnswers,
    Missing,
    SegmentSource,
)
from splitd.calibration.executors.registry import AUTO, EXECUTORS

__all__ = [
    "AUTO",
    "EXECUTORS",
    "Availability",
    "BuildPlan",
    "Executor",
    "Found",
    "KnownAnswers",
    "Missing",
    "SegmentSource",
]
