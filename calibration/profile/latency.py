"""What running a chain costs on one machine: times of heads, tails and codecs, and bytes, at every batch size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from splitd.calibration.profile import untrusted
from splitd.calibration.profile.key import MAX_CODECS, MAX_POSITIONS, ProfileKey, Role
from splitd.calibration.profile.measurement import Measurement
from splitd.calibration.profile.statefile import load_keyed, save_document
from splitd.calibration.profile.table import Row, Table, interpolate, medians
from splitd.errors import ProfileError

KIND = "latency profile"
SCHEMA_VERSION = 2  # 1 had payload bytes without the headers of their messages
MAX_WIRE_BYTES = 1 << 40  # above any batch; a number that would overflow a planner's sums is a fault or an attack

CrossingKey = tuple[int, str]

__all__ = ["CodecCost", "LatencyProfile", "ProfileKey", "profile_path"]


@dataclass(frozen=True)
class CodecCost:
    """What sending position k with one codec costs, per calibrated batch size.

    `wire_bytes` are all bytes of its messages: payload with the codec's parameters, and one header per chunk. A device
    measures `encode`, a server `decode`; the other one is None.
    """

    wire_bytes: tuple[int, ...]
    encode: Row | None = None
    decode: Row | None = None


@dataclass(frozen=True)
class LatencyProfile:
    """The measurements of one machine; times in seconds, positions k = 0..K as in `key.cut_names`.

    Args:
        key: What the numbers depend on.
        heads: Times of head(k), input preparation (normalise, move to the device) included for k > 0; None where the
            machine does not run heads.
        tails: Times of tail(k).
        codecs: Costs by (k, codec label).
        throttle_ratio: Time of passes that really idled over their computed time; None without throttle.

    Asking for what this machine did not measure raises ProfileError.
    """

    key: ProfileKey
    heads: Table | None
    tails: Table
    codecs: Mapping[CrossingKey, CodecCost] = field(default_factory=dict)
    throttle_ratio: float | None = None

    @property
    def cut_names(self) -> tuple[str, ...]:
        """Names of the positions k = 0..K, from "input" to "output"."""
        return self.key.cut_names

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Calibrated batch sizes, ascending."""
        return self.key.batch_sizes

    @property
    def role(self) -> Role:
        """Which end was measured."""
        return self.key.role

    def head(self, k: int, batch: int) -> Measurement:
        """Return what was measured of the head at position k, at a calibrated batch size."""
        return self._cell(self._heads().rows, k, batch)

    def tail(self, k: int, batch: int) -> Measurement:
        """Return what was measured of the tail at position k, at a calibrated batch size."""
        return self._cell(self.tails.rows, k, batch)

    def head_s(self, k: int, batch: int) -> float:
        """Return the median time of head(k), interpolated over the batch size."""
        return interpolate(self.batch_sizes, self._heads().medians(self._position(k)), batch)

    def tail_s(self, k: int, batch: int) -> float:
        """Return the median time of tail(k), interpolated over the batch size."""
        return interpolate(self.batch_sizes, self.tails.medians(self._position(k)), batch)

    def encode_s(self, k: int, codec: str, batch: int) -> float:
        """Return the median time to encode position k, interpolated over the batch size."""
        return self._codec_s(self.cost(k, codec).encode, k, codec, batch)

    def decode_s(self, k: int, codec: str, batch: int) -> float:
        """Return the median time from payload to the tail's input at position k, interpolated over the batch size."""
        return self._codec_s(self.cost(k, codec).decode, k, codec, batch)

    def wire_bytes(self, k: int, codec: str, batch: int) -> int:
        """Return the bytes of position k on the wire, headers of the messages included, interpolated over the batch."""
        return round(interpolate(self.batch_sizes, self.cost(k, codec).wire_bytes, batch))

    def codecs_at(self, k: int) -> tuple[str, ...]:
        """Return the labels that were measured at position k, in the configured order."""
        return tuple(label for label in self.key.codecs if (k, label) in self.codecs)

    def cost(self, k: int, codec: str) -> CodecCost:
        """Return all that was measured of one codec at position k."""
        if (k, codec) not in self.codecs:
            raise ProfileError(f"codec {codec} was not measured at position {k} ({self.role} profile)")
        return self.codecs[k, codec]

    def to_json(self, *, raw: bool = False) -> dict[str, Any]:
        """Return a JSON document from which `from_json` makes an equal profile; without `raw`, one without samples."""
        return {
            "schema_version": SCHEMA_VERSION,
            "key": self.key.to_json(),
            "throttle_ratio": self.throttle_ratio,
            "heads": None if self.heads is None else self.heads.to_json(raw=raw),
            "tails": self.tails.to_json(raw=raw),
            "codecs": [_codec_json(k, label, cost, raw=raw) for (k, label), cost in self.codecs.items()],
        }

    @classmethod
    def from_json(cls, value: object) -> LatencyProfile:
        """Rebuild a profile from what a peer or a file said.

        Raises:
            ProfileError: Anything is missing, of the wrong type or size, not finite, negative or absurdly large.
        """
        if untrusted.field(value, "schema_version", "profile") != SCHEMA_VERSION:
            raise ProfileError(f"profile: only schema version {SCHEMA_VERSION} is understood")
        key = ProfileKey.from_json(untrusted.field(value, "key", "profile"))
        size = {"rows": len(key.cut_names), "batches": len(key.batch_sizes)}
        heads = untrusted.field(value, "heads", "profile")
        ratio = untrusted.field(value, "throttle_ratio", "profile")
        return cls(
            key=key,
            heads=None if heads is None else Table.from_json(heads, "heads", **size),
            tails=Table.from_json(untrusted.field(value, "tails", "profile"), "tails", **size),
            codecs=_read_codecs(untrusted.field(value, "codecs", "profile"), key),
            throttle_ratio=None if ratio is None else untrusted.number(ratio, "throttle_ratio", most=1e6),
        )

    def save(self, path: Path) -> None:
        """Save with the raw samples; the file is replaced whole or not at all.

        Raises:
            ProfileError: The directory cannot be written. The profile is still good to run with.
        """
        save_document(path, KIND, self.to_json(raw=True))

    @staticmethod
    def load(path: Path, key: ProfileKey) -> LatencyProfile | None:
        """Return the saved profile; None if there is none, or if it was measured under another key (logged).

        Raises:
            ProfileError: The file is damaged or cannot be read; the message says how to mend it.
        """
        return load_keyed(path, KIND, key, LatencyProfile.from_json)

    def _heads(self) -> Table:
        if self.heads is None:
            raise ProfileError(f"head times were not measured on the {self.role}")
        return self.heads

    def _position(self, k: int) -> int:
        if not 0 <= k < len(self.cut_names):
            raise ProfileError(f"position {k} is not in 0..{len(self.cut_names) - 1}")
        return k

    def _cell(self, rows: tuple[Row, ...], k: int, batch: int) -> Measurement:
        if batch not in self.batch_sizes:
            raise ProfileError(f"batch size {batch} was not calibrated; {list(self.batch_sizes)} were")
        return rows[self._position(k)][self.batch_sizes.index(batch)]

    def _codec_s(self, row: Row | None, k: int, codec: str, batch: int) -> float:
        if row is None:
            raise ProfileError(f"codec {codec} at position {k}: this time is not measured on the {self.role}")
        return interpolate(self.batch_sizes, medians(row), batch)


def profile_path(state_dir: Path, key: ProfileKey) -> Path:
    """Return where the profile of this model and role is kept."""
    return state_dir / f"profile-{key.role}-{key.model_digest[:16]}.json"


def _codec_json(k: int, label: str, cost: CodecCost, *, raw: bool) -> dict[str, Any]:
    data: dict[str, Any] = {"k": k, "codec": label, "bytes": list(cost.wire_bytes)}
    for name, row in (("encode", cost.encode), ("decode", cost.decode)):
        if row is not None:
            data[name] = Table((row,)).to_json(raw=raw)
    return data


def _read_codecs(value: object, key: ProfileKey) -> dict[CrossingKey, CodecCost]:
    entries = untrusted.items(value, "codecs", most=MAX_POSITIONS * MAX_CODECS)
    return dict(_read_codec(entry, key) for entry in entries)


def _read_codec(value: object, key: ProfileKey) -> tuple[CrossingKey, CodecCost]:
    k = untrusted.whole(untrusted.field(value, "k", "codecs"), "codecs.k", most=len(key.cut_names) - 2)
    label = untrusted.text(untrusted.field(value, "codec", "codecs"), "codecs.codec")
    if label not in key.codecs:
        raise ProfileError(f"codecs: {label} is not among those of the key")
    batches = len(key.batch_sizes)
    sizes = untrusted.items(untrusted.field(value, "bytes", "codecs"), "codecs.bytes", count=batches)
    found = untrusted.mapping(value, "codecs")
    rows = {
        name: Table.from_json(found[name], f"codecs.{name}", rows=1, batches=batches).rows[0]
        for name in ("encode", "decode")
        if name in found
    }
    wire_bytes = tuple(untrusted.whole(size, "codecs.bytes", most=MAX_WIRE_BYTES) for size in sizes)
    return (k, label), CodecCost(wire_bytes, rows.get("encode"), rows.get("decode"))
