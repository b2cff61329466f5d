"""Link traces, the rate of a link over time, and load traces, the server over time: from CSV files, or built in."""

from __future__ import annotations

import bisect
import csv
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from splitd.errors import InputError

COLUMNS = ["time_s", "rate_bytes_per_s"]
STEP_S = 0.5
_SECONDS = 240.0
_LOW, _HIGH = 60_000.0, 6_000_000.0
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


def staircase() -> Trace:
    """Return steps of up to a factor of thirty between 0.1 and 6 MB/s, twenty seconds each."""
    levels = (2e6, 3e5, 6e6, 1e5, 1e6, 2e5, 4e6, 6e5)
    return steps("step", *((20.0, level) for level in levels))


def sine() -> Trace:
    """Return a sine on a logarithmic scale, one period a minute."""
    middle, swing = math.sqrt(_LOW * _HIGH), math.log(_HIGH / _LOW) / 2.0
    times = _times()
    rates = tuple(middle * math.exp(swing * math.sin(2.0 * math.pi * t / 60.0)) for t in times)
    return Trace("sine", times, rates, _SECONDS)


def random_walk(seed: int = 1) -> Trace:
    """Return a random walk of the logarithm of the rate, 12 % a step, reflected at the ends."""
    draw = random.Random(seed)  # noqa: S311 - a simulation wants the same walk every time
    low, high = math.log(_LOW), math.log(_HIGH)
    level, rates = (low + high) / 2.0, []
    for _ in _times():
        level += draw.gauss(0.0, 0.12)
        level = 2.0 * low - level if level < low else 2.0 * high - level if level > high else level
        rates.append(math.exp(level))
    return Trace("random-walk", _times(), tuple(rates), _SECONDS)


BUILT_IN: dict[str, Callable[[], Trace]] = {"step": staircase, "sine": sine, "random-walk": random_walk}


def open_trace(name: str) -> Trace:
    """Return a built-in trace by its name, or read the CSV at a path; raises InputError."""
    return BUILT_IN[name]() if name in BUILT_IN else load_trace(Path(name))


@dataclass(frozen=True)
class LoadTrace:
    """The server over time: its speed factor and the seconds that a request waits; it repeats."""

    times_s: tuple[float, ...] = (0.0,)
    k_srv: tuple[float, ...] = (1.0,)
    queue_s: tuple[float, ...] = (0.0,)

    def at(self, t_s: float) -> tuple[float, float]:
        """Return (k_srv, queue_s) at a time."""
        step_s = self.times_s[-1] - self.times_s[-2] if len(self.times_s) > 1 else 1.0
        index = bisect.bisect_right(self.times_s, t_s % (self.times_s[-1] + step_s)) - 1
        return self.k_srv[index], self.queue_s[index]


def load_load_trace(path: Path) -> LoadTrace:
    """Read a CSV with the columns time_s, k_srv, queue_s; raises InputError naming file and line."""
    rows: list[tuple[float, float, float]] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            for row in reader:
                rows.append(_load_row(row, rows[-1][0] if rows else None))
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}:{len(rows) + 2}: not a load trace (time_s,k_srv,queue_s): {error}") from None
    if not rows:
        raise InputError(f"{path}: no rows after the header")
    times, factors, queues = zip(*rows, strict=True)
    return LoadTrace(times, factors, queues)


def _load_row(row: dict[str, str], before_s: float | None) -> tuple[float, float, float]:
    """Return one row as numbers; raises KeyError, TypeError or ValueError."""
    time_s, k_srv, queue_s = (float(row[name]) for name in ("time_s", "k_srv", "queue_s"))
    if not (0.0 < k_srv < math.inf and 0.0 <= queue_s < math.inf):
        raise ValueError("k_srv must be above 0 and queue_s at least 0")
    if not (time_s == 0.0 if before_s is None else before_s < time_s < math.inf):
        raise ValueError("times must start at 0 and ascend")
    return time_s, k_srv, queue_s


def _times() -> tuple[float, ...]:
    return tuple(i * STEP_S for i in range(int(_SECONDS / STEP_S)))
