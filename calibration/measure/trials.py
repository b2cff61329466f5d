"""What was found of each executor on this machine, side by side; kept, so that the next start need not try again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from splitd.calibration.profile import MAX_POSITIONS, changed_fields, load_keyed, save_document, untrusted
from splitd.errors import ProfileError

KIND = "executor report"
MAX_EXECUTORS = 64
MAX_SECONDS = 3600.0

Verdict = Literal["reference", "agrees", "disagrees", "failed", "missing", "untried"]
USABLE: frozenset[Verdict] = frozenset({"reference", "agrees"})


@dataclass(frozen=True)
class Trial:
    """One executor: what became of it, and what it costs.

    `reason` says why it is not used, with the way out; `head_s` and `tail_s` are the whole chain's median seconds at
    the batch sizes of the key, with preparation (head K) and without (tail 0), empty where it was not timed.
    """

    executor: str
    version: str
    verdict: Verdict
    reason: str | None = None
    relative_error: float | None = None
    kl: float | None = None
    head_s: tuple[float, ...] = ()
    tail_s: tuple[float, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether it may run the network."""
        return self.verdict in USABLE and bool(self.head_s)

    @property
    def cost(self) -> float:
        """What the fastest has least of: the geometric mean of `head_s`, so that every batch size counts alike."""
        return math.exp(sum(map(math.log, self.head_s)) / len(self.head_s))


@dataclass(frozen=True)
class TrialKey:
    """What the trials depend on; `installed` are the executors that were found, with their versions."""

    model_digest: str
    cut_names: tuple[str, ...]
    device: str
    power_mode: str
    threads: int
    batch_sizes: tuple[int, ...]
    installed: tuple[str, ...]

    def changes(self, other: TrialKey) -> list[str]:
        """Say in words what differs between this key and another, one line each; empty if nothing does."""
        return changed_fields(self, other)


@dataclass(frozen=True)
class TrialReport:
    """The trials of one chain on one machine."""

    key: TrialKey
    trials: tuple[Trial, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {"key": _listed(asdict(self.key)), "trials": [_listed(asdict(trial)) for trial in self.trials]}

    @classmethod
    def from_json(cls, value: object) -> TrialReport:
        """Rebuild a report from a file that may be damaged; raises ProfileError."""
        key = _read_key(untrusted.field(value, "key", "report"))
        found = untrusted.items(untrusted.field(value, "trials", "report"), "trials", most=MAX_EXECUTORS)
        return cls(key, tuple(_read_trial(one, len(key.batch_sizes)) for one in found))

    def save(self, path: Path) -> None:
        """Save it; raises ProfileError where the directory cannot be written."""
        save_document(path, KIND, self.to_json())

    @staticmethod
    def load(path: Path, key: TrialKey) -> TrialReport | None:
        """Return the saved report; None if there is none or it has another key. Raises ProfileError if damaged."""
        return load_keyed(path, KIND, key, TrialReport.from_json)


def fastest(trials: Mapping[str, Trial]) -> str | None:
    """Return the fastest of those that may run the network; None where none was timed."""
    usable = [trial for trial in trials.values() if trial.usable]
    return min(usable, key=lambda trial: trial.cost).executor if usable else None


def report_path(state_dir: Path, model_digest: str) -> Path:
    """Return where the report of this model is kept."""
    return state_dir / f"executors-{model_digest[:16]}.json"


def _listed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _read_key(value: object) -> TrialKey:
    def texts(name: str, most: int) -> tuple[str, ...]:
        found = untrusted.items(untrusted.field(value, name, "key"), name, most=most)
        return tuple(untrusted.text(item, name) for item in found)

    sizes = untrusted.items(untrusted.field(value, "batch_sizes", "key"), "batch_sizes", most=64)
    return TrialKey(
        model_digest=untrusted.text(untrusted.field(value, "model_digest", "key"), "model_digest"),
        cut_names=texts("cut_names", MAX_POSITIONS),
        device=untrusted.text(untrusted.field(value, "device", "key"), "device"),
        power_mode=untrusted.text(untrusted.field(value, "power_mode", "key"), "power_mode"),
        threads=untrusted.whole(untrusted.field(value, "threads", "key"), "threads", most=4096),
        batch_sizes=tuple(untrusted.whole(size, "batch_sizes", least=1, most=65_536) for size in sizes),
        installed=texts("installed", MAX_EXECUTORS),
    )


def _read_trial(value: object, sizes: int) -> Trial:
    def number(name: str) -> float | None:
        found = untrusted.field(value, name, "trial")
        return None if found is None else untrusted.number(found, name, most=1e12)

    def seconds(name: str) -> tuple[float, ...]:
        found = untrusted.items(untrusted.field(value, name, "trial"), name, most=sizes)
        if len(found) not in {0, sizes}:
            raise ProfileError(f"{name}: {len(found)} times for {sizes} batch sizes")
        return tuple(untrusted.number(item, name, most=MAX_SECONDS) for item in found)

    verdict, reason = untrusted.field(value, "verdict", "trial"), untrusted.field(value, "reason", "trial")
    if verdict not in get_args(Verdict):
        raise ProfileError(f"verdict: expected one of {', '.join(get_args(Verdict))}")
    head_s = seconds("head_s")
    if not all(head_s):
        raise ProfileError("head_s: nothing runs in no time")
    return Trial(
        executor=untrusted.text(untrusted.field(value, "executor", "trial"), "executor"),
        version=untrusted.text(untrusted.field(value, "version", "trial"), "version"),
        verdict=verdict,
        reason=None if reason is None else untrusted.text(reason, "reason"),
        relative_error=number("relative_error"),
        kl=number("kl"),
        head_s=head_s,
        tail_s=seconds("tail_s"),
    )
