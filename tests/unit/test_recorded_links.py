"""The estimate on recordings of real links between real processes (`python -m tests.lab.figures` makes them anew)."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import numpy as np
import pytest

from splitd.transport.estimate.link import LinkEstimator
from tests.lab import figures
from tests.lab.figures import MEDIAN_ERROR, P90_ERROR, WARM_UP, Stable
from tests.lab.traffic import TCP_SHARE_OF_ETHERNET
from tests.support.recorded_link import replay

ROUNDS = sorted((Path(__file__).parents[1] / "support" / "recordings").iterdir())


@pytest.mark.parametrize("link", figures.STABLE, ids=lambda link: link.name)
@pytest.mark.parametrize("recordings", ROUNDS, ids=lambda path: path.name)
def test_predictions_on_a_stable_link(link: Stable, recordings: Path) -> None:
    predicted = list(replay(recordings / f"{link.name}.json.gz", LinkEstimator()))
    assert len(predicted) == figures.TRANSFERS
    errors = [one.error for one in predicted[WARM_UP:]]
    averaged = figures.average_errors([(one.n_bytes, one.measured_s) for one in predicted[WARM_UP:]])
    print(f"{link.name}: {figures.described(errors, averaged)}")  # noqa: T201 - shown when it fails
    assert median(errors) <= MEDIAN_ERROR
    assert np.quantile(errors, 0.9) <= P90_ERROR
    assert median(averaged) >= link.times_better * median(errors)


@pytest.mark.parametrize(("before", "after"), figures.STEPS)
@pytest.mark.parametrize("recordings", ROUNDS, ids=lambda path: path.name)
def test_a_step_of_the_rate_is_followed_within_three_transfers(before: float, after: float, recordings: Path) -> None:
    *_, last = replay(recordings / f"{figures.step_name(before, after)}.json.gz", LinkEstimator())
    assert last.rate_after == pytest.approx(after * TCP_SHARE_OF_ETHERNET, rel=0.1)
