"""The planner's table for one batch: what the profiles say, plus what depends on the application's own inputs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log

from splitd.agent.client import Kind
from splitd.agent.decide.costs import candidate_costs, sent_bytes
from splitd.agent.decide.decision import CandidateCost
from splitd.agent.runtime import crossing
from splitd.calibration.accuracy import Guard
from splitd.calibration.profile import RAW, LatencyProfile, ProfilePair

# Sizes and times that differ by less than this share one table: the planner keeps its columns per table.
_STEP = 0.05
_MAX_TABLES = 64
_GAIN = 0.2


@dataclass(frozen=True)
class Wanted:
    """What a table is asked for: samples, kind of input, bytes of the application's own JPEG files (0: none)."""

    batch: int
    kind: Kind = "uint8"
    jpeg_bytes: int = 0


class Candidates:
    """Makes and keeps tables; thread-safe."""

    def __init__(self, device: LatencyProfile, guard: Guard, codecs: Sequence[str], result_bytes: int) -> None:
        self.device = device
        self.guard = guard
        self._codecs = tuple(codecs)
        self._result_bytes = result_bytes
        self._server: LatencyProfile | None = None
        self._prepare_s: dict[Kind, float] = {}
        self._tables: dict[tuple[object, ...], tuple[CandidateCost, ...]] = {}
        self._lock = threading.Lock()

    def table(self, wanted: Wanted) -> tuple[CandidateCost, ...]:
        """Return the candidates; the same object as long as nothing that they depend on has changed."""
        with self._lock:
            prepare_s = _rounded(self._prepare_s.get(wanted.kind, 0.0) * wanted.batch)
            jpeg_bytes = round(_rounded(wanted.jpeg_bytes))
            key = (wanted.batch, wanted.kind, jpeg_bytes, prepare_s)
            if key not in self._tables:
                if len(self._tables) >= _MAX_TABLES:
                    self._tables.clear()
                self._tables[key] = self._make(wanted, prepare_s, jpeg_bytes)
            return self._tables[key]

    def refusals(self) -> list[tuple[str, str, str]]:
        """Return (cut, codec, reason) of everything that the accuracy guard keeps out."""
        positions = range(len(self.device.cut_names) - 1)
        found = [(k, label, self.guard.refusal(k, label)) for k in positions for label in self._considered(k)]
        return [(self.device.cut_names[k], label, reason) for k, label, reason in found if reason is not None]

    def observe_prepare(self, kind: Kind, seconds: float, samples: int) -> None:
        """Note what decoding and resizing the application's inputs took."""
        if samples <= 0 or seconds <= 0:
            return
        with self._lock:
            known = self._prepare_s.get(kind)
            each_s = seconds / samples
            self._prepare_s[kind] = each_s if known is None else known + _GAIN * (each_s - known)

    def follow(self, *, device: LatencyProfile | None = None, server: LatencyProfile | None = None) -> None:
        """Take over a new profile of either end."""
        with self._lock:
            self.device = device or self.device
            self._server = server or self._server
            self._tables.clear()

    def uses(self, device: LatencyProfile, server: LatencyProfile) -> bool:
        """Tell whether these very profiles are in use."""
        with self._lock:
            return self.device is device and self._server is server

    def pair(self) -> ProfilePair | None:
        """Return both ends' profiles and what the guard keeps out; None before the server's profile is known."""
        with self._lock:
            device, server = self.device, self._server
        if server is None:
            return None
        positions = range(len(device.cut_names) - 1)
        refused = [(k, label) for k in positions for label in self._considered(k) if self.guard.refusal(k, label)]
        return ProfilePair(device, server, frozenset(refused))

    def _considered(self, k: int) -> list[str]:
        return [label for label in self.device.codecs_at(k) if k == 0 or label in self._codecs]

    def _make(self, wanted: Wanted, prepare_s: float, jpeg_bytes: int) -> tuple[CandidateCost, ...]:
        costs = candidate_costs(
            self.device,
            self._server,
            wanted.batch,
            self._codecs,
            lambda k, codec: self.guard.refusal(k, codec) is None,
            result_bytes_per_sample=self._result_bytes,
        )
        if wanted.kind == "float32":
            return tuple(cost for cost in costs if not crossing.crosses_as_image(cost.codec))
        prepared = tuple(replace(cost, head_s=cost.head_s + prepare_s) for cost in costs)
        as_given = self._as_given(wanted.batch, jpeg_bytes, prepare_s)
        return prepared if as_given is None else (as_given, *prepared)

    def _as_given(self, batch: int, jpeg_bytes: int, prepare_s: float) -> CandidateCost | None:
        """Return the candidate that sends the files untouched; the server prepares them, at its own speed."""
        server = self._server
        if server is None or jpeg_bytes == 0:
            return None
        # The device prepares at its speed what the server prepares at its own: the ratio of their whole networks.
        slower = self.device.tail_s(0, batch) / max(server.tail_s(0, batch), 1e-9)
        return CandidateCost(
            cut=0,
            name=self.device.cut_names[0],
            codec=crossing.AS_GIVEN,
            kind="full",
            head_s=0.0,
            encode_s=0.0,
            wire_bytes=sent_bytes(jpeg_bytes),
            decode_s=server.decode_s(0, RAW, batch) + prepare_s / slower,
            tail_s=server.tail_s(0, batch),
            result_bytes=self._result_bytes * batch,
        )


def _rounded(value: float) -> float:
    """Return the value rounded to steps of a few percent."""
    return 0.0 if value <= 0 else exp(round(log(value) / _STEP) * _STEP)
