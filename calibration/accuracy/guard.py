"""Accuracy is guarded: which codecs may be used at which cut, and why the others may not."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from splitd.calibration.accuracy.fidelity import Fidelity, Progress, measure_fidelity
from splitd.calibration.accuracy.report import FidelityKey, FidelityReport, report_path
from splitd.calibration.chain import Engine
from splitd.calibration.images import GENERATED, Samples, generated_samples, load_samples
from splitd.calibration.profile import CrossingKey
from splitd.errors import InputError, ProfileError
from splitd.native.spec import CodecId, is_lossless, parse

log = logging.getLogger(__name__)

TRUSTED_UNTESTED = frozenset({CodecId.F16})  # 11 bits of mantissa: far below what any network's top-1 depends on
GENERATED_SAMPLES = 8  # a start is kept waiting; generated images show gross damage, real ones are for fine judgement
MOST_SAMPLES = 256  # of a directory; a pass per codec and cut of each is a matter of minutes on a small CPU


@dataclass(frozen=True)
class AccuracySettings:
    """The bound, and what it is checked with.

    `samples` is a directory of images, "generated" for images made by splitd, or None: then only lossless codecs and
    f16 may be used. `min_agreement` is the least top-1 agreement with the full-precision model, 0..1.
    """

    codecs: tuple[str, ...]
    min_agreement: float = 0.99
    samples: str | None = None


@dataclass(frozen=True)
class Guard:
    """Answers for each (k, codec) whether it may be a candidate; `report` is None without samples."""

    min_agreement: float
    report: FidelityReport | None
    problems: tuple[str, ...] = ()

    @property
    def basis(self) -> str:
        """What the answers rest on, in one line."""
        if self.report is None:
            return "no sample images: only lossless codecs and f16 are used"
        if not self.report.results:
            return "no lossy codec is configured"
        kind = "generated" if self.report.key.samples == GENERATED else "sample"
        return f"top-1 agreement of at least {self.min_agreement:g} on {self.report.samples} {kind} images"

    def fidelity(self, k: int, codec: str) -> Fidelity | None:
        """Return what was measured; None for lossless codecs, and without samples."""
        return None if self.report is None else self.report.results.get((k, codec))

    def refusal(self, k: int, codec: str) -> str | None:
        """Return why this codec may not be used at position k; None if it may."""
        if is_lossless(codec):
            return None
        if self.report is None:
            return (
                None
                if parse(codec).codec in TRUSTED_UNTESTED
                else "lossy, and there are no accuracy.samples to check it with"
            )
        found = self.fidelity(k, codec)
        return "lossy, and its accuracy was not measured at this cut" if found is None else self._verdict(found)

    def to_json(self, asked: Iterable[CrossingKey]) -> dict[str, Any]:
        """Return the basis, the measurements, and the reason for each of the `asked` (k, codec) that is refused."""
        refusals = [{"k": k, "codec": label, "reason": self.refusal(k, label)} for k, label in asked]
        return {
            "basis": self.basis,
            "results": self.report.to_json()["results"] if self.report is not None else [],
            "refused": [refusal for refusal in refusals if refusal["reason"] is not None],
        }

    def _verdict(self, found: Fidelity) -> str | None:
        if not math.isfinite(found.relative_error):
            return "the model's output is not finite with it"
        if found.agreement >= self.min_agreement:
            return None
        return (
            f"top-1 agreement {found.agreeing}/{found.samples} is below {self.min_agreement:g} "
            f"(relative error of the outputs {found.relative_error:.2g}, SNR {found.snr_db:.0f} dB)"
        )


def obtain_guard(
    engine: Engine,
    settings: AccuracySettings,
    *,
    state_dir: Path,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Guard:
    """Return the guard, from the saved report if model, cuts, codecs and samples are the same, else measured now.

    Samples that cannot be read, a damaged report and a directory that cannot be written are logged and stand in
    `problems`; without samples to measure with, the guard answers as if none were configured.

    Raises:
        CodecError: A codec is unknown.
    """
    if settings.samples is None:
        return Guard(settings.min_agreement, None)
    try:
        identity = _identity(settings.samples)
        key = FidelityKey(engine.digest, engine.names, settings.codecs, identity)
        path = report_path(state_dir, engine.digest)
        saved, problems = (None, []) if fresh else _load(path, key)
        if saved is not None:
            return Guard(settings.min_agreement, saved)
        samples = open_samples(settings.samples, engine)
    except InputError as error:
        log.warning("%s; no lossy codec but f16 is used", error)
        return Guard(settings.min_agreement, None, (str(error),))
    results = measure_fidelity(engine, samples, settings.codecs, progress=progress)
    report = FidelityReport(key, results)
    return Guard(settings.min_agreement, report, (*problems, *_save(report, path)))


def open_samples(samples: str, engine: Engine) -> Samples:
    """Return what `accuracy.samples` names, for this network; raises InputError."""
    if samples == GENERATED:
        return generated_samples(GENERATED_SAMPLES, engine.sample_shape, engine.preprocessing)
    return load_samples(Path(samples), engine.preprocessing, limit=MOST_SAMPLES, shape=engine.sample_shape)


def _identity(samples: str) -> str:
    """Return what changes when the sample images do: names, sizes and times, not contents, for the start's sake."""
    if samples == GENERATED:
        return GENERATED
    try:
        files = sorted((path.name, path.stat()) for path in Path(samples).iterdir() if path.is_file())
    except OSError as error:
        raise InputError(f"{samples}: the sample images cannot be read ({error.strerror or error})") from error
    listing = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in files)
    return xxhash.xxh3_128_hexdigest(listing.encode(errors="surrogateescape"))


def _load(path: Path, key: FidelityKey) -> tuple[FidelityReport | None, list[str]]:
    try:
        return FidelityReport.load(path, key), []
    except ProfileError as error:
        log.warning("%s; measuring anew", error)
        return None, [str(error)]


def _save(report: FidelityReport, path: Path) -> list[str]:
    try:
        report.save(path)
    except ProfileError as error:
        log.warning("%s; it is measured again at the next start", error)
        return [str(error)]
    return []
