"""Link traces: the rate of a link over time, from a CSV file or built in."""

from __future__ import annotations

import bisect
import csv
import math
from dataclasses import dataclass
from pathlib import Path

from splitd.errors import InputError

COLUMNS = ["time_s", "rate_bytes_per_s"]
MAX_ROWS = 1_000_000  # a week of half-second bins


@dataclass(frozen=True)
class Trace:
    """A piecewise constant rate that repeats after `duration_s`.

    Attributes:
        name: For people.
        times_s: Start of each step, ascending from 0.
        rates_bytes_per_s: Rate of each step; 0 is an outage.
        duration_s: End of the last step.
    """

    name: str
    times_s: tuple[float, ...]
    rates_bytes_per_s: tuple[float, ...]
    duration_s: float

    def rate_at(self, time_s: float) -> float:
        """Return the rate at `time_s` >= 0 in bytes/s."""
        return self.rates_bytes_per_s[bisect.bisect_right(self.times_s, time_s % self.duration_s) - 1]


def steps(name: str, *levels: tuple[float, float]) -> Trace:
    """Return a trace of (seconds, bytes/s) steps."""
    times, now_s = [], 0.0
    for seconds, _ in levels:
        times.append(now_s)
        now_s += seconds
    return Trace(name, tuple(times), tuple(rate for _, rate in levels), now_s)


def load_trace(path: Path) -> Trace:
    """Read a CSV with the columns time_s and rate_bytes_per_s; the last step lasts as long as the one before it.

    Raises:
        InputError: Unreadable, wrong columns, not numbers, negative rates, or times that do not ascend.
    """
    times: list[float] = []
    rates: list[float] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            header = [cell.strip() for cell in next(rows, [])]
            if header != COLUMNS:
                raise InputError(f"{path}:1: the header must be `{','.join(COLUMNS)}`, not `{','.join(header)}`")
            for row in rows:
                if row:
                    _append(path, rows.line_num, row, times, rates)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a CSV trace: {error}") from None
    if not times:
        raise InputError(f"{path}: no rows after the header")
    if not any(rates):
        raise InputError(f"{path}: every rate is 0, so nothing would ever cross")
    start_s = times[0]
    last_s = times[-1] - times[-2] if len(times) > 1 else 1.0
    shifted = tuple(time_s - start_s for time_s in times)
    return Trace(path.stem, shifted, tuple(rates), shifted[-1] + last_s)


def _append(path: Path, line: int, row: list[str], times: list[float], rates: list[float]) -> None:
    try:
        time_s, rate = (float(cell) for cell in row)
    except ValueError:
        raise InputError(f"{path}:{line}: expected two numbers, found `{','.join(row)}`") from None
    if not (math.isfinite(time_s) and math.isfinite(rate)) or rate < 0:
        raise InputError(f"{path}:{line}: times and rates are finite, rates at least 0; found `{','.join(row)}`")
    if times and time_s <= times[-1]:
        raise InputError(f"{path}:{line}: times must ascend; {time_s:g} comes after {times[-1]:g}")
    if len(times) >= MAX_ROWS:
        raise InputError(f"{path}:{line}: more than {MAX_ROWS} rows")
    times.append(time_s)
    rates.append(rate)
