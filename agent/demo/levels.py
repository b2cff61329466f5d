"""Which rates the built-in trace steps through: those at which different splits are best on this machine.

The agent is asked (`explain`) what it would choose at each of many rates. A machine twice as fast then steps through
rates twice as high, and shows the same variety of splits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from splitd.agent.client import Explanation
from splitd.agent.simulation import Trace, steps

RATES = tuple(float(rate) for rate in np.geomspace(1e4, 3e7, 71))
MAX_CUT_LEVELS = 2  # besides one fast and one slow level


@dataclass(frozen=True)
class Forecast:
    """What the agent predicts at one rate: the best candidate, and the seconds of each by (split, codec)."""

    rate_bytes_per_s: float
    best: tuple[str, str]
    times_s: dict[tuple[str, str], float]


def look_ahead(explain: Callable[[float], Explanation], rates: tuple[float, ...] = RATES) -> list[Forecast]:
    """Ask for the prediction at each of `rates`."""
    return [_forecast(rate, explain(rate)) for rate in rates]


def built_in_trace(forecasts: list[Forecast], seconds: float) -> Trace:
    """Return steps over the rates at which the best split differs: down from the fastest, then up again."""
    levels = _levels(forecasts)
    order = [*levels, *levels[-2:0:-1]]
    return steps("built-in steps", *((seconds / len(order), rate) for rate in order))


def best_fixed(forecasts: list[Forecast]) -> tuple[str, str]:
    """Return the cut and codec with the least mean predicted time over `forecasts`, of those that really split."""
    names = [name for name in forecasts[0].times_s if name[0] not in ("input", "output")]
    if not names:
        return forecasts[0].best
    return min(names, key=lambda name: float(np.mean([forecast.times_s[name] for forecast in forecasts])))


def _levels(forecasts: list[Forecast]) -> list[float]:
    """Return the middle rate of each range over which one split is best, fastest first; the widest ranges only."""
    ranges = [list(group) for _, group in groupby(forecasts, key=lambda forecast: forecast.best[0])]
    inner = sorted(ranges[1:-1], key=len, reverse=True)[:MAX_CUT_LEVELS]
    chosen = [part for part in ranges if part is ranges[0] or part is ranges[-1] or part in inner]
    return [part[len(part) // 2].rate_bytes_per_s for part in reversed(chosen)]


def _forecast(rate: float, document: Explanation) -> Forecast:
    times = {(row.split, row.codec): row.predicted.p50 for row in document.candidates if row.predicted is not None}
    return Forecast(rate, min(times, key=lambda name: times[name]), times)
