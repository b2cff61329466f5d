"""The codecs that the study assumes where no profile measured them, and what crosses with each at every position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import prod
from typing import Any

import numpy as np
import yaml

from splitd.calibration.profile import Floats
from splitd.calibration.study.flops import Shape
from splitd.calibration.study.grid import FLOAT32_BYTES, CodecOption, Grid, Offloads
from splitd.native.plan import raw_sent_bytes, stream_sent_bytes, tensor_sent_bytes
from splitd.native.spec import CODECS, parse

ASSUMPTIONS_RESOURCE = "codecs.yaml"


@dataclass(frozen=True)
class AssumedCodec:
    """How far one codec shrinks a value, and how fast it is; headers and plane words are not assumed but counted.

    `bytes_per_image` is what a compressed image has besides its values: its own header and tables.
    """

    label: str
    bytes_per_value: float
    encode_values_per_s: float
    decode_values_per_s: float
    bytes_per_image: float = 0.0

    def sent_bytes(self, shape: Shape) -> float:
        """Return the bytes on the wire of a tensor or of a batch of images; the first dimension is the batch."""
        spec = parse(self.label)
        if CODECS[spec.codec].is_stream:
            return stream_sent_bytes(round(prod(shape) * self.bytes_per_value + shape[0] * self.bytes_per_image))
        return tensor_sent_bytes(shape, spec, self.bytes_per_value)

    def option(self, shapes: Sequence[Shape], grid: Grid) -> CodecOption:
        """Return what carrying tensors of these per-sample shapes costs."""
        values = sum(prod(shape) for shape in shapes) * grid.batches.astype(np.float64)
        sent = [sum(self.sent_bytes((int(batch), *shape)) for shape in shapes) for batch in grid.batches]
        return CodecOption(values / self.encode_values_per_s, np.array(sent), values / self.decode_values_per_s)


@dataclass(frozen=True)
class Assumptions:
    """The round trip, and the codecs that may carry a cut, an input of bytes, and an input of floats."""

    rtt_s: float
    cut_codecs: tuple[AssumedCodec, ...]
    input_codecs: tuple[AssumedCodec, ...]
    float_input_codecs: tuple[AssumedCodec, ...]


@cache
def load_assumptions() -> Assumptions:
    """Return the committed assumptions."""
    document = yaml.safe_load(files(__package__).joinpath(ASSUMPTIONS_RESOURCE).read_text(encoding="utf-8"))
    return Assumptions(
        rtt_s=document["link"]["rtt_s"],
        cut_codecs=_codecs(document["cut_codecs"]),
        input_codecs=_codecs(document["input_codecs"]),
        float_input_codecs=_codecs(document["float_input_codecs"]),
    )


def _codecs(entries: dict[str, Any]) -> tuple[AssumedCodec, ...]:
    return tuple(AssumedCodec(label=label, **entry) for label, entry in entries.items())


def splitd_offloads(options: Sequence[Sequence[CodecOption]], result_values: int, grid: Grid) -> Offloads:
    """Return splitd's crossing: round trip and result included.

    `options` are those of every position but the last, where nothing crosses; `result_values` per sample return.
    """
    results = [raw_sent_bytes(int(batch) * result_values, FLOAT32_BYTES) for batch in grid.batches]
    result_bytes: Floats = np.array(results, dtype=np.float64)
    return Offloads(tuple(map(tuple, options)), result_bytes, load_assumptions().rtt_s)
