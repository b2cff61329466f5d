"""Measurements at the calibrated batch sizes, and the straight lines between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from splitd.calibration.profile import untrusted
from splitd.calibration.profile.measurement import Measurement

MAX_SECONDS = 86_400.0  # a day for one batch: beyond it a number is a fault, not a measurement

Row = tuple[Measurement, ...]


@dataclass(frozen=True)
class Table:
    """One row per position of the chain, one measurement per calibrated batch size in each."""

    rows: tuple[Row, ...]

    def medians(self, position: int) -> list[float]:
        """Return the medians of one row, seconds."""
        return medians(self.rows[position])

    def to_json(self, *, raw: bool) -> dict[str, Any]:
        """Return medians and IQRs as nested lists, as they are; `raw` adds the samples."""
        data: dict[str, Any] = {
            "median": [[cell.median for cell in row] for row in self.rows],
            "iqr": [[cell.iqr for cell in row] for row in self.rows],
        }
        if raw:
            data["samples"] = [[list(cell.samples) for cell in row] for row in self.rows]
        return data

    @classmethod
    def from_json(cls, value: object, name: str, *, rows: int, batches: int) -> Table:
        """Rebuild a table of exactly this size; raises ProfileError for anything that is not one."""
        median = _grid(untrusted.field(value, "median", name), f"{name}.median", rows, batches)
        iqr = _grid(untrusted.field(value, "iqr", name), f"{name}.iqr", rows, batches)
        samples = _samples(untrusted.mapping(value, name).get("samples"), f"{name}.samples", rows, batches)
        return cls(
            tuple(
                tuple(Measurement(m, spread, raw) for m, spread, raw in zip(*cells, strict=True))
                for cells in zip(median, iqr, samples, strict=True)
            )
        )


def medians(row: Row) -> list[float]:
    """Return the medians of the measurements, seconds."""
    return [cell.median for cell in row]


def interpolate(sizes: Sequence[int], values: Sequence[float], batch: int) -> float:
    """Return the value at `batch` on the line through the calibrated sizes; never negative.

    `sizes` ascend strictly. Between two sizes the line is theirs; outside, that of the nearest two, except that above
    the largest size it never falls: that would be noise, since a larger batch is not less work. With a single size the
    value is proportional to the batch.
    """
    if len(sizes) == 1:
        return values[0] * batch / sizes[0]
    right = next((i for i in range(1, len(sizes)) if batch <= sizes[i]), len(sizes) - 1)
    low, high = sizes[right - 1], sizes[right]
    slope = (values[right] - values[right - 1]) / (high - low)
    if batch > high:
        return max(values[right] + max(slope, 0.0) * (batch - high), 0.0)
    return max(values[right - 1] + slope * (batch - low), 0.0)


def ascending(sizes: Sequence[int]) -> bool:
    """Tell whether the sizes ascend strictly."""
    return all(low < high for low, high in pairwise(sizes))


def _grid(value: object, name: str, rows: int, batches: int) -> list[list[float]]:
    return [
        [untrusted.number(cell, name, most=MAX_SECONDS) for cell in untrusted.items(row, name, count=batches)]
        for row in untrusted.items(value, name, count=rows)
    ]


def _samples(value: object, name: str, rows: int, batches: int) -> list[list[tuple[float, ...]]]:
    if value is None:
        return [[()] * batches for _ in range(rows)]
    return [
        [
            tuple(untrusted.number(sample, name, most=MAX_SECONDS) for sample in untrusted.items(cell, name))
            for cell in untrusted.items(row, name, count=batches)
        ]
        for row in untrusted.items(value, name, count=rows)
    ]
