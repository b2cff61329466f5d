"""A latency profile at start-up: the saved one if it still fits, else a new one, even with a broken state directory."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from splitd.calibration.chain import Engine
from splitd.calibration.measure.codec_costs import Progress
from splitd.calibration.measure.environment import profile_key
from splitd.calibration.measure.profiler import calibrate
from splitd.calibration.profile import LatencyProfile, ProfileKey, Role, profile_path
from splitd.errors import ProfileError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CalibrationSettings:
    """What is measured and how.

    `codecs` are labels; those of images ("raw", "jpeg90") are measured at k = 0, the others at the cuts. `throttle` is
    the share of full speed, None for full speed. `repeats` are timed passes per batch size.
    """

    role: Role
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8)
    codecs: tuple[str, ...] = ("f32", "f16", "u8", "raw")
    repeats: int = 5
    throttle: float | None = None


@dataclass(frozen=True)
class Obtained:
    """A profile to run with, where it came from, and in words what was wrong with the state directory."""

    profile: LatencyProfile
    source: Literal["saved", "measured"]
    path: Path
    problems: tuple[str, ...]


def obtain_profile(
    engine: Engine,
    settings: CalibrationSettings,
    *,
    state_dir: Path,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Obtained:
    """Return the saved profile if it was measured under the same key, else measure and save one.

    A damaged file is reported and replaced; a directory that cannot be read or written costs the saving, not the
    start: both are logged and stand in `problems`. `fresh` measures even if a good profile is there.

    Raises:
        ModelError: A batch size does not fit into the device's memory.
        CodecError: A codec is unknown.
    """
    key = profile_key(
        engine.description,
        engine.runner,
        role=settings.role,
        throttle=settings.throttle,
        batch_sizes=settings.batch_sizes,
        codecs=settings.codecs,
    )
    path = profile_path(state_dir, key)
    saved, problems = (None, []) if fresh else _load(path, key)
    if saved is not None:
        return Obtained(saved, "saved", path, ())
    profile = calibrate(engine, key, repeats=settings.repeats, progress=progress)
    return Obtained(profile, "measured", path, (*problems, *_save(profile, path)))


def _load(path: Path, key: ProfileKey) -> tuple[LatencyProfile | None, list[str]]:
    try:
        return LatencyProfile.load(path, key), []
    except ProfileError as error:
        log.warning("%s; measuring anew", error)
        return None, [str(error)]


def _save(profile: LatencyProfile, path: Path) -> list[str]:
    try:
        profile.save(path)
    except ProfileError as error:
        log.warning("%s; the profile is used, and measured again at the next start", error)
        return [str(error)]
    return []
