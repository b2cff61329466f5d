"""How much each constant of the link estimate matters: what becomes worse when it is halved or doubled.

    python -m tests.support.sensitivity [NAME…]

Two yardsticks, both without luck: the errors of predicted transfer times on the recordings of real links (steady ones;
median and p90, mean over all recordings), and the mean regret of simulated replays of the built-in link traces, with
and without privacy. A constant that changes neither here may still matter for what these links do not do.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from types import ModuleType
from typing import Any

import numpy as np

from splitd.agent.decide import DeciderConfig, PlannerConfig
from splitd.agent.simulation import BUILT_IN, LinkShape, LoadTrace, Setting, open_pair, open_trace, play, summarise
from splitd.transport.estimate import dispersion, link, observations, path, prober, rate_filter, robust, tracker
from splitd.transport.estimate.link import LinkEstimator
from tests.lab import figures
from tests.support.recorded_link import replay

MODULES = (observations, dispersion, rate_filter, robust, path, tracker, link, prober)
ROUNDS = sorted((Path(__file__).parent / "recordings").iterdir())
RTT_S = 0.02


def errors() -> tuple[float, float]:
    """Median and p90 of the relative errors on the recorded steady links, each a mean over the recordings."""
    medians, nineties = [], []
    for path_of_round in ROUNDS:
        for steady in figures.STABLE:
            predicted = list(replay(path_of_round / f"{steady.name}.json.gz", LinkEstimator()))
            seen = [abs(one.error) for one in predicted[figures.WARM_UP :]]
            medians.append(median(seen))
            nineties.append(float(np.quantile(seen, 0.9)))
    return mean(medians), mean(nineties)


def regret() -> float:
    """Mean regret of the replays."""
    pair = open_pair(None)
    shape, load = LinkShape(delay_s=RTT_S / 2), LoadTrace()
    configs = [DeciderConfig(PlannerConfig(privacy=privacy)) for privacy in (False, True)]
    settings = [Setting(pair=pair, batch=1, shape=shape, load=load, config=config) for config in configs]
    traces = [open_trace(name) for name in BUILT_IN]
    played = [summarise(play("dynamic", trace, setting), None) for setting in settings for trace in traces]
    return mean(figures_of_one.regret_mean for figures_of_one in played)


def constants(module: ModuleType) -> dict[str, Any]:
    """The numbers, and tuples of numbers, that a module names in capitals."""
    named = {name: value for name, value in vars(module).items() if name.isupper()}
    return {name: value for name, value in named.items() if isinstance(value, int | float | tuple)}


def scaled(value: Any, factor: float) -> Any:
    """A number or each of a tuple times a factor; whole numbers stay whole."""
    if isinstance(value, tuple):
        return tuple(scaled(one, factor) for one in value)
    return max(1, int(value * factor)) if isinstance(value, int) else value * factor


@contextlib.contextmanager
def replaced(name: str, value: Any) -> Iterator[None]:
    """Give a constant another value wherever it was imported to."""
    holders = [(module, getattr(module, name)) for module in MODULES if hasattr(module, name)]
    for module, _ in holders:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, original in holders:
            setattr(module, name, original)


def tell(label: str) -> None:
    """Print one line of the table."""
    middle, high = errors()
    figures_in_words = f"median {middle:6.2%}   p90 {high:6.2%}   regret {regret():6.2%}"
    print(f"{label:36s} {figures_in_words}", flush=True)  # noqa: T201 - what the script is for


def main(wanted: Sequence[str]) -> None:
    """Print the table, of all constants or of those asked for."""
    tell("as it is")
    known = {name: value for module in MODULES for name, value in constants(module).items()}
    for name, value in known.items():
        for factor in (0.5, 2.0) if not wanted or name in wanted else ():
            changed = scaled(value, factor)
            with replaced(name, changed):
                tell(f"{name} = {changed}")


if __name__ == "__main__":
    main(sys.argv[1:])
