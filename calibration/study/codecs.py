"""splitd's cost model on the grid: every position with the codec that is fastest there, round trip and result included.

    T(l, c; B) = head + encode + rtt + wire_bytes / r + decode + tail + result_bytes / r

with k_dev = k_srv = 1 and an empty queue: the study looks at the link, not at throttling or a loaded server.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import yaml

from splitd.calibration.study.flops import Shape
from splitd.calibration.study.grid import FLOAT32_BYTES, Floats, Grid

ASSUMPTIONS_RESOURCE = "codecs.yaml"


@dataclass(frozen=True)
class CodecCost:
    """Size and speed of one codec; a plane is a channel of one sample."""

    label: str
    bytes_per_value: float
    bytes_per_plane: float
    encode_values_per_s: float
    decode_values_per_s: float


@dataclass(frozen=True)
class LinkCost:
    """What a transfer costs besides its payload."""

    rtt_s: float
    chunk_bytes: int
    header_bytes: int

    def with_headers(self, payload_bytes: Floats) -> Floats:
        """Return the bytes on the wire: the payload and one header per chunk."""
        total: Floats = payload_bytes + np.ceil(payload_bytes / self.chunk_bytes) * self.header_bytes
        return total


@dataclass(frozen=True)
class Assumptions:
    """The codecs that may carry a cut, an input of bytes, and an input of floats."""

    link: LinkCost
    cut_codecs: tuple[CodecCost, ...]
    input_codecs: tuple[CodecCost, ...]
    float_input_codecs: tuple[CodecCost, ...]


@dataclass(frozen=True)
class Payload:
    """One codec at one position: seconds and bytes per batch size, headers included."""

    codec: str
    encode_s: Floats
    wire_bytes: Floats
    decode_s: Floats


@cache
def load_assumptions() -> Assumptions:
    """Return the committed assumptions."""
    document = yaml.safe_load(files(__package__).joinpath(ASSUMPTIONS_RESOURCE).read_text(encoding="utf-8"))
    return Assumptions(
        link=LinkCost(**document["link"]),
        cut_codecs=_codecs(document["cut_codecs"]),
        input_codecs=_codecs(document["input_codecs"]),
        float_input_codecs=_codecs(document["float_input_codecs"]),
    )


def _codecs(entries: dict[str, Any]) -> tuple[CodecCost, ...]:
    return tuple(CodecCost(label=label, **entry) for label, entry in entries.items())


def assumed_payloads(shapes: Sequence[Shape], codecs: Sequence[CodecCost], link: LinkCost, grid: Grid) -> list[Payload]:
    """Return what carrying tensors of these per-sample shapes costs with each codec."""
    values = sum(math.prod(shape) for shape in shapes) * grid.batches.astype(np.float64)
    planes = sum(shape[0] if len(shape) > 1 else 1 for shape in shapes) * grid.batches
    return [
        Payload(
            codec=codec.label,
            encode_s=values / codec.encode_values_per_s,
            wire_bytes=link.with_headers(values * codec.bytes_per_value + planes * codec.bytes_per_plane),
            decode_s=values / codec.decode_values_per_s,
        )
        for codec in codecs
    ]


def splitd_transfer(payloads: Sequence[Sequence[Payload]], result_values: int, grid: Grid, link: LinkCost) -> Floats:
    """Return what crossing costs in seconds, [position, batch, rate], with the codec that is fastest in that state.

    `payloads` has the codecs of every position but the last, where nothing crosses; `result_values` per sample return.
    """
    rates = grid.rates_bytes_per_s[None, :]
    result_bytes = link.with_headers(grid.batches.astype(np.float64) * result_values * FLOAT32_BYTES)
    back_s = link.rtt_s + result_bytes[:, None] / rates
    there_s = [
        np.min([(p.encode_s + p.decode_s)[:, None] + p.wire_bytes[:, None] / rates for p in options], axis=0)
        for options in payloads
    ]
    return np.array([*(one + back_s for one in there_s), np.zeros(grid.shape)])
