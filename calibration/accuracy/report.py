"""The accuracy guard's measurements, saved beside the latency profile and reused while model and samples stand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from splitd.calibration.accuracy.fidelity import Fidelity
from splitd.calibration.profile import (
    MAX_CODECS,
    MAX_POSITIONS,
    CrossingKey,
    changed_fields,
    load_keyed,
    save_document,
    untrusted,
)
from splitd.errors import ProfileError

KIND = "accuracy report"
MAX_SAMPLES = 1 << 20
MAX_MAGNITUDE = 1e12  # of an error or a signal-to-noise ratio that is finite at all


@dataclass(frozen=True)
class FidelityKey:
    """What the measurements depend on; `samples` identifies the images, "generated" or a digest of the directory."""

    model_digest: str
    cut_names: tuple[str, ...]
    codecs: tuple[str, ...]
    samples: str

    def changes(self, other: FidelityKey) -> list[str]:
        """Say in words what differs between this key and another, one line each; empty if nothing does."""
        return changed_fields(self, other)


@dataclass(frozen=True)
class FidelityReport:
    """Fidelity by (k, codec label) for every lossy codec."""

    key: FidelityKey
    results: Mapping[CrossingKey, Fidelity]

    @property
    def samples(self) -> int:
        """How many images were used."""
        return next((fidelity.samples for fidelity in self.results.values()), 0)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document; an infinite error or ratio is null."""
        results = [
            {
                "k": k,
                "codec": label,
                "agreeing": found.agreeing,
                "samples": found.samples,
                "relative_error": _finite(found.relative_error),
                "snr_db": _finite(found.snr_db),
            }
            for (k, label), found in self.results.items()
        ]
        return {"key": asdict(self.key), "results": results}

    @classmethod
    def from_json(cls, value: object) -> FidelityReport:
        """Rebuild a report; raises ProfileError for anything that is not one."""
        key = _read_key(untrusted.field(value, "key", "report"))
        most = MAX_POSITIONS * MAX_CODECS
        found = untrusted.items(untrusted.field(value, "results", "report"), "results", most=most)
        return cls(key, dict(_read_result(item, key) for item in found))

    def save(self, path: Path) -> None:
        """Save; raises ProfileError if the directory cannot be written."""
        save_document(path, KIND, self.to_json())

    @staticmethod
    def load(path: Path, key: FidelityKey) -> FidelityReport | None:
        """Return the saved report; None if there is none, or if it was measured under another key (logged).

        Raises:
            ProfileError: The file is damaged or cannot be read; the message says how to mend it.
        """
        return load_keyed(path, KIND, key, FidelityReport.from_json)


def report_path(state_dir: Path, model_digest: str) -> Path:
    """Return where the report of this model is kept."""
    return state_dir / f"accuracy-{model_digest[:16]}.json"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _read_key(value: object) -> FidelityKey:
    names = untrusted.items(untrusted.field(value, "cut_names", "key"), "cut_names", most=MAX_POSITIONS)
    codecs = untrusted.items(untrusted.field(value, "codecs", "key"), "codecs", most=MAX_CODECS)
    return FidelityKey(
        model_digest=untrusted.text(untrusted.field(value, "model_digest", "key"), "model_digest"),
        cut_names=tuple(untrusted.text(name, "cut_names") for name in names),
        codecs=tuple(untrusted.text(label, "codecs") for label in codecs),
        samples=untrusted.text(untrusted.field(value, "samples", "key"), "samples"),
    )


def _read_result(value: object, key: FidelityKey) -> tuple[CrossingKey, Fidelity]:
    k = untrusted.whole(untrusted.field(value, "k", "results"), "k", most=max(len(key.cut_names) - 2, 0))
    label = untrusted.text(untrusted.field(value, "codec", "results"), "codec")
    samples = untrusted.whole(untrusted.field(value, "samples", "results"), "samples", least=1, most=MAX_SAMPLES)
    agreeing = untrusted.whole(untrusted.field(value, "agreeing", "results"), "agreeing", most=samples)
    error = untrusted.field(value, "relative_error", "results")
    snr = untrusted.field(value, "snr_db", "results")
    return (k, label), Fidelity(
        agreeing,
        samples,
        math.inf if error is None else untrusted.number(error, "relative_error", most=MAX_MAGNITUDE),
        math.inf if snr is None else _signed(snr),
    )


def _signed(value: object) -> float:
    """A ratio in dB is negative where there is more noise than signal."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_MAGNITUDE:
        raise ProfileError("snr_db: not a finite number")
    return float(value)
